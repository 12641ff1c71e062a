"""Which record stays for each: equal ones by their digests, near ones by meeting in a band and being compared."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np

from ..data.store import Records
from ._shingles import jaccard
from ._sketches import Sketcher, Sketches
from ._work import Work

ALONE = -1
MET = 64  # kept records of one band that are looked at
COMPARED = 32  # kept records with which one is compared: those that it meets most often
SETS = 4096  # sets of shingles that are held


def first_of_equal(sketches: Sketches) -> np.ndarray:
    """(records,) int32: the first record with the same text; the record itself where it has none."""
    count = len(sketches.lengths)
    first = np.arange(count, dtype=np.int32)
    order = np.lexsort((first, sketches.digests[:, 1], sketches.digests[:, 0]))
    order = order[sketches.lengths[order] > 0]
    if len(order):
        digests = sketches.digests[order]
        new = np.concatenate([[True], (digests[1:] != digests[:-1]).any(axis=1)])
        first[order] = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    return first


class Groups:
    """Records that are equal in a band. A group is a row of slots, in which those that are kept are written as they come."""

    def __init__(self, starts: np.ndarray, slots: int):
        self.starts = starts  # (bands, records) int64: the first slot of its group; ALONE where nothing else is equal
        self._slots = np.empty(slots, np.int32)
        self._taken = np.zeros(slots, np.int32)  # of each first slot

    @classmethod
    def of(cls, bands: np.ndarray, members: np.ndarray) -> Groups:
        """`members`: the records that take part. Overwrites `bands`, so that no second array of this size is needed."""
        slots = 0
        for band in bands:
            starts, size = _starts(band[members])
            band.view(np.int64)[:] = ALONE
            band.view(np.int64)[members] = np.where(starts == ALONE, ALONE, starts + slots)
            slots += size
        return cls(bands.view(np.int64), slots)

    def meeting(self, number: int) -> list[int]:
        """Kept records that this one meets, those of the most bands first."""
        found = Counter[int]()
        for start in self._of(number):
            found.update(self._slots[start : start + min(int(self._taken[start]), MET)].tolist())
        return [other for other, _ in sorted(found.items(), key=lambda item: (-item[1], item[0]))[:COMPARED]]

    def keep(self, number: int) -> None:
        starts = self._of(number)
        self._slots[starts + self._taken[starts]] = number
        self._taken[starts] += 1

    def _of(self, number: int) -> Any:
        starts = self.starts[:, number]
        return starts[starts != ALONE]


def _starts(values: np.ndarray) -> tuple[np.ndarray, int]:
    """(of each value, where the slots of its group begin, or ALONE; slots in all)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    borders = (
        np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else np.empty(0, int)
    )
    sizes = np.diff(np.append(borders, len(ordered)))
    shared = np.where(sizes > 1, sizes, 0)
    first = np.where(sizes > 1, np.cumsum(shared) - shared, ALONE)
    starts = np.empty(len(values), np.int64)
    starts[order] = np.repeat(first, sizes)
    return starts, int(shared.sum())


class Keepers:
    """For each record the one that stays for it; itself where it stays."""

    def __init__(self, first: np.ndarray, held: Records, sketcher: Sketcher):
        self.keeper = first  # (records,) int32
        self.near = np.zeros(len(first), bool)  # whether only near it
        self.similarity = np.ones(len(first), np.float32)  # Jaccard with it
        self.compared = self.confirmed = 0
        self._shingles = lru_cache(SETS)(lambda number: sketcher.shingles.of(sketcher.text(number)))

    def heads(self) -> np.ndarray:
        """The records that are the first of their text."""
        return np.flatnonzero(self.keeper == np.arange(len(self.keeper)))

    def join(self, groups: Groups, order: np.ndarray, threshold: float, work: Work) -> None:
        """Let each record, in this order, be kept or stand for by the nearest of those that are kept already."""
        met = (groups.starts != ALONE).any(axis=0)
        waiting = order[met[order]]
        show = work.show("comparing near texts")
        for done, number in enumerate(waiting.tolist(), 1):
            self._settle(groups, number, threshold)
            if not done % 1024 or done == len(waiting):
                show(done, len(waiting))
        self._follow()

    def _settle(self, groups: Groups, number: int, threshold: float) -> None:
        best, nearest = threshold, ALONE
        for other in groups.meeting(number):
            self.compared += 1
            found = jaccard(self._shingles(number), self._shingles(other))
            if found >= best and (nearest == ALONE or found > best):
                best, nearest = found, other
        if nearest == ALONE:
            groups.keep(number)
            return
        self.confirmed += 1
        self.keeper[number], self.similarity[number], self.near[number] = nearest, best, True

    def _follow(self) -> None:
        """Those of equal text go where the first of them went."""
        to = self.keeper[self.keeper]
        moved = to != self.keeper
        self.similarity[moved] = self.similarity[self.keeper[moved]]
        self.near[moved] = True
        self.keeper = to
