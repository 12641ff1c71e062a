"""Exact match: the share of records whose generated answer equals the reference, the conversation's last answer.

Thinking before `</think>` does not count as answer. Answers are greedy, so that two runs of it agree.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ...contracts import Engine, Probe, Record, at_least, option
from ...engine.pieces import CLOSE, final
from ._records import answers, reference

FENCE = re.compile(r"^```[a-z]*\n(.*?)\n?```$", re.DOTALL)
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


@dataclass
class ExactMatch:
    normalise: Literal["strip", "json", "words", "number"] = option(
        "strip",
        "what may differ: outer spaces; JSON spelling and key order; case, punctuation and spaces; all but the last number",
        probe=Probe("words", seen="report", scenario="evaluate"),
    )
    max_new_tokens: int = option(
        256, "longest answer, in tokens", probe=Probe(1, seen="report", scenario="evaluate"), check=at_least(1)
    )

    level: ClassVar[int] = 2
    better: ClassVar[str] = "higher"
    heads: ClassVar[tuple[str, ...]] = ("lm",)

    def measure(self, engine: Engine, records: Sequence[Record]) -> dict[str, Any]:
        def right(answer: str, expected: str) -> int:
            said = answer if CLOSE in expected else final(answer)
            return int(normal(said, self.normalise) == normal(expected, self.normalise))

        given = answers(engine, records, self.max_new_tokens, "exact_match")
        return {
            "exact_match": [
                None if a is None else right(a.text, reference(r)) for r, a in zip(records, given, strict=True)
            ]
        }


def normal(text: str, how: str) -> str:
    """The form in which two answers are compared."""
    text = unicodedata.normalize("NFC", text).strip()
    if how == "json":
        return _json(text)
    if how == "words":
        folded = unicodedata.normalize("NFKC", text).casefold()
        return " ".join("".join(c if c.isalnum() else " " for c in folded).split())
    if how == "number":
        numbers = NUMBER.findall(unicodedata.normalize("NFKC", text))
        return _plain(float(numbers[-1].replace(",", ""))) if numbers else "no number"
    return text


def _json(text: str) -> str:
    """One spelling per JSON value, a code fence around it taken off; what is no JSON stays as it is."""
    if fenced := FENCE.match(text):
        text = fenced[1].strip()
    try:
        return json.dumps(_numbers(json.loads(text)), sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_numbers(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(number: float) -> str:
    return str(int(number)) if number.is_integer() else repr(number)
