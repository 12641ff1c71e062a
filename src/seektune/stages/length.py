"""Keeps records whose texts are neither too short nor too long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ..contracts import Record, at_least, option
from ._each import Outcome, run_each
from ._texts import text_of
from ._words import words
from ._work import seen, work_of


@dataclass
class Length:
    """Keeps records of a length between two bounds, in characters or words (Chinese words are segmented)."""

    least: int = option(1, "the shortest that is kept", probe=seen(40), check=at_least(0))
    most: int | None = option(None, "the longest that is kept", probe=seen(30), check=at_least(1))
    unit: Literal["characters", "words"] = option("characters", "what is counted", probe=seen("words", least=20))
    column: str | None = option(None, "a field; all texts where left out", probe=seen("topic", least=6))

    def each(self, record: Record) -> Outcome:
        text = text_of(record, self.column)
        length = len(words(text)) if self.unit == "words" else len(text)
        if length < self.least:
            return Outcome(None, f"shorter than {self.least} {self.unit}", f"{length}")
        if self.most is not None and length > self.most:
            return Outcome(None, f"longer than {self.most} {self.unit}", f"{length}")
        return Outcome(record)

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        return run_each(self, records)

    def report(self) -> dict[str, Any]:
        return work_of(self).report()
