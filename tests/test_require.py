"""Conditions on what was measured."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seektune.errors import RecipeError
from seektune.require import check_requirements, parse


@pytest.mark.parametrize(
    ("text", "before", "after", "met"),
    [
        ("> 0.9", 0.1, 0.91, True),
        ("> 0.9", 0.1, 0.9, False),
        (">= 0.9", 0.1, 0.9, True),
        ("< before", 10.0, 9.0, True),
        ("<= before * 0.5 + 1", 10.0, 6.0, True),
        ("<= before * 0.5 + 1", 10.0, 6.1, False),
        ("> (before + 1) / 2", 0.5, 0.76, True),
        ("> -1e-3", 0.0, 0.0, True),
        ("== 1", 0.0, 1.0, True),
        ("> before and < 0.5", 0.1, 0.4, True),
        ("> before and < 0.5", 0.1, 0.6, False),
    ],
)
def test_conditions(text: str, before: float, after: float, met: bool) -> None:
    assert (check_requirements({"m": text}, {"m": before}, {"m": after}) == []) is met
    scores = {"m": {"value": before, "low": 0.0}}, {"m": {"value": after}}
    assert (check_requirements({"m": text}, *scores) == []) is met


def test_lines_of_what_was_not_met() -> None:
    require = {"a": "> 0.9", "b": ">= before + 0.05", "c": "> 0", "d": "> before", "e": "> 1 / before", "f": "> 0"}
    before, after = {"a": 0.02, "b": 0.5, "e": 0.0}, {"a": 0.123456, "b": 0.51, "d": 1.0, "e": 1.0, "f": float("nan")}
    assert check_requirements(require, before, after) == [
        "require.a: not met: 0.1235 (before training 0.02); expected > 0.9",
        "require.b: not met: 0.51 (before training 0.5); expected >= before + 0.05 = 0.55",
        "require.c: was not measured; expected > 0",
        "require.d: was not measured before training; expected > before",
        "require.e: '> 1 / before' divides by zero, as before training it was 0",
        "require.f: was not measured; expected > 0",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.9",
        "> ",
        "> befor",
        "> 0.9 >",
        "1 < before",
        "> 'x'",
        "> True",
        "> before ** 9",
        "> __import__('os')",
        "> before.real",
        "> 1 > 2",
        "!= 3",
        "> 3 and",
        "> 1 or > 2",
        ".real > 3",
        "\0",
        "> " + "(" * 300 + "1" + ")" * 300,
        "> " + "-" * 100_000 + "1",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(RecipeError):
        parse(text)


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(RecipeError):
        assert parse(text)
