"""Stages that look at one record at a time: they say what becomes of it, and this file runs them, on several processes.

Such a stage has a method `each(record) -> Outcome`. A row of them is run over a batch in one go, so that a record travels to
a process and back once. What comes out does not depend on how many processes there are.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..contracts import Record
from ..data.workers import Pool
from ._work import Counts, Work, equip, whole_digest, work_of

BATCH = 256
WORTH_PROCESSES = 4000  # fewer records are done sooner than processes start


@dataclass
class Outcome:
    """What becomes of a record: kept as it is, or as another one; dropped (None); others may come of it besides."""

    record: Record | None
    reason: str = ""  # of a change or a drop
    detail: str = ""  # of a drop
    more: list[Record] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)  # added up over all records


class Each(Protocol):
    def each(self, record: Record) -> Outcome: ...


@dataclass
class Passed:
    """A batch that went through a row of stages."""

    records: list[Record]
    counts: list[Counts]  # of each stage
    digests: list[bytes]  # of what left each stage, 16 bytes a record


@dataclass
class Row:
    """Several stages one after the other; picklable where they are. `digests`: hash what leaves each."""

    stages: Sequence[Each]
    digests: bool = False

    def __call__(self, records: list[Record]) -> Passed:
        counts, digests = [], []
        for stage in self.stages:
            found, records = _through(stage, records)
            counts.append(found)
            digests.append(b"".join(map(whole_digest, records)) if self.digests else b"")
        return Passed(records, counts, digests)


def run_row(row: Row, records: Iterable[Record], processes: int) -> Iterator[Passed]:
    """Batch by batch, in order."""
    stream = iter(records)
    first = list(itertools.islice(stream, WORTH_PROCESSES))
    used = processes if processes > 1 and len(first) == WORTH_PROCESSES else 0
    with Pool(Row([_alone(stage) for stage in row.stages], row.digests), used) as pool:
        yield from pool.map(_batches(itertools.chain(first, stream)))


def run_each(stage: Any, records: Iterable[Record]) -> Iterator[Record]:
    """`__call__` of a stage that has `each`."""
    work = work_of(stage)
    for passed in run_row(Row([stage]), records, work.processes):
        work.counts.merge(passed.counts[0])
        yield from passed.records


def _alone(stage: Any) -> Any:
    """The stage with its seed and nothing else of this process."""
    made = dataclasses.replace(stage)
    equip(made, Work(work_of(stage).seed))
    return made


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    stream = iter(records)
    while batch := list(itertools.islice(stream, BATCH)):
        yield batch


def _through(stage: Each, records: list[Record]) -> tuple[Counts, list[Record]]:
    counts, left = Counts(), list[Record]()
    for record in records:
        outcome = stage.each(record)
        counts.figures.update(outcome.figures)
        if outcome.record is None:
            counts.drop(record, outcome.reason, outcome.detail)
        elif outcome.record is record or outcome.record == record:
            counts.keep()
            left.append(record)
        else:
            counts.change(record, outcome.record, outcome.reason)
            left.append(outcome.record)
        for more in outcome.more:
            counts.add(more, outcome.reason)
            left.append(more)
    return counts, left
