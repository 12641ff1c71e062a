"""Samples records so that each class has the share that is asked: by label, language, length, source or any column.

Counts are whole numbers by largest remainder, so a share is off by less than one record. Without `size` as many are taken as
the shares allow without repeating any; the class that allows no more is told.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from ..contracts import Record, at_least, option
from ..errors import DataError, RecipeError, nearest, problem
from ._groups import apportioned, exact, grouping
from ._spool import spool
from ._work import Work, seen, work_of

WITHIN = 0.05  # relative: a class of share 20 % may have 19 to 21 %
NAMED = 100  # classes in the report


def _weights(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    fine = all(isinstance(v, int | float) and not isinstance(v, bool) and v >= 0 for v in value.values())
    return None if fine and any(value.values()) else "a share of at least 0 for each class, one of them above 0"


def _rising(value: Any) -> str | None:
    return None if value and all(0 < a < b for a, b in itertools.pairwise([0.5, *value])) else "rising lengths above 0"


@dataclass
class Stratify:
    """Samples so that every class has the asked share of what is left, within 5 % of it where whole records allow."""

    by: str = option(
        "label",
        "a column; or, where records have no such column, language, length (in characters) or source (the file)",
        probe=seen("topic"),
    )
    shares: dict[Any, float] | Literal["equal", "as_is"] = option(
        "equal",
        "{class: share}, classes that are not named are dropped; equal; or as_is with a `size`",
        probe=seen({"good": 3, "bad": 1}),
        check=_weights,
    )
    size: int | None = option(
        None, "records in all; as many as the shares allow where left out", probe=seen(8), check=at_least(1)
    )
    repeat: bool = option(False, "repeat records of classes that have too few", probe=seen(True))
    edges: list[int] = option(
        help="where the next group of lengths begins, for `by: length`",
        probe=seen([60], by="length"),
        check=_rising,
        factory=lambda: [50, 200, 1000],
    )
    column: str | None = option(
        None, "the field whose language or length counts; all texts where left out", probe=seen("topic", by="length")
    )

    def __post_init__(self) -> None:
        if self.shares == "as_is" and self.size is None:
            raise RecipeError(problem("size", "missing beside `shares: as_is`", "how many records to sample"))

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        work = work_of(self)
        held = spool(records, work)
        if not len(held):
            return
        names, classes = self._classes(held, work)
        have = dict(zip(names, np.bincount(classes[classes >= 0], minlength=len(names)).tolist(), strict=True))
        shares = self._shares(have)
        wanted = apportioned(self._size(have, shares, work), shares)
        self._tell(have, shares, wanted, work)
        times = _times(classes, [wanted.get(name, 0) for name in names], work)
        for record, number, count in zip(held, classes.tolist(), times.tolist(), strict=True):
            yield from self._taken(record, names[number] if number >= 0 else None, count, wanted)

    def _taken(self, record: Record, name: str | None, count: int, wanted: dict[str, int]) -> Iterator[Record]:
        work = work_of(self)
        if not count:
            unasked = f"no one {self.by}" if name is None else "class not asked for" if name not in wanted else ""
            work.drop(record, unasked or f"more than its share: {name}")
            return
        work.keep()
        yield record
        for _ in range(count - 1):
            work.add(record, f"repeated: {name}")
            yield dict(record)

    def _classes(self, held: Any, work: Work) -> tuple[list[str], np.ndarray]:
        """(names in the order of their first record, index of each record's name or -1)."""
        group, numbers = grouping(self.by, self.edges, self.column), dict[str, int]()
        show, found = work.show("classes"), np.full(len(held), -1, np.int64)
        for i, record in enumerate(held):
            if (name := group(record)) is not None:
                found[i] = numbers.setdefault(name, len(numbers))
            if not i % 1024:
                show(i, len(held))
        if not numbers:
            columns = [key for key in held[0] if not key.startswith("_")]
            raise DataError(problem("stratify.by", f"no record has one {self.by!r}", fix=nearest(self.by, columns)))
        return list(numbers), found

    def _shares(self, have: dict[str, int]) -> dict[str, Fraction]:
        """Of the classes asked. Raises DataError where one has no record."""
        if self.shares == "equal":
            return exact(dict.fromkeys(have, 1))
        if not isinstance(self.shares, dict):
            return exact(have)
        asked = {str(name): share for name, share in self.shares.items()}
        if missing := [name for name, share in asked.items() if share and name not in have]:
            found = "no record of class {!r}".format
            raise DataError([problem("stratify.shares", found(name), fix=nearest(name, have)) for name in missing])
        return exact({name: share for name, share in asked.items() if share})

    def _size(self, have: dict[str, int], shares: dict[str, Fraction], work: Work) -> int:
        """How many in all. Leaves in the facts which class limits it."""
        reach = {name: Fraction(have[name]) / share for name, share in shares.items()}
        limit, least = min(reach, key=lambda name: reach[name]), int(min(reach.values()))
        if self.repeat:
            return self.size if self.size is not None else -int(-max(reach.values()) // 1)
        size = least if self.size is None else min(self.size, least)
        if size == least:
            work.facts["limited_by"] = {"class": limit, "records": have[limit], "share": round(float(shares[limit]), 6)}
        return size

    def _tell(self, have: dict[str, int], shares: dict[str, Fraction], wanted: dict[str, int], work: Work) -> None:
        size = sum(wanted.values())
        error = {name: abs(float(wanted[name] / (size * share) - 1)) for name, share in shares.items()}
        worst = max(error, key=lambda name: error[name])
        shown = sorted(have, key=lambda name: -have[name])[:NAMED]
        work.facts |= {
            "size": size,
            "asked_size": self.size,
            "classes": {name: {"had": have[name], "has": wanted.get(name, 0)} for name in shown},
            "largest_error": {"class": worst, "relative": round(error[worst], 6), "asked_records": float(size * shares[worst])},
            "within_5_percent": error[worst] <= WITHIN,
            "single_records": [name for name in have if have[name] == 1][:NAMED],
        }  # fmt: skip

    def report(self) -> dict[str, Any]:
        return work_of(self).report()


def _times(classes: np.ndarray, wanted: list[int], work: Work) -> np.ndarray:
    """(records,) how often each is taken: all of a class equally often, and a random part of them once more."""
    times = np.zeros(len(classes), np.int64)
    for number, count in enumerate(wanted):
        members = np.flatnonzero(classes == number)
        often, more = divmod(count, len(members))
        times[members] = often
        times[work.random("stratify", number).choice(members, more, replace=False)] += 1
    return times
