"""A scaler leads to [0, 1] and exactly back, from its file too."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.errors import DataError
from seektune.stages._scaler import Scaler, fitted
from seektune.stages._work import work_of
from seektune.stages.scale_numbers import ScaleNumbers

values = st.lists(
    st.decimals(min_value=-(10**14), max_value=10**14, allow_nan=False, allow_infinity=False, places=3),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("how", ["linear", "log"])
@settings(max_examples=80, deadline=None)
@given(values)
def test_every_value_comes_back(how: Any, found: list[Decimal]) -> None:
    scaler = fitted(how, [("amount CNY", value) for value in found])
    for value in found:
        scaled = scaler.scale("amount CNY", value)
        assert scaled is not None
        assert 0 <= scaled <= 1
        assert scaler.unscale("amount CNY", Decimal(str(scaled))) == value


@pytest.mark.parametrize("how", ["linear", "log"])
@settings(max_examples=40, deadline=None)
@given(st.integers(-(10**40), 10**40), st.integers(-(10**40), 10**40), st.integers(-(10**42), 10**42))
def test_large_numbers_and_those_outside_come_back(how: Any, low: int, high: int, other: int) -> None:
    scaler = fitted(how, [("n", Decimal(low)), ("n", Decimal(high))])
    for value in map(Decimal, (low, high, other)):
        scaled = scaler.scale("n", value)
        assert scaled is not None
        assert scaler.unscale("n", scaled) == value


def test_the_numbers_are_those_of_numpy() -> None:
    given = [-5.0, 0.0, 1.5, 20.0, 1e6]
    for how in ("linear", "log"):
        scaler = fitted(how, [("n", Decimal(str(x))) for x in given])  # type: ignore[arg-type]
        x = np.array(given)
        bent = x if how == "linear" else np.sign(x) * np.log1p(np.abs(x) / 0.1)
        expected = (bent - bent.min()) / (bent.max() - bent.min())
        assert [float(scaler.scale("n", Decimal(str(v))) or 0) for v in given] == pytest.approx(expected, abs=1e-9)


def test_the_file_makes_the_same_scaler(tmp_path: Path) -> None:
    scaler = fitted(
        "log", [("amount CNY", Decimal("1.50")), ("amount CNY", Decimal("9e20")), ("percent %", Decimal("-3"))]
    )
    scaler.save(tmp_path / "scaler.json")
    assert Scaler.load(tmp_path / "scaler.json") == scaler


def run(records: list[dict[str, Any]], **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    stage = ScaleNumbers(**options)
    return list(stage(records)), work_of(stage).facts["scaler"]


def test_kinds_and_units_have_scales_of_their_own(tmp_path: Path) -> None:
    records = [{"text": "1亿元, $5, 10%, 2024年"}, {"text": "3亿元, $7, 30%"}, {"text": "2亿元"}, {"text": "nothing"}]
    path = tmp_path / "scaler.json"
    made, facts = run(records, path=str(path))
    scaled = [[float(n.get("scaled", -1)) for n in record.get("numbers", [])] for record in made]
    assert scaled == [[0, 0, 0, -1], [1, 1, 1], [0.5], []]
    assert facts["numbers"] == {"amount CNY": 3, "amount USD": 2, "percent %": 2}
    again, _ = run(records, path=str(path), how="log")  # the file is what counts
    assert again == made
    far, facts = run([{"text": "5亿元"}], path=str(path))
    assert float(far[0]["numbers"][0]["scaled"]) == 2
    assert facts["outside"] == {"amount CNY": 1}
    [clipped], _ = run([{"text": "5亿元"}], path=str(path), outside="clip")
    assert float(clipped["numbers"][0]["scaled"]) == 1


def test_a_file_that_is_no_scaler_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scaler.json"
    for text in ("{", '{"format": 1}', '{"format": 1, "how": "log", "ranges": {"n": {"low": "x"}}}', "[]",
                 '{"format": 1, "how": "log", "ranges": {"n": {"low": "2", "high": "1", "step": "1", "count": 1}}}'):  # fmt: skip
        path.write_text(text)
        with pytest.raises(DataError, match="is no scaler; expected"):
            run([{"text": "1元"}], path=str(path))
