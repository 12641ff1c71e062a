"""A YAML file as plain values, with the place where each stands, so that every mistake is told with its line.

YAML 1.2: `2e-4` is a number, `no` and a date are text. Keys are always text. The file is read as a tree of nodes, because a
node knows its line and shows a key that stands twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from io import StringIO
from typing import Any

from .errors import RecipeError, problem

PLAIN = re.compile(r"[\w/]([\w./:*-]*[\w/*])?")  # needs no quotes, unless it reads as a number or the like
MOST_VALUES = 100_000  # aliases can make a small file expand without end


@dataclass
class Written:
    """What was written, and where: `places` maps a dotted key to `recipe.yaml:12` or `argument 2`."""

    values: Any
    places: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    count: int = 0

    def where(self, key: str) -> str:
        """The place of a key, or of the nearest mapping around it; the file itself where nothing is known."""
        while key and key not in self.places:
            key = key.rpartition(".")[0]
        return self.places.get(key, "recipe")

    def put(self, key: str, value: Any, where: str) -> None:
        """Set a dotted key, as a command line does. A number is an index of a list; one past the end appends."""
        at, parts = self.values, key.split(".")
        for i, part in enumerate(parts):
            last = i + 1 == len(parts)
            name = self._slot(at, part, ".".join(parts[:i]), key, where)
            if name is None:
                return
            missing = name == len(at) if isinstance(at, list) else at.get(name) is None
            if isinstance(at, list) and missing:
                at.append(None)
            if last:
                at[name] = value
            elif missing:
                at[name] = [] if parts[i + 1].isdecimal() else {}
                self.places.setdefault(".".join(parts[: i + 1]), where)
            at = at[name]
        self.places = {k: w for k, w in self.places.items() if not k.startswith(key + ".")} | {key: where}

    def _slot(self, at: Any, part: str, parent: str, key: str, where: str) -> str | int | None:
        """The key or index that `part` means in `at`; None where there is none, which is then a problem."""
        if isinstance(at, dict):
            return part
        if not isinstance(at, list):
            self.problems.append(problem(f"{where}: {key}", f"{parent} holds {at!r}", "a mapping or a list"))
        elif not part.isdecimal() or int(part) > len(at):
            expected = f"an index from 0 to {len(at)}"
            self.problems.append(problem(f"{where}: {key}", f"{parent} is a list, found {part!r}", expected))
        else:
            return int(part)
        return None


def parse(text: str, name: str) -> Written:
    """The values of a YAML text. Raises RecipeError with the line of a syntax error; keys that stand twice, values that no
    recipe can hold are collected in `problems`."""
    node = _compose(text, name)
    written = Written({}, {"": name})
    if node is not None:
        written.values = _value(node, "", name, written, ())
    return written


def parse_value(text: str) -> Any:
    """The value of a `key=value` argument. What is no YAML, such as `> 0.9` or `*.jsonl`, is text."""
    try:
        node = _compose(text, "value")
        written = Written(None)
        value = text if node is None and text.strip() else _value(node, "", "value", written, ()) if node else None
    except RecipeError as error:
        if text.lstrip()[:1] in ("[", "{", '"', "'"):
            raise RecipeError([line.partition(": ")[2] for line in error.problems]) from error
        return text
    if written.problems:
        raise RecipeError([line.partition(": ")[2] for line in written.problems])
    return value


def dump(values: dict[str, Any]) -> str:
    """Plain values as YAML that `parse` reads back to the same; what is short stands on one line."""
    return _dumped(_laid_out(values))


def inline(value: Any) -> str:
    """A value as it stands after `key: `, on one line."""
    return _dumped(_flow([value])).strip()[1:-1]


def _dumped(value: Any) -> str:
    from ruamel.yaml import YAML

    yaml = YAML(pure=True)
    yaml.width = 1_000_000
    yaml.Representer = _representer()
    out = StringIO()
    yaml.dump(value, out)
    return out.getvalue()


@cache
def _representer() -> type:
    """ruamel's own, but nothing is written as `null`, and all text but plain words and paths in quotes."""
    from ruamel.yaml.representer import RoundTripRepresenter

    class Representer(RoundTripRepresenter):
        pass

    def text(to: Any, value: str) -> Any:
        return to.represent_scalar("tag:yaml.org,2002:str", value, style=None if PLAIN.fullmatch(value) else '"')

    Representer.add_representer(type(None), lambda to, _: to.represent_scalar("tag:yaml.org,2002:null", "null"))
    Representer.add_representer(str, text)
    return Representer


