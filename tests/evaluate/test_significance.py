"""Statistics against published numbers, exact fractions and slow plain re-computations."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seektune.evaluate.significance import Pool, intervals, mcnemar, mean_of, paired, wilson


@pytest.mark.parametrize(  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(case: tuple[int, int]) -> None:
    hits, n = case
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    assert wilson(n - hits, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    for end in (low, high):  # the ends solve |share - p| = z sqrt(p (1 - p) / n)
        if 0 < end < 1:
            assert abs(hits / n - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / n), rel=1e-5)


def test_wilson_of_nothing() -> None:
    assert all(math.isnan(end) for end in wilson(0, 0))


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    n = gained + lost
    tail = sum(Fraction(math.comb(n, i), 2**n) for i in range(min(gained, lost) + 1))
    assert mcnemar(gained, lost) == pytest.approx(float(min(Fraction(1), 2 * tail)), rel=1e-9)


def test_mcnemar_of_many_records() -> None:
    assert mcnemar(50_000, 50_900) == pytest.approx(math.erfc((900 - 1) / math.sqrt(100_900) / math.sqrt(2)), rel=1e-3)
    assert mcnemar(0, 0) == 1.0


def test_a_mean_has_the_interval_of_the_central_limit() -> None:
    values = np.random.default_rng(1).gamma(2.0, 3.0, 4000)
    (low, high), half = intervals(mean_of("x", values))[0], 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.08 * half)


def slow_bootstrap(rows: list[tuple[float, float]], resamples: int) -> list[float]:
    """Record by record, in plain Python: the sorted perplexities of resamples."""
    chance = random.Random(5)
    found = []
    for _ in range(resamples):
        drawn = [chance.choice(rows) for _ in rows]
        found.append(math.exp(sum(a for a, _ in drawn) / sum(b for _, b in drawn)))
    return sorted(found)


def test_a_ratio_is_resampled_by_records() -> None:
    chance = random.Random(2)
    rows = [(chance.uniform(1, 40), float(chance.randint(1, 12))) for _ in range(80)]
    pool = Pool(("perplexity",), np.array(rows), lambda sums: np.exp(sums[..., :1] / sums[..., 1:]))
    slow = slow_bootstrap(rows, 3000)
    low, high = intervals(pool)[0]
    width = slow[2925] - slow[75]
    assert (low, high) == pytest.approx((slow[75], slow[2925]), abs=0.1 * width)
    assert pool.values[0] == pytest.approx(math.exp(sum(a for a, _ in rows) / sum(b for _, b in rows)))


def test_intervals_are_the_same_each_time_and_other_with_another_seed() -> None:
    pool = mean_of("x", [0.1, 0.7, 0.4, 2.5, 1.0])
    assert intervals(pool).tolist() == intervals(pool).tolist() != intervals(pool, seed=1).tolist()


def test_pairing_takes_out_what_both_share() -> None:
    hard = np.random.default_rng(3).normal(0, 10, 200)
    before, after = mean_of("x", hard), mean_of("x", hard + 0.5)
    assert paired(before, after)[0] == pytest.approx((0.5, 0.5))
    low, high = paired(before, mean_of("x", hard[::-1] + 0.5))[0]
    assert low < 0.5 < high
    assert high - low > 2, "not the same records: no narrow interval"


def test_shares_take_wilson_and_means_do_not() -> None:
    assert intervals(mean_of("x", [1, 0, 1, 1]))[0] == pytest.approx(wilson(3, 4))
    assert mean_of("x", [1, 0, 0.5]).unit is False


def test_nothing_measured_has_no_interval() -> None:
    assert np.isnan(mean_of("x", []).values).all()
    assert np.isnan(intervals(mean_of("x", []))).all()
