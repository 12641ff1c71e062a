"""Cleans texts: mojibake, control characters, HTML, full-width forms, blanks, traditional Chinese; code stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..contracts import Probe, Record, option
from . import _clean
from ._each import Outcome, run_each
from ._texts import Path, replaced, text_of, texts
from ._work import work_of

FILE = "messy.jsonl"  # where tests see the options that clean records do not show
ROUNDS = 32  # a text rests after two or three; one that never does is left as the last round made it


def _messy(other: Any) -> Probe:
    return Probe(other, "stage", "stage", {"data.train.0.path": FILE})


@dataclass
class CleanText:
    """Cleans every text of a record outside code; what is clean already is left as it is."""

    mojibake: bool = option(True, "mend text that was decoded wrongly (ftfy)", probe=_messy(False))
    control: bool = option(True, "take out control, zero-width and direction characters", probe=_messy(False))
    html: bool = option(True, "take out HTML tags and comments, decode entities", probe=_messy(False))
    width: bool = option(True, "full-width letters and digits become ASCII", probe=_messy(False))
    nfc: bool = option(True, "Unicode normalization form C", probe=_messy(False))
    simplified: bool = option(False, "traditional Chinese becomes simplified (OpenCC)", probe=_messy(True))
    spaces: bool = option(
        True, "one blank between words, at most one empty line, none at the ends", probe=_messy(False)
    )
    column: str | None = option(None, "a field; all texts where left out", probe=_messy("topic"))

    def each(self, record: Record) -> Outcome:
        steps, made, done = self._steps(), dict[Path, str](), dict[str, float]()
        for path, text in texts(record, self.column):
            if lost := _clean.lost_characters(text):
                done["characters lost before"] = done.get("characters lost before", 0) + lost
            if (new := self._cleaned(text, steps, done)) != text:
                made[path] = new
        if not made:
            return Outcome(record, figures=done)
        after = replaced(record, made)
        if text_of(record, self.column).strip() and not text_of(after, self.column).strip():
            return Outcome(None, "nothing is left after cleaning", figures=done)
        return Outcome(after, " + ".join(name for name in steps if name in done), figures=done)

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        return run_each(self, records)

    def report(self) -> dict[str, Any]:
        return work_of(self).report()

    def _steps(self) -> dict[str, Callable[[str], str]]:
        """In this order: characters first, so that what follows sees them whole."""
        known = {"mojibake": _clean.mojibake, "control": _clean.control, "html": _clean.tags, "width": _clean.width,
                 "nfc": _clean.nfc, "simplified": _clean.simplified, "spaces": _clean.spaces}  # fmt: skip
        return {name: step for name, step in known.items() if getattr(self, name)}

    def _cleaned(self, text: str, steps: dict[str, Callable[[str], str]], done: dict[str, float]) -> str:
        """The text once no step finds anything more, so that cleaning twice is cleaning once. `done`: 1 for each step at work."""
        for _ in range(ROUNDS):
            before, parts = text, _clean.pieces(text)
            for i, (code, part) in enumerate(parts):
                if not code:
                    parts[i] = (False, _stepped(part, steps, done))
            text = _trimmed(parts) if self.spaces else _joined(parts)
            if text == before:
                break
            if self.spaces and _joined(parts) != text:
                done["spaces"] = 1
        return text


def _stepped(part: str, steps: dict[str, Callable[[str], str]], done: dict[str, float]) -> str:
    for name, step in steps.items():
        if (new := step(part)) != part:
            part, done[name] = new, 1
    return part


def _joined(parts: list[tuple[bool, str]]) -> str:
    return "".join(part for _, part in parts)


def _trimmed(parts: list[tuple[bool, str]]) -> str:
    """Without blanks at the ends of the whole text, unless code stands there."""
    ends = [part for _, part in parts]
    ends[0] = ends[0].lstrip()
    ends[-1] = ends[-1].rstrip()
    return "".join(ends)
