"""Scales the numbers of records to [0, 1] by a scaler that is fitted on the data, kept in a file and can be inverted exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from ..contracts import Record, option
from ._numerals import plain
from ._scaler import Scaler, fitted, name_of
from ._spool import spool
from ._work import seen, work_of
from .numbers import found_in

ZERO, ONE = Decimal(0), Decimal(1)


@dataclass
class ScaleNumbers:
    """Adds `scaled` (text) to every number of the column `numbers`, which is made where it is missing; dates and a:b have none."""

    how: Literal["linear", "log"] = option(
        "linear", "even, or by sign(x) ln(1 + |x|), for amounts of many magnitudes", probe=seen("log")
    )
    outside: Literal["keep", "clip"] = option(
        "keep",
        "what a scaler from a file makes of larger and smaller numbers: below 0 and above 1, or 0 and 1, which do not lead back",
        probe=seen("clip", path="narrow.json"),
    )
    path: str | None = option(
        None, "JSON file of the scaler: taken from there where it exists, else written", probe=seen("narrow.json")
    )

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        work = work_of(self)
        held = spool(records, work)
        scaler = self._scaler(held)
        outside: dict[str, int] = {}
        for record in held:
            made = self._scaled(record, scaler, outside)
            if made is None:
                work.keep()
                yield record
                continue
            work.change(record, made, "numbers scaled")
            yield made
        work.facts["scaler"] = {
            "how": scaler.how,
            "numbers": {name: found.count for name, found in sorted(scaler.ranges.items())},
            "outside": dict(sorted(outside.items())),
        }

    def _scaler(self, held: Iterable[Record]) -> Scaler:
        path = Path(self.path).expanduser() if self.path else None
        if path is not None and path.exists():
            return Scaler.load(path)
        values = (value for record in held for value in _values(numbers_of(record)))
        scaler = fitted(self.how, values)
        if path is not None and scaler.ranges:
            scaler.save(path)
        return scaler

    def _scaled(self, record: Record, scaler: Scaler, outside: dict[str, int]) -> Record | None:
        made, found = [], False
        for one in numbers_of(record):
            value = _value(one)
            scaled = scaler.scale(value[0], value[1]) if value else None
            if value is None or scaled is None:
                made.append(one)
                continue
            if not ZERO <= scaled <= ONE:
                outside[value[0]] = outside.get(value[0], 0) + 1
                scaled = min(max(scaled, ZERO), ONE) if self.outside == "clip" else scaled
            made.append(one | {"scaled": plain(scaled)})
            found = True
        return record | {"numbers": made} if found else None

    def report(self) -> dict[str, Any]:
        return work_of(self).report()


def numbers_of(record: Record) -> list[dict[str, Any]]:
    """The column `numbers` of a record, or what stands in its texts."""
    held = record.get("numbers")
    return held if isinstance(held, list) else found_in(record)


def _values(numbers: list[dict[str, Any]]) -> Iterator[tuple[str, Decimal]]:
    return (value for value in map(_value, numbers) if value is not None)


def _value(one: dict[str, Any]) -> tuple[str, Decimal] | None:
    if one["kind"] == "date" or ":" in one["value"]:
        return None
    return name_of(one["kind"], one["unit"]), Decimal(one["value"])
