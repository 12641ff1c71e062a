"""The folder is the registry: `kind: grpo` under `objective` is objectives/grpo.py, and `my_pkg.losses:KTO` is the user's own.

Turns plain values (what YAML holds) into the dataclasses of a recipe and back, checking every option on the way, and lists
what exists. A kind is imported only when it is asked for; kind files import torch inside functions, so listing is fast.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import os
import pkgutil
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from . import contracts
from .errors import InputError, RecipeError, nearest, problem

FOLDERS: dict[str, str] = {  # recipe key -> package of the kinds
    "stage": "stages",
    "source": "sources",
    "tuner": "tuners",
    "objective": "objectives",
    "reward": "rewards",
    "optimizer": "optimizers",
    "schedule": "schedules",
    "observers": "observers",
    "evaluate": "evaluate.measures",
}
PROTOCOLS: dict[Any, str] = {  # a field of this type holds a kind of that noun
    contracts.Stage: "stage",
    contracts.Source: "source",
    contracts.Tuner: "tuner",
    contracts.Objective: "objective",
    contracts.Optimizer: "optimizer",
    contracts.Schedule: "schedule",
    contracts.Observer: "observers",
    contracts.Measure: "evaluate",
}
METHODS = {  # what a user's own kind must have at least
    "source": "open",
    "tuner": "apply",
    "objective": "loss",
    "optimizer": "build",
    "observers": "observe",
    "evaluate": "measure",
}

Problem = tuple[str, str]  # (dotted key, line)


@cache
def names(noun: str) -> tuple[str, ...]:
    """The kinds of a noun, sorted; () where its folder does not exist yet."""
    package_name = f"{__package__}.{FOLDERS[noun]}"
    try:
        package = importlib.import_module(package_name)
    except ModuleNotFoundError as error:
        if error.name is None or not package_name.startswith(error.name):
            raise
        return ()
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")))


def nouns() -> tuple[str, ...]:
    """The nouns that have kinds."""
    return tuple(noun for noun in FOLDERS if names(noun))


@cache
def find(noun: str, kind: str) -> type:
    """The dataclass behind a kind. Raises RecipeError with the nearest name, or what is wrong with the user's module."""
    if ":" in kind:
        return _users_own(noun, kind)
    if kind not in names(noun):
        raise RecipeError(problem(f"{noun}.kind", f"unknown kind {kind!r}", fix=nearest(kind, names(noun))))
    module = importlib.import_module(f"{__package__}.{FOLDERS[noun]}.{kind}")
    return public_class(module)


def public_class(module: types.ModuleType) -> type:
    """The one public dataclass that a kind file holds."""
    found = [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and dataclasses.is_dataclass(value)
    ]
    assert len(found) == 1, f"{module.__name__} must hold one public dataclass, found {[c.__name__ for c in found]}"
    return found[0]


def build(noun: str, spec: Mapping[str, Any]) -> Any:
    """The object that `{"kind": ..., option: value, ...}` describes. Raises RecipeError with every problem at once."""
    problems: list[Problem] = []
    value = _build_kind(noun, dict(spec), noun, problems)
    if problems:
        raise RecipeError([line for _, line in problems])
    return value


def spec(noun: str, value: Any) -> dict[str, Any]:
    """The reverse of `build`: an object as the dict that a recipe holds, every default written out."""
    return {"kind": kind_of(noun, type(value))} | plain(value)


def kind_of(noun: str, cls: type) -> str:
    prefix = f"{__package__}.{FOLDERS[noun]}."
    own = cls.__module__.startswith(prefix)
    return cls.__module__.removeprefix(prefix) if own else f"{cls.__module__}:{cls.__qualname__}"


def plain(value: Any) -> dict[str, Any]:
    """The options of a kind, a section or a whole recipe as values that YAML and JSON can hold."""
    cls: Any = type(value)
    hints = hints_of(cls)
    return {key_of(f): plain_value(getattr(value, f.name), hints[f.name]) for f in fields(cls)}


def plain_value(value: Any, hint: Any) -> Any:
    hint = _without_none(hint)
    if isinstance(value, list | tuple):
        return [plain_value(v, item_hint(hint)) for v in value]
    if value is not None and (noun := noun_of(hint)):
        return spec(noun, value)
    if dataclasses.is_dataclass(value):
        return plain(value)
    return dict(value) if isinstance(value, Mapping) else value


def fields(cls: type) -> list[dataclasses.Field[Any]]:
    return [f for f in dataclasses.fields(cls) if f.init]


def key_of(field: dataclasses.Field[Any]) -> str:
    """The key in YAML: the field's name; `continue_`, which Python could not spell otherwise, is `continue`."""
    return field.name.rstrip("_")


