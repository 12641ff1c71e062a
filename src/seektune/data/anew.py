"""Documents that are made anew for each epoch: a record is changed, then rendered and tokenised as all others are.

What comes out follows from record, epoch and seed alone, so that a run that is resumed reads what it would have read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..contracts import Document, Record
from .store import Records
from .tokens import Work

Change = Callable[[Record, int], Record]  # a record, an epoch -> the record as this epoch has it


@dataclass
class Anew:
    """`changes`: of each input (by number) what is done to its records; the others stay as they are."""

    records: Records
    work: Work
    changes: Mapping[int, Sequence[Change]]

    def __call__(self, record: int, epoch: int) -> list[Document] | None:
        """None where the record is as it was, or of the changed one nothing could be learnt."""
        before = self.records[record]
        changed = before
        for change in self.changes.get(self.records.source(record), ()):
            changed = change(changed, epoch)
        if changed is before or changed == before:
            return None
        return self.work.one(changed).documents or None
