"""What holds for every kind alike: adding one is adding a file."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import subprocess
import sys
from typing import Any

import every
import pytest

from seektune import kinds, recipe_yaml
from seektune.commands.kinds import listing
from seektune.contracts import Probe


def modules() -> list[str]:
    return [f"seektune.{kinds.FOLDERS[noun]}.{kind}" for noun, kind in every.KINDS]


def test_there_are_kinds_of_every_noun_that_a_run_needs() -> None:
    nouns = {noun for noun, _ in every.KINDS}
    assert {"source", "tuner", "objective", "optimizer", "schedule", "observers", "evaluate"} <= nouns


@pytest.mark.parametrize(("noun", "kind"), every.KINDS)
def test_is_a_dataclass_that_needs_nothing_but_its_example(noun: str, kind: str) -> None:
    cls = kinds.find(noun, kind)
    assert dataclasses.is_dataclass(cls)
    built = kinds.build(noun, every.plain(noun, kind))
    assert type(built) is cls
    example = getattr(cls, "example", {})
    assert built == cls(**example)
    assert set(example) >= {name for name, _, default, _ in kinds.options(cls) if default is ...}


@pytest.mark.parametrize(("noun", "kind"), every.KINDS)
def test_has_what_its_noun_promises(noun: str, kind: str) -> None:
    protocol = next(p for p, name in kinds.PROTOCOLS.items() if name == noun)
    methods = {
        name
        for name, value in vars(protocol).items()
        if inspect.isfunction(value) and value.__module__ == "seektune.contracts"
    }
    assert methods
    for name in [*methods, *vars(protocol).get("__annotations__", {})]:
        assert hasattr(kinds.find(noun, kind), name), f"{noun} {kind} has no {name}"


@pytest.mark.parametrize(("noun", "kind"), every.KINDS)
def test_a_docstring_says_what_it_is(noun: str, kind: str) -> None:
    module = importlib.import_module(f"seektune.{kinds.FOLDERS[noun]}.{kind}")
    first = (inspect.getdoc(module) or "").partition("\n")[0]
    assert len(first) > 20
    assert first[0].isupper() or first[0].isdigit()


@pytest.mark.parametrize(("noun", "kind"), every.KINDS)
def test_every_field_is_an_option_with_help_and_probe(noun: str, kind: str) -> None:
    """An object is its hyperparameters: no field that a recipe cannot set, none without help, none without a probe."""
    cls: Any = kinds.find(noun, kind)
    for field in dataclasses.fields(cls):
        assert field.init, f"{field.name} is no option: keep state out of the fields"
        assert field.metadata.get("help"), field.name
        assert isinstance(field.metadata.get("probe"), Probe), field.name


@pytest.mark.parametrize(("noun", "kind"), every.KINDS)
def test_goes_through_yaml_and_back(noun: str, kind: str) -> None:
    for spec in every.variants(noun, kind):
        value = kinds.build(noun, spec)
        written = kinds.spec(noun, value)
        assert set(written) == {"kind"} | {kinds.key_of(f) for f in kinds.fields(type(value))}
        read = recipe_yaml.parse(recipe_yaml.dump(written), "test.yaml")
        assert read.problems == []
        assert read.values == written
        assert kinds.build(noun, read.values) == value


@pytest.mark.parametrize(("noun", "kind"), every.KINDS)
def test_every_option_differs_under_its_other_value(noun: str, kind: str) -> None:
    plain, *others = [kinds.build(noun, spec) for spec in every.variants(noun, kind)]
    assert all(other != plain for other in others)


def test_the_verb_lists_every_kind_with_every_option() -> None:
    found = {(e["noun"], e["kind"]): [o["name"] for o in e["options"]] for e in listing() if e["kind"]}
    expected = {(n, k): [kinds.key_of(f) for f in kinds.fields(kinds.find(n, k))] for n, k in every.KINDS}
    assert found == expected


def test_no_kind_imports_torch() -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {modules()!r}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = [m for m in ('torch', 'transformers', 'peft', 'pandas') if m in sys.modules]\n"
        "    assert not heavy, (name, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
