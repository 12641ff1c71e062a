"""Accuracy: the share of records that get the right class (all the right ones, where several may hold).

A classifier gives its likeliest class (where several may hold: each above one half); a language model answers in words,
and the class that it names first counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ...contracts import Engine, Probe, Record, at_least, option
from ._records import predictions


@dataclass
class Accuracy:
    max_new_tokens: int = option(
        32,
        "longest answer of a language model, in tokens",
        probe=Probe(1, seen="report", scenario="evaluate"),
        check=at_least(1),
    )

    level: ClassVar[int] = 2
    better: ClassVar[str] = "higher"

    def measure(self, engine: Engine, records: Sequence[Record]) -> dict[str, Any]:
        pairs = predictions(engine, records, self.max_new_tokens, "accuracy")
        return {"accuracy": [None if pair is None else int(set(pair[0]) == set(pair[1])) for pair in pairs]}
