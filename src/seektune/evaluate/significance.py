"""Intervals and tests. Every figure here is a function of summed rows (`Pool`): a mean, a perplexity, an F1; so one
bootstrap over records serves them all, alone and paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Z = 1.959963984540054  # 97.5 % point of the normal distribution: all intervals are 95 %
RESAMPLES = 2000


@dataclass(frozen=True)
class Pool:
    """Figures of a set of records: `combine` maps summed rows (..., columns) to one value a name (..., names)."""

    names: tuple[str, ...]
    rows: np.ndarray  # (records, columns)
    combine: Callable[[np.ndarray], np.ndarray]
    unit: bool = False  # one name, each row 0 or 1: the interval is Wilson's

    @property
    def values(self) -> np.ndarray:
        """(names,); nan where there is nothing to go by."""
        return self.combine(self.rows.sum(0, dtype=np.float64))


def mean_of(name: str, values: Sequence[Any]) -> Pool:
    """The mean of one number a record."""
    numbers = np.asarray(values, dtype=np.float64).reshape(-1)
    rows = np.stack([numbers, np.ones_like(numbers)], 1)
    return Pool((name,), rows, lambda sums: ratio(sums[..., :1], sums[..., 1:]), bool(np.isin(numbers, (0, 1)).all()))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, nan where whole is 0."""
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole != 0)


def intervals(pool: Pool, seed: int = 0) -> np.ndarray:
    """(names, 2): the 95 % interval of each figure; Wilson's for a share, a percentile bootstrap otherwise."""
    if pool.unit:
        return np.array([wilson(int(pool.rows[:, 0].sum()), len(pool.rows))])
    return _percentiles(pool.combine(_resampled(pool.rows, seed)))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927): right near 0 and 1, where the usual one leaves [0, 1]."""
    if n == 0:
        return math.nan, math.nan
    share, spread = hits / n, Z * Z / n
    centre = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == n else centre + half)


def paired(before: Pool, after: Pool, seed: int = 0) -> np.ndarray:
    """(names, 2): the 95 % interval of after - before on the same records, which are resampled together."""
    assert before.names == after.names, f"other figures: {before.names} and {after.names}"
    assert len(before.rows) == len(after.rows), "other records"
    columns = before.rows.shape[1]
    sums = _resampled(np.concatenate([before.rows, after.rows], 1), seed)
    return _percentiles(after.combine(sums[:, columns:]) - before.combine(sums[:, :columns]))


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact p of McNemar's test (1947): of the records that changed, is a gain as likely as a loss?"""
    n, least = gained + lost, min(gained, lost)
    if gained == lost:
        return 1.0
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2) for i in range(least + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(value) for value in logs))


def _resampled(rows: np.ndarray, seed: int) -> np.ndarray:
    """(RESAMPLES, columns): sums over records drawn with replacement. Equal rows are told apart by nothing, so counted."""
    if not len(rows):
        return np.zeros((RESAMPLES, rows.shape[1]))
    kinds, kind = np.unique(rows, axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    random = np.random.default_rng(seed)
    sums = np.empty((RESAMPLES, rows.shape[1]))
    for i in range(RESAMPLES):
        drawn = kind[random.integers(0, len(rows), len(rows))]
        sums[i] = np.bincount(drawn, minlength=len(kinds)) @ kinds
    return sums


def _percentiles(values: np.ndarray) -> np.ndarray:
    """(names, 2) of (resamples, names); resamples in which a figure does not exist are left out."""
    found = np.full((values.shape[1], 2), np.nan)
    for i, column in enumerate(values.T):
        if (finite := column[np.isfinite(column)]).size:
            found[i] = np.percentile(finite, [2.5, 97.5])
    return found
