"""Which group a record belongs to (a column, its language, its length, the file it came from), and whole numbers from shares."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from ..contracts import Record
from ._languages import language_of
from ._texts import label_of, text_of
from ._work import PLACE


def grouping(by: str, edges: Sequence[int], column: str | None = None) -> Callable[[Record], str | None]:
    """record -> the name of its group, None where it has none. A column named so goes before what is found out."""
    found: dict[str, Callable[[Record], str | None]] = {
        "language": lambda record: language_of(text_of(record, column)),
        "length": lambda record: bucket(len(text_of(record, column)), edges),
        "source": file_of,
    }
    told = found.get(by, lambda record: None)
    return lambda record: label_of(record, by) if by in record else told(record)


def bucket(length: int, edges: Sequence[int]) -> str:
    """`0-49`, `50-199`, … `1000+`, of edges 50, 200, 1000."""
    i = bisect.bisect_right(edges, length)
    low = edges[i - 1] if i else 0
    return f"{low}-{edges[i] - 1}" if i < len(edges) else f"{low}+"


def file_of(record: Record) -> str | None:
    """The file's name without the place in it."""
    where = str(record.get(PLACE, ""))
    file, colon, _ = where.rpartition(":")
    return file if colon else where.rpartition(" record ")[0] or None


def exact(shares: Mapping[str, Any]) -> dict[str, Fraction]:
    """The shares as fractions that add up to 1: 0.1 is a tenth here, not the float next to it."""
    given = {name: Fraction(str(share)) for name, share in shares.items()}
    total = sum(given.values())
    return {name: share / total for name, share in given.items()}


def apportioned(size: int, shares: Mapping[str, Fraction]) -> dict[str, int]:
    """Whole numbers that add up to `size`, by largest remainder (Hamilton): none is a whole one away from its quota."""
    quotas = {name: size * share for name, share in shares.items()}
    counts = {name: int(quota) for name, quota in quotas.items()}
    by_rest = sorted(quotas, key=lambda name: counts[name] - quotas[name])  # of equal rests the first named
    for name in by_rest[: size - sum(counts.values())]:
        counts[name] += 1
    return counts
