"""Every kind and every section of a recipe, for tests that hold for all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from seektune import kinds
from seektune.recipe import Recipe

KINDS = [(noun, kind) for noun in kinds.nouns() for kind in kinds.names(noun)]


def of(noun: str) -> list[str]:
    """The kinds of one noun."""
    return [kind for name, kind in KINDS if name == noun]


def plain(noun: str, kind: str) -> dict[str, Any]:
    """The spec of a kind as it is; with the class's `example` where it cannot do without some options, or would stop at so few records."""
    return {"kind": kind} | dict(getattr(kinds.find(noun, kind), "example", {}))


def variants(noun: str, kind: str) -> list[dict[str, Any]]:
    """Specs of a kind: as it is, and once for each option with the other value that its probe names."""
    bare = plain(noun, kind)
    options = kinds.fields(kinds.find(noun, kind))
    return [bare] + [bare | {kinds.key_of(f): f.metadata["probe"].other} for f in options]


def all_variants(noun: str) -> list[Any]:
    """Parameters for pytest: the spec of every variant of every kind of a noun."""
    import pytest

    def name(spec: dict[str, Any]) -> str:
        return "-".join([spec["kind"], *(key for key in spec if key != "kind")])

    return [pytest.param(spec, id=name(spec)) for kind in of(noun) for spec in variants(noun, kind)]


def sections(cls: type = Recipe, key: str = "") -> Iterator[tuple[str, type]]:
    """(dotted key, dataclass) of the recipe and of all its sections that are no kinds; `0` is the first entry of a list."""
    yield key, cls
    for field in kinds.fields(cls):
        hint: Any = kinds.hints_of(cls)[field.name]
        inner = kinds.inner(hint)
        if dataclasses.is_dataclass(inner) and kinds.noun_of(inner) is None:
            entry = ".0" if "list" in kinds.type_name(hint) else ""
            yield from sections(inner, ".".join(filter(None, [key, kinds.key_of(field)])) + entry)  # type: ignore[arg-type]
