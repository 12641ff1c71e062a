"""How unequal lengths are: their variance over their mean (the index of dispersion; 1 where lengths are Poisson's)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def dispersion(lengths: Sequence[int]) -> float:
    """Variance / mean, in the unit of the lengths; 0 where all are 0."""
    values = np.asarray(lengths, np.float64)
    return float(values.var() / values.mean()) if values.any() else 0.0


def fitting_range(lengths: Sequence[int], limit: float) -> tuple[int, int]:
    """The shortest and the longest length that are left once the lengths furthest from the mean have gone, one after the
    other, until variance <= limit x mean. Equal lengths go together, so a bound on the length does the same."""
    values, counts = (found.tolist() for found in np.unique(np.asarray(lengths, np.int64), return_counts=True))
    first, last = 0, len(values) - 1
    n, total, squares = (sum(c * v**k for v, c in zip(values, counts, strict=True)) for k in range(3))
    while first < last and n * squares - total**2 > limit * n * total:
        longest = values[last] * n - total >= total - values[first] * n  # which end is further from the mean
        value, count = (values[last], counts[last]) if longest else (values[first], counts[first])
        n, total, squares = n - count, total - count * value, squares - count * value**2
        first, last = (first, last - 1) if longest else (first + 1, last)
    return values[first], values[last]


def spread(lengths: Sequence[int], limit: float) -> dict[str, Any]:
    """What a verdict on lengths says. `outside`: the records that break the rule, by number."""
    found = {"mean": round(float(np.mean(lengths)), 2), "variance": round(float(np.var(lengths)), 2)}
    low, high = fitting_range(lengths, limit)
    outside = [i for i, length in enumerate(lengths) if not low <= length <= high]
    return found | {"dispersion": round(dispersion(lengths), 3), "fitting": [low, high], "outside": outside}
