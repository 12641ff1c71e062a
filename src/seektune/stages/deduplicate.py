"""Drops records that repeat another: the same text, or nearly the same.

Equal texts are found by a hash, near ones by MinHash signatures cut into bands; what meets in a band is compared by the true
Jaccard of its shingles. A record goes only where one that is kept is near it, so a chain of small steps does not lose its ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..contracts import Record, at_least, option
from ..data.store import Records
from ..errors import DataError, nearest, problem
from ._near import Groups, Keepers, first_of_equal
from ._shingles import Bands, Shingles, Signatures
from ._sketches import Sketcher, Sketches, sketched
from ._spool import spool
from ._texts import label_of
from ._work import PLACE, Work, place_of, seen, work_of

LARGEST = 10  # clusters that are told


def _share(value: Any) -> str | None:
    return None if value is None or 0 < value <= 1 else "above 0 and at most 1, or null for equal texts only"


@dataclass
class Deduplicate:
    """Keeps one record of each cluster of equal or near texts; every dropped one names the record that it repeats."""

    threshold: float | None = option(
        0.8, "Jaccard of shingles from which two texts are near; null: equal ones only", probe=seen(None), check=_share
    )
    shingle: int = option(
        5, "characters of a shingle; half as many in Chinese text", probe=seen(2, threshold=0.5), check=at_least(1)
    )
    permutations: int = option(128, "hash functions of a signature", probe=seen(16), check=at_least(4))
    column: str | None = option(None, "the field that is compared; all texts where left out", probe=seen("topic"))
    keep: Literal["first", "longest"] = option("first", "which record of a cluster stays", probe=seen("longest"))

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        work = work_of(self)
        held = spool(records, work)
        if len(held):
            yield from self._told(held, self._keepers(held, work), work)

    def report(self) -> dict[str, Any]:
        return work_of(self).report()

    def _keepers(self, held: Records, work: Work) -> Keepers:
        threshold = 1.0 if self.threshold is None else self.threshold
        bands = Bands.at(threshold, self.permutations) if threshold < 1 else None
        sketcher = Sketcher(held, self.column, Shingles(self.shingle), Signatures(self.permutations), bands)
        sketches = sketched(sketcher, work)
        self._check(held, sketches)
        found = Keepers(first_of_equal(sketches), held, sketcher)
        if bands is not None:
            heads = found.heads()
            groups = Groups.of(sketches.bands, heads[sketches.lengths[heads] > 0])
            found.join(groups, self._order(sketches), threshold, work)
            chance = round(bands.chance(threshold), 4)
            work.facts["bands"] = {"count": bands.count, "rows": bands.rows, "meet_at_threshold": chance}
        work.facts |= {"without_text": int(np.count_nonzero(sketches.lengths == 0)),
                       "compared_pairs": found.compared, "near_pairs": found.confirmed}  # fmt: skip
        return found

    def _order(self, sketches: Sketches) -> np.ndarray:
        """In which records are looked at: whoever comes first stays."""
        numbers = np.arange(len(sketches.lengths))
        return numbers if self.keep == "first" else np.lexsort((numbers, -sketches.lengths))

    def _check(self, held: Records, sketches: Sketches) -> None:
        if self.column is None or sketches.lengths.any():
            return
        first = held[0]
        fields = [key for key in first if key != PLACE]
        raise DataError(
            problem(place_of(first), f"no record has a text in {self.column!r}", fix=nearest(self.column, fields))
        )

    def _told(self, held: Records, found: Keepers, work: Work) -> Iterator[Record]:
        """The records that stay; of the others, which one each repeats."""
        differ = 0
        for number, record in enumerate(held):
            keeper = int(found.keeper[number])
            if keeper == number:
                work.keep()
                yield record
                continue
            kept, near = held[keeper], float(found.similarity[number])
            differ += label_of(kept) != label_of(record)
            reason, detail = "equal text", f"repeats {place_of(kept)}"
            if found.near[number]:
                reason, detail = "near text", f"{detail} (Jaccard {near:.2f})"
            work.drop(record, reason, detail)
        work.facts |= {"other_label_than_the_kept": differ} | _clusters(held, found)


def _clusters(held: Records, found: Keepers) -> dict[str, Any]:
    sizes = np.bincount(found.keeper, minlength=len(held))
    many = np.flatnonzero(sizes > 1)
    largest = many[np.argsort(-sizes[many], kind="stable")][:LARGEST]
    told = [{"where": place_of(held[int(i)]), "records": int(sizes[i])} for i in largest]
    return {"clusters": len(many), "largest_clusters": told}
