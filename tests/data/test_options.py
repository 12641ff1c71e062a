"""The options under `data:`: defaults, ranges, and what may not stand together."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from seektune.data.options import FIELDS, Data, Input, Valid
from seektune.data.shapes import OWN, SHAPES
from seektune.errors import RecipeError
from seektune.kinds import check_options


@pytest.mark.parametrize(
    ("cls", "given", "line"),
    [
        (Input, {"path": "x", "format": "alpaca"}, "format: found 'alpaca'; expected one of auto, messages, "),
        (Input, {"path": "x", "columns": {"lable": "y"}}, "'lable' is none (did you mean 'label'?)"),
        (Input, {}, "path: missing; expected text"),
        (Valid, {"fraction": 1.0}, "fraction: found 1.0; expected between 0 and 1, both left out"),
        (Valid, {"fraction": 0}, "fraction: found 0; expected between 0 and 1, both left out"),
        (Data, {"train": []}, "train: found []; expected at least one file"),
        (Data, {"train": [{"path": "x"}], "allow_dropped": 2}, "allow_dropped: found 2; expected between 0 and 1"),
        (Data, {"train": [{"path": "x"}], "max_length": 1}, "max_length: found 1; expected at least 2"),
        (
            Data,
            {"train": [{"path": "x"}], "too_long": "halve"},
            "too_long: found 'halve'; expected one of cut, drop, error, split",
        ),
        (Data, {"train": [{"path": "x"}], "max_lenght": 8}, "max_lenght: unknown key; did you mean 'max_length'?"),
    ],
)
def test_wrong_options(cls: type, given: dict[str, Any], line: str) -> None:
    [(_, found)] = check_options(cls, given, "")
    assert line in found


def test_right_options() -> None:
    given = {"path": "x", "format": "pair", "columns": {"prompt": "ask"}}
    assert check_options(Input, given, "") == []
    assert (
        check_options(Data, {"train": [given, {"path": "y"}], "valid": {"fraction": 0.1, "group": "g"}}, "data") == []
    )
    data = Data(train=[Input(path="x")])
    assert (data.max_length, data.too_long, data.allow_dropped, data.train_on) == (2048, "cut", 0.01, "all_answers")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "data.valid: neither `fraction` nor `path`; expected one of them"),
        ({"fraction": 0.1, "path": "x"}, "data.valid: both `fraction` and `path`; expected one of them"),
        ({"path": "x", "group": "g"}, "data.valid.group: `group` beside `path`; expected `group` with `fraction` only"),
    ],
)
def test_valid_is_a_fraction_or_files(given: dict[str, Any], line: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Valid(**given)
    assert caught.value.problems == [line]


def test_columns_can_name_every_field_that_a_shape_reads() -> None:
    read = {name for shape in SHAPES.values() for ours in (shape.needs, shape.takes) for name in ours}
    assert read <= set(FIELDS)
    assert set(OWN) <= set(FIELDS)


def test_every_option_has_help_and_a_probe_with_another_value() -> None:
    for cls in (Input, Valid, Data):
        for field in dataclasses.fields(cls):
            assert field.metadata["help"]
            assert field.metadata["probe"].other != field.default
            found = check_options(cls, {field.name: field.metadata["probe"].other}, "")
            assert [line for key, line in found if key.startswith(field.name)] == []