@cache
def hints_of(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def noun_of(hint: Any) -> str | None:
    return PROTOCOLS.get(hint) if inspect.isclass(hint) else None


def item_hint(hint: Any) -> Any:
    """`X` of `list[X]` and `tuple[X, ...]`."""
    return (typing.get_args(hint) or (Any,))[0]


def is_nested(hint: Any) -> bool:
    """Whether a value of this type is a mapping with keys of its own: a kind or a section."""
    return noun_of(hint) is not None or dataclasses.is_dataclass(hint)


def inner(hint: Any) -> Any:
    """`X` of `X`, `X | None` and `list[X]`."""
    hint = _without_none(hint)
    return item_hint(hint) if typing.get_origin(hint) is list else hint


def _without_none(hint: Any) -> Any:
    """`X` of `X | None`; other hints as they are."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    rest = [a for a in typing.get_args(hint) if a is not type(None)]
    return rest[0] if len(rest) == 1 else hint


def options(cls: type) -> Iterator[tuple[str, str, Any, str]]:
    """(key, type, default, help) of each option; the default of a required one is `...`."""
    hints = hints_of(cls)
    for f in fields(cls):
        yield key_of(f), type_name(hints[f.name]), default_of(f), f.metadata.get("help", "")


def default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return ... if field.default is dataclasses.MISSING else field.default


def expand(hint: Any, value: Any) -> Any:
    """Short forms written out: `tuner: lora` is `{kind: lora}`, `model: base:tiny` is `{path: base:tiny}`, and one item
    stands for a list of one. What fits nothing is left for `construct` to refuse."""
    hint = _without_none(hint)
    if typing.get_origin(hint) is list and is_nested(item_hint(hint)):
        if isinstance(value, str | dict):
            value = [value]
        return [expand(item_hint(hint), v) for v in value] if isinstance(value, list) else value
    if noun_of(hint):
        return {"kind": value} if isinstance(value, str) else value
    if not dataclasses.is_dataclass(hint):
        return value
    cls = typing.cast(type, hint)
    first = fields(cls)[0]
    if isinstance(value, str) and hints_of(cls)[first.name] is str:
        return {key_of(first): value}
    if not isinstance(value, dict):
        return value
    known = {key_of(f): hints_of(cls)[f.name] for f in fields(cls)}
    return {key: expand(known[key], v) if key in known else v for key, v in value.items()}


def construct(cls: type, given: Any, where: str, problems: list[Problem]) -> Any:
    """An instance of a dataclass from plain values; None where anything is wrong, which is then added to `problems`."""
    if not isinstance(given, Mapping):
        problems.append((where, problem(where, f"found {shown(given)}", type_name(cls))))
        return None
    before, hints = len(problems), hints_of(cls)
    by_key = {key_of(f): f for f in fields(cls)}
    made: dict[str, Any] = {}
    for key, value in given.items():
        dotted = f"{where}.{key}" if where else str(key)
        if key not in by_key:
            problems.append((dotted, problem(dotted, "unknown key", fix=nearest(str(key), by_key))))
            continue
        field = by_key[key]
        made[field.name] = _construct(hints[field.name], value, dotted, problems, field.metadata.get("check"))
    for key, field in by_key.items():
        if key not in given and default_of(field) is ...:
            dotted = f"{where}.{key}" if where else key
            problems.append((dotted, problem(dotted, "missing", type_name(hints[field.name]))))
    return None if len(problems) > before else _instance(cls, made, where, problems)


def _construct(hint: Any, value: Any, key: str, problems: list[Problem], check: Any = None) -> Any:
    bare, given = _without_none(hint), value
    if value is None and bare is not hint:
        return None
    if is_nested(bare):
        noun = noun_of(bare)
        return _build_kind(noun, value, key, problems) if noun else construct(bare, value, key, problems)
    if isinstance(value, list) and typing.get_origin(bare) is list and is_nested(item_hint(bare)):
        value = [_construct(item_hint(bare), v, f"{key}.{i}", problems) for i, v in enumerate(value)]
    elif isinstance(value, dict) and typing.get_origin(bare) is dict:
        item = typing.get_args(bare)[1]
        value = {k: _construct(item, v, f"{key}.{k}", problems) for k, v in value.items()}
    elif not fits(value, hint):
        problems.append((key, problem(key, f"found {shown(value)}", type_name(hint))))
        return None
    else:
        value = _cast(value, bare)
    if check and (expected := check(value)):
        problems.append((key, problem(key, f"found {shown(given)}", expected)))
    return value


def _build_kind(noun: str, given: Any, where: str, problems: list[Problem]) -> Any:
    known = "one of " + ", ".join(names(noun))
    if not isinstance(given, Mapping):
        problems.append((where, problem(where, f"found {shown(given)}", f"a mapping with `kind`: {known}")))
        return None
    kind = given.get("kind")
    if not isinstance(kind, str):
        found = f"found {shown(kind)}" if "kind" in given else "missing"
        problems.append((f"{where}.kind", problem(f"{where}.kind", found, known)))
        return None
    try:
        cls = find(noun, kind)
    except RecipeError as error:
        lines = [line.replace(f"{noun}.kind:", f"{where}.kind:", 1) for line in error.problems]
        problems.extend((f"{where}.kind", line) for line in lines)
        return None
    return construct(cls, {key: value for key, value in given.items() if key != "kind"}, where, problems)


def _instance(cls: type, made: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    """A class may refuse a combination of its own options by raising from `__post_init__`."""
    try:
        return cls(**made)
    except InputError as error:  # a line may begin with a key of its own
        own = [line.startswith((f"{where}:", f"{where}.")) for line in error.problems]
        lines = [line if o else f"{where}: {line}" for line, o in zip(error.problems, own, strict=True)]
        problems.extend((line.partition(":")[0], line) for line in lines)
    except ValueError as error:
        problems.append((where, f"{where}: {error}"))
    return None


def check_options(cls: type, given: Mapping[str, Any], where: str) -> list[Problem]:
    """What is wrong with the options of a class: unknown, missing, of another type, out of range."""
    problems: list[Problem] = []
    construct(cls, given, where, problems)
    return problems


def fits(value: Any, hint: Any) -> bool:
    """Whether a YAML value fits a type hint: an int passes for a float, true never for an int, infinity never."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, a) for a in arguments)
    if origin is typing.Literal:
        return any(value == a and type(value) is type(a) for a in arguments)
    if origin is list:
        return isinstance(value, list) and all(fits(v, arguments[0]) for v in value)
    if origin is tuple:
        return isinstance(value, list | tuple) and _fits_tuple(value, arguments)
    if origin is dict:
        return isinstance(value, dict) and all(
            fits(k, arguments[0]) and fits(v, arguments[1]) for k, v in value.items()
        )
    if hint in (None, type(None)):
        return value is None
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, hint) if inspect.isclass(hint) else True