def _laid_out(value: Any) -> Any:
    """Mappings and lists of scalars in flow style, where that fits in a line; all others as blocks."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if not isinstance(value, dict | list):
        return value
    inner = list(value.values() if isinstance(value, dict) else value)
    if not any(isinstance(v, dict | list) and v for v in inner) and len(inline(value)) <= 100:
        return _flow(value)
    if isinstance(value, dict):
        return CommentedMap({key: _laid_out(v) for key, v in value.items()})
    return CommentedSeq([_laid_out(v) for v in value])


def _flow(value: Any) -> Any:
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if not isinstance(value, dict | list):
        return value
    if isinstance(value, dict):
        made: Any = CommentedMap({key: _flow(v) for key, v in value.items()})
    else:
        made = CommentedSeq([_flow(v) for v in value])
    made.fa.set_flow_style()
    return made


def _compose(text: str, name: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        found = f"not YAML ({error.problem})"
        raise RecipeError(problem(f"{name}:{line}", found, fix=_remedy(text, line))) from error
    except YAMLError as error:
        place = getattr(error, "position", 0)
        line = text.count("\n", 0, place) + 1
        found = f"not YAML (character {text[place : place + 1]!r} is not allowed)"
        raise RecipeError(problem(f"{name}:{line}", found)) from error


def _remedy(text: str, line: int) -> str:
    """The usual cause of a syntax error, from the line that it is told of."""
    lines = text.splitlines()
    row = lines[line - 1] if line <= len(lines) else ""
    if "\t" in row:
        return "indent with spaces, not with a tab"
    value = row.partition(": ")[2].strip()
    if value.startswith((">", "|", "*", "@", "%", "&", "`")):
        return f'put the value in quotes: "{value}"'
    if value.count(": ") or value.endswith(":"):
        return "put a value that contains a colon in quotes"
    return ""


def _value(node: Any, key: str, name: str, written: Written, parents: tuple[int, ...]) -> Any:
    """The plain value of a node; its places and problems go into `written`."""
    line = f"{name}:{node.start_mark.line + 1}"
    written.places.setdefault(key, line)
    written.count += 1
    if id(node) in parents or written.count > MOST_VALUES:
        raise RecipeError(problem(line, "an alias that contains itself, or too many values"))
    parents = (*parents, id(node))
    kind = type(node).__name__
    if kind == "MappingNode":
        return _mapping(node, key, name, written, parents)
    if kind == "SequenceNode":
        items = enumerate(node.value)
        return [_value(v, f"{key}.{i}" if key else str(i), name, written, parents) for i, v in items]
    return _scalar(node, line, key, written)


def _mapping(node: Any, key: str, name: str, written: Written, parents: tuple[int, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = f"{name}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node.value, str):
            written.problems.append(problem(line, "a list or mapping as a key", "text"))
            continue
        dotted = f"{key}.{key_node.value}" if key else key_node.value
        if key_node.value in values:
            first = written.places[dotted].rpartition(":")[2]
            written.problems.append(problem(f"{line}: {dotted}", f"stands twice, first in line {first}", "one of them"))
            continue
        written.places[dotted] = line
        values[key_node.value] = _value(value_node, dotted, name, written, parents)
    return values


def _scalar(node: Any, line: str, key: str, written: Written) -> Any:
    tag, text = str(node.tag).rpartition(":")[2], node.value
    try:
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        if tag == "int":
            digits = text.replace("_", "").lower()
            return int(digits, 0 if digits.lstrip("+-")[:2] in ("0x", "0o", "0b") else 10)
        if tag == "float":
            return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        written.problems.append(problem(f"{line}: {key}", f"cannot read the number {text[:20]!r}"))
        return None
    if tag not in ("str", "timestamp", "value", "merge"):
        written.problems.append(problem(f"{line}: {key}", f"tag {node.tag!r}", "a plain value"))
        return None
    return text
