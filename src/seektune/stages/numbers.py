"""Finds amounts, shares, basis points, ratios, dates and numbers in Chinese and English texts, as exact decimals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..contracts import Probe, Record, option
from ._each import Outcome, run_each
from ._quantities import quantities
from ._texts import texts
from ._work import seen, work_of

KINDS = ("amount", "percent", "basis_points", "ratio", "date", "number")


def known(value: Any) -> str | None:
    """What would be right where a list of kinds names another, or none."""
    fits = value and all(kind in KINDS for kind in value)
    return None if fits else "some of " + ", ".join(KINDS)


@dataclass
class Numbers:
    """Adds a column `numbers`: `at` (path of the text), start, end, text, kind, value (exact, as text), unit. Texts stay as they are."""

    kinds: list[str] = option(
        help="which are listed: " + ", ".join(KINDS),
        probe=seen(["percent"]),
        check=known,
        factory=lambda: list(KINDS),
    )
    brackets: bool = option(
        True,
        "(1,234) is a negative number",
        probe=Probe(False, "stage", "stage", {"data.train.0.path": "ledger.jsonl"}),
    )
    column: str | None = option(None, "a field; all texts where left out", probe=seen("topic"))

    def each(self, record: Record) -> Outcome:
        found = found_in(record, self.column, self.brackets)
        listed = [one for one in found if one["kind"] in self.kinds]
        if not listed:
            return Outcome(record)
        figures = Counter[str](f"{one['kind']} {one['unit']}".strip() for one in listed)
        return Outcome(record | {"numbers": listed}, "numbers found", figures=dict(figures))

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        return run_each(self, records)

    def report(self) -> dict[str, Any]:
        return work_of(self).report()


def found_in(record: Record, column: str | None = None, brackets: bool = True) -> list[dict[str, Any]]:
    """The quantities of all texts of a record, as the column `numbers` holds them."""
    return [
        {"at": list(path), **one.as_dict()}
        for path, text in texts(record, column)
        for one in quantities(text, brackets)
    ]