def _fits_tuple(value: Iterable[Any], arguments: tuple[Any, ...]) -> bool:
    items = list(value)
    expected = [arguments[0]] * len(items) if arguments[-1] is ... else list(arguments)
    return len(items) == len(expected) and all(fits(v, h) for v, h in zip(items, expected, strict=True))


def _cast(value: Any, hint: Any) -> Any:
    """A fitting value as the type that the hint names: 2 as 2.0 for a float, a list as a tuple."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is float:
        return float(value)
    if origin in (typing.Union, types.UnionType):
        return _cast(value, float) if float in arguments and not fits(value, int | str | bool | None) else value
    if origin is list:
        return [_cast(v, arguments[0]) for v in value]
    if origin is dict:
        return {_cast(k, arguments[0]): _cast(v, arguments[1]) for k, v in value.items()}
    if origin is tuple:
        hints = [arguments[0]] * len(value) if arguments[-1] is ... else arguments
        return tuple(_cast(v, h) for v, h in zip(value, hints, strict=True))
    return value


def shown(value: Any) -> str:
    """A value as YAML would write it, cut to one short line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def type_name(hint: Any) -> str:
    """A hint in the words of a recipe: `integer`, `one of a, b`, `list of text`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    simple = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}
    simple |= {dict: "mapping", list: "list", Any: "anything"}
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(a) for a in arguments)
    if origin is typing.Literal:
        return "one of " + ", ".join(str(a) for a in arguments)
    if origin is list:
        return f"list of {type_name(arguments[0])}"
    if origin is tuple:
        return f"list of {type_name(arguments[0])}" if arguments[-1] is ... else _tuple_name(arguments)
    if origin is dict:
        return f"mapping of {type_name(arguments[0])} to {type_name(arguments[1])}"
    if noun := noun_of(hint):
        return f"a mapping with `kind`: one of {', '.join(names(noun))}"
    if dataclasses.is_dataclass(hint):
        return "a mapping with " + ", ".join(key_of(f) for f in fields(typing.cast(type, hint)))
    return simple.get(hint, getattr(hint, "__name__", str(hint)))


def _tuple_name(arguments: tuple[Any, ...]) -> str:
    return "[" + ", ".join(type_name(a) for a in arguments) + "]"


def _users_own(noun: str, kind: str) -> type:
    """`module:Class`, importable from the current folder too. Importing runs the user's code, which may raise anything."""
    module, _, name = kind.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        found_text = f"cannot load {kind!r} ({type(error).__name__}: {error})"
        raise RecipeError(problem(f"{noun}.kind", found_text, "importable module:Class")) from error
    if not dataclasses.is_dataclass(found):
        expected = "a dataclass whose fields are its options"
        raise RecipeError(problem(f"{noun}.kind", f"{kind!r} is no dataclass", expected))
    if noun in METHODS and not hasattr(found, METHODS[noun]):
        raise RecipeError(problem(f"{noun}.kind", f"{kind!r} has no `{METHODS[noun]}`", f"the methods of a {noun}"))
    return typing.cast(type, found)
