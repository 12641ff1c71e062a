"""List every kind with its options, their types, defaults and meaning.

seektune kinds                     every kind of every noun, one line each
seektune kinds optimizer           the kinds of a noun
seektune kinds optimizer adamw     the options of a kind
seektune kinds train               the options of a section of the recipe
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
from typing import Any

from .. import kinds
from ..errors import RecipeError, nearest, problem


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "noun", nargs="?", help="tuner, objective, optimizer, ...; or a section of the recipe: model, data, train"
    )
    parser.add_argument("kind", nargs="?", help="a kind of the noun")
    parser.add_argument("--json", action="store_true", help="print as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    found = listing(options.noun, options.kind)
    if options.json:
        print(json.dumps(found, ensure_ascii=False, indent=2, default=str))
    else:
        print("\n".join(_lines(found, full=options.noun is not None)))
    return 0


def listing(noun: str | None = None, kind: str | None = None) -> list[dict[str, Any]]:
    """One entry for each kind: noun, kind ("" for a section of the recipe), summary, options (name, type, default, help,
    required). Raises RecipeError with the nearest name."""
    entries = [entry for n in kinds.nouns() for entry in _kinds_of(n)] + _sections()
    known = {entry["noun"] for entry in entries}
    if noun is not None:
        if noun not in known:
            raise RecipeError(problem("seektune kinds", f"unknown noun {noun!r}", fix=nearest(noun, known)))
        entries = [entry for entry in entries if entry["noun"] == noun]
    if kind is not None:
        names = [entry["kind"] for entry in entries if entry["kind"]]
        if ":" in kind and noun in kinds.FOLDERS:
            return [_entry(noun, kind, kinds.find(noun, kind))]
        if kind not in names:
            fix = nearest(kind, names) if names else "it is a section without kinds"
            raise RecipeError(problem("seektune kinds", f"unknown kind {kind!r} of {noun}", fix=fix))
        entries = [entry for entry in entries if entry["kind"] == kind]
    return entries


def _kinds_of(noun: str) -> list[dict[str, Any]]:
    return [_entry(noun, kind, kinds.find(noun, kind)) for kind in kinds.names(noun)]


def _sections() -> list[dict[str, Any]]:
    """The sections of a recipe that have no kinds, with those inside them."""
    from ..recipe import Recipe

    return _sections_of(Recipe, "")


def _sections_of(cls: type, prefix: str) -> list[dict[str, Any]]:
    found = []
    for field in kinds.fields(cls):
        hint: Any = kinds.inner(kinds.hints_of(cls)[field.name])
        if inspect.isclass(hint) and dataclasses.is_dataclass(hint):
            name = prefix + kinds.key_of(field)
            found += [_entry(name, "", hint), *_sections_of(hint, f"{name}.")]
    return found


def _entry(noun: str, kind: str, cls: type) -> dict[str, Any]:
    rows = []
    for name, type_text, default, help_text in kinds.options(cls):
        row = {"name": name, "type": type_text, "help": help_text, "required": default is ...}
        rows.append(row if default is ... else row | {"default": _plain(default)})
    documented = inspect.getdoc(cls) or ""
    if documented.startswith(f"{cls.__name__}("):  # made by dataclasses, where a class has none
        documented = inspect.getdoc(inspect.getmodule(cls)) or ""
    summary = documented.partition("\n")[0]
    return {"noun": noun, "kind": kind, "summary": summary, "options": rows}


def _plain(value: Any) -> Any:
    return kinds.plain(value) if dataclasses.is_dataclass(value) else value


def _lines(entries: list[dict[str, Any]], full: bool) -> list[str]:
    """Text for a terminal; grouped by noun, with the options where `full`."""
    lines: list[str] = []
    noun = None
    for entry in entries:
        if entry["noun"] != noun and entry["kind"]:
            noun = entry["noun"]
            lines += [""] * bool(lines) + [f"{noun}:"]
        lines.append(
            f"  {entry['kind']:<16}{entry['summary']}" if entry["kind"] else f"{entry['noun']}:  {entry['summary']}"
        )
        if full:
            lines += _option_lines(entry["options"])
    return lines


def _option_lines(options: list[dict[str, Any]]) -> list[str]:
    width = max((len(o["name"]) for o in options), default=0) + 2
    lines = []
    for option in options:
        default = "required" if option["required"] else f"default {kinds.shown(option['default'])}"
        lines.append(f"      {option['name']:<{width}}{option['help']} ({option['type']}; {default})")
    return lines
