"""Drops records that overlap with evaluation sets, so that a model is not measured on what it has learnt.

Measured by the runs of `n` words that both share (words; Chinese characters), as a share of the runs of whichever has fewer.
Eight words and 70 % are those of PaLM (Chowdhery et al. 2022, arXiv:2204.02311, section 8), where the runs
of the evaluation text are counted; with the fewer of both, a record that is a part of an evaluation text is found too.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..contracts import Record, at_least, option
from ..data.workers import Pool
from ._each import WORTH_PROCESSES
from ._evaluation import Sets, read
from ._overlap import Hit, Index, Texts
from ._work import Work, seen, work_of

BATCH = 512


def _share(value: Any) -> str | None:
    return None if 0 < value <= 1 else "above 0 and at most 1"


@dataclass
class Decontaminate:
    """Keeps records that share no more than `share` of their runs of words with a record of the sets `against`."""

    example: ClassVar[dict[str, Any]] = {"against": "evaluation.jsonl"}

    against: str | list[str] = option(
        help="evaluation sets: a file, a glob or a folder, or several", probe=seen("other_evaluation.jsonl")
    )
    n: int = option(8, "words of a run; a Chinese character counts as one", probe=seen(3, share=0.3), check=at_least(2))
    share: float = option(0.7, "of the runs, from which a record goes", probe=seen(0.2), check=_share)
    column: str | None = option(None, "the field that is compared; all texts where left out", probe=seen("topic"))

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        work = work_of(self)
        sets = Sets([self.against] if isinstance(self.against, str) else self.against)
        index = Index.of(sets.read(), self.n)
        hit = set[int]()
        for batch, found in _found(index, records, self.column, work):
            for record, one in zip(batch, found, strict=True):
                if one is None or one.share < self.share:
                    work.keep()
                    yield record
                else:
                    hit.add(one.owner)
                    self._drop(record, one, sets, work)
        work.facts["evaluation_sets"] = sets.told(hit)

    def report(self) -> dict[str, Any]:
        return work_of(self).report()

    def _drop(self, record: Record, hit: Hit, sets: Sets, work: Work) -> None:
        name = sets.name(hit.owner)
        sets.dropped[name] += 1
        work.drop(record, f"overlaps with {name}", f"{sets.places[hit.owner]} (share {hit.share:.2f})")


def _found(
    index: Index, records: Iterable[Record], column: str | None, work: Work
) -> Iterator[tuple[list[Record], list[Hit | None]]]:
    """Batches of records with the best hit of each, in order; looked for on several processes where there are many."""
    stream = iter(records)
    first = list(itertools.islice(stream, WORTH_PROCESSES))
    processes = work.processes if work.processes > 1 and len(first) == WORTH_PROCESSES else 0
    under_way = deque[list[Record]]()

    def sent() -> Iterator[list[Texts]]:
        rest = itertools.chain(first, stream)
        while batch := list(itertools.islice(rest, BATCH)):
            under_way.append(batch)
            yield [read(record, column) for record in batch]

    with Pool(index.find, processes) as pool:
        for found in pool.map(sent()):
            yield under_way.popleft(), found
