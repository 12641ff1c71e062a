"""What every schedule promises: a factor in [0, 1] for every progress in [0, 1], without jumps, pure."""

from __future__ import annotations

import itertools
from typing import Any

import every
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seektune import kinds
from seektune.errors import RecipeError

SPECS = every.all_variants("schedule")
progress = st.floats(0, 1)


def drawn(kind: str, shares: list[float]) -> Any:
    """The kind with its number options replaced, one after the other, by what was drawn; None where it refuses them."""
    cls = kinds.find("schedule", kind)
    numbers = [f for f in kinds.fields(cls) if kinds.hints_of(cls)[f.name] is float]
    try:
        return kinds.build("schedule", {"kind": kind} | {f.name: s for f, s in zip(numbers, shares, strict=False)})
    except RecipeError:
        return None


@pytest.mark.parametrize("kind", every.of("schedule"))
@given(shares=st.lists(progress, min_size=4, max_size=4), at=progress)
def test_the_factor_lies_between_0_and_1_and_is_pure(kind: str, shares: list[float], at: float) -> None:
    schedule = drawn(kind, shares)
    if schedule is not None:
        assert 0.0 <= schedule(at) <= 1.0
        assert schedule(at) == schedule(at)


@pytest.mark.parametrize("spec", SPECS)
def test_it_has_no_jumps(spec: dict[str, Any]) -> None:
    schedule = kinds.build("schedule", spec)
    points = [i / 20_000 for i in range(20_001)]
    factors = [schedule(p) for p in points]
    assert max(abs(b - a) for a, b in itertools.pairwise(factors)) < 2e-3


@pytest.mark.parametrize("spec", SPECS)
def test_it_reaches_1_and_warms_up_from_0(spec: dict[str, Any]) -> None:
    schedule = kinds.build("schedule", spec)
    factors = [schedule(i / 1000) for i in range(1001)]
    assert max(factors) == pytest.approx(1.0, abs=1e-3)
    warmup = getattr(schedule, "warmup", 0.0)
    if warmup:
        rising = factors[: int(1000 * warmup)]
        assert rising[0] == 0.0
        assert rising == sorted(rising)
        assert schedule(warmup / 2) == pytest.approx(0.5)
