"""What is wrong with a recipe beyond its single options: paths with nothing behind them, and settings that do not go together.

Works on the plain values of a recipe, of which any may still be wrong in itself; that is told elsewhere.
"""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import kinds, require
from .errors import RecipeError, nearest, problem
from .kinds import Problem
from .passage import STAGE_PATHS
from .run import check_name


def resolve_paths(values: dict[str, Any], folders: list[Path]) -> list[Problem]:
    """Make the paths absolute, in place; what does not exist is a problem."""
    problems: list[Problem] = []
    data = values.get("data")
    if isinstance(data, dict):
        inputs = data.get("train")
        for i, entry in enumerate(inputs if isinstance(inputs, list) else []):
            problems += _resolve_key(entry, "path", f"data.train.{i}.path", folders)
            _resolve_stages(entry, folders)
        problems += _resolve_key(data.get("valid"), "path", "data.valid.path", folders)
        if data.get("template", "auto") != "auto":
            problems += _resolve_key(data, "template", "data.template", folders)
    model = values.get("model")
    if isinstance(model, dict):
        problems += _resolve_model(model, folders)
        if model.get("continue") is not None:
            problems += _resolve_key(model, "continue", "model.continue", [*folders, Path.cwd() / "runs"])
    return problems


def _resolve_key(section: Any, name: str, key: str, folders: list[Path]) -> list[Problem]:
    text = section.get(name) if isinstance(section, dict) else None
    if not isinstance(text, str):
        return []  # of another type, or left out: `construct` tells
    found = _existing(text, folders)
    if found is None:
        return [(key, problem(key, f"nothing at {text!r}", fix=_near_path(text, folders)))]
    section[name] = found
    return []


def _resolve_stages(entry: Any, folders: list[Path]) -> None:
    """Files that stages name; what is not there may be a hub id or an address, so the stage itself tells."""
    stages = entry.get("stages") if isinstance(entry, dict) else None
    for stage in stages if isinstance(stages, list) else []:
        for key in STAGE_PATHS if isinstance(stage, dict) else ():
            if isinstance(stage.get(key), str):
                stage[key] = _existing(stage[key], folders) or stage[key]
            elif isinstance(stage.get(key), list):
                stage[key] = [(isinstance(one, str) and _existing(one, folders)) or one for one in stage[key]]


def _resolve_model(model: dict[str, Any], folders: list[Path]) -> list[Problem]:
    """A folder where there is one; otherwise a hub id, unless it can only be a folder."""
    text = model.get("path")
    if not isinstance(text, str) or text.startswith("base:") or (not text and model.get("continue")):
        return []
    found = _existing(text, folders)
    if found is not None:
        model["path"] = found
        return []
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", text) and not text.startswith("."):
        return []
    return [
        (
            "model.path",
            problem("model.path", f"no folder {text!r}", "a folder, a hub id or base:tiny", _near_path(text, folders)),
        )
    ]


def _existing(text: str, folders: list[Path]) -> str | None:
    """The absolute path of a file or folder, or of a glob that matches something. Links are kept as they are."""
    if not text.strip():
        return None
    text = os.path.expanduser(text)
    for folder in folders:
        path, pattern = os.path.join(folder, text), os.path.join(glob.escape(str(folder)), text)
        if os.path.exists(path):
            return os.path.abspath(path)
        if glob.has_magic(text) and glob.glob(pattern, recursive=True):
            return os.path.abspath(pattern)
    return None


def _near_path(text: str, folders: list[Path]) -> str:
    path = Path(text).expanduser()
    if glob.has_magic(text):
        return "the pattern matches no file"
    beside = {p.name for folder in folders if (folder / path).parent.is_dir() for p in (folder / path).parent.iterdir()}
    if close := difflib.get_close_matches(path.name, sorted(beside), n=1, cutoff=0.75):
        return f"did you mean {close[0]!r}?"
    return "a relative path is looked for beside the recipe, then in the current folder"


# What does not go together


def get(values: Any, key: str, default: Any = None) -> Any:
    """The value of a dotted key, `default` where it is not there or null."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return default if values is None else values


def _classes(values: dict[str, Any], key: str) -> list[tuple[str, type | None]]:
    """(kind, class) of each entry of a list of kinds; no class where the kind is wrong, which is told elsewhere."""
    entries = values.get(key)
    kinds_given = [str(get(e, "kind", "")) for e in entries] if isinstance(entries, list) else []
    return [(kind, class_of(key, kind)) for kind in kinds_given]


def class_of(noun: str, kind: str) -> type | None:
    try:
        return kinds.find(noun, kind)
    except RecipeError:
        return None


def contradictions(values: dict[str, Any]) -> Iterator[Problem]:
    """Settings that are right alone and wrong together, among them those that would have no effect."""
    if get(values, "train.epochs") is not None and get(values, "train.steps") is not None:
        yield (
            "train.steps",
            problem("train.steps", "given beside train.epochs", "one of the two", "set the other to null"),
        )
    name = values.get("name")
    if isinstance(name, str):
        try:
            check_name(name)
        except RecipeError as error:
            yield from (("name", line) for line in error.problems)
    yield from _without_valid(values)
    yield from _with_classifier(values)
    yield from _without_frozen(values)
    yield from _twice(values, "observers")
    yield from _twice(values, "evaluate")
    yield from _wrong_requirements(values)
    yield from _streamed(values)
    yield from _mixed(values)
    yield from _each_epoch(values)


def weighed(values: dict[str, Any]) -> bool:
    """Whether an input has a weight."""
    return any(get(one, "weight") is not None for one in _inputs(values))


def _inputs(values: dict[str, Any]) -> list[Any]:
    inputs = get(values, "data.train")
    return inputs if isinstance(inputs, list) else []


def _mixed(values: dict[str, Any]) -> Iterator[Problem]:
    """Weights need a mixture, and a mixture several inputs."""
    source = str(get(values, "source.kind", ""))
    for i, one in enumerate(_inputs(values)):
        if get(one, "weight") is not None and source == "loader":
            key = f"data.train.{i}.weight"
            yield key, problem(key, "has no effect with source 'loader'", "source mixture", "leave `source` out")
    if source == "mixture" and len(_inputs(values)) == 1:
        fix = "give each origin an entry of its own under data.train, or leave `weight` and `source` out"
        yield "data.train", problem("data.train", "a mixture of one input", "several inputs", fix)


def _each_epoch(values: dict[str, Any]) -> Iterator[Problem]:
    """Stages that each epoch runs anew come last; copies made before the split would stand on both of its sides."""
    held_out = get(values, "data.valid.fraction") is not None and get(values, "data.valid.group") is None
    for i, one in enumerate(_inputs(values)):
        stages = get(one, "stages")
        anew = [get(stage, "per_epoch") is True for stage in stages] if isinstance(stages, list) else []
        for j, (stage, each) in enumerate(zip(stages or (), anew, strict=False)):
            key = f"data.train.{i}.stages.{j}"
            if each and not all(anew[j:]):
                what = "is run in each epoch, and the stages behind it only once, before"
                yield f"{key}.per_epoch", problem(f"{key}.per_epoch", what, "per_epoch stages last")
            copies = getattr(class_of("stage", str(get(stage, "kind", ""))), "copies_records", False)
            if copies and not each and held_out:
                what = "its copies of held-out records would stand among the training records"
                fix = "data.valid.path, data.valid.group or, where the stage has it, per_epoch: true"
                yield key, problem(key, what, "validation records of their own", fix)


def _streamed(values: dict[str, Any]) -> Iterator[Problem]:
    """What weights that stay in their files rule out."""
    if get(values, "train.stream") is not True:
        return
    tuner = str(get(values, "tuner.kind", ""))
    if tuner and tuner != "lora":
        what = f"the layers' weights stay in their files, and tuner {tuner!r} changes them"
        yield "train.stream", problem("train.stream", what, "tuner lora", "leave it out")
    if str(get(values, "model.base", "none")) != "none":
        what = "with train.stream weights stay as the files have them"
        yield "model.base", problem("model.base", what, "none")
    if get(values, "tuner.merged") is True:
        what = "with train.stream the whole model is never in memory, so nothing can be merged into it"
        yield "tuner.merged", problem("tuner.merged", what, "false")
    if get(values, "train.activation_offload") is True:
        what = "has no effect with train.stream, which keeps the layers' inputs in a way of its own"
        yield "train.activation_offload", problem("train.activation_offload", what, "false", "leave it out")
    if get(values, "train.activation_checkpointing", "auto") != "auto":
        what = "has no effect with train.stream, which always computes a layer again in backward"
        yield (
            "train.activation_checkpointing",
            problem("train.activation_checkpointing", what, "auto", "leave it out"),
        )


def _without_valid(values: dict[str, Any]) -> Iterator[Problem]:
    if get(values, "data.valid") is not None:
        return
    fix = "add `valid: {fraction: 0.05}` under data"
    if get(values, "train.validate_every") is not None:
        yield (
            "train.validate_every",
            problem("train.validate_every", "there is nothing to validate on", "data.valid", fix),
        )
    for i, (kind, cls) in enumerate(_classes(values, "observers")):
        if getattr(cls, "needs_validation", False):
            key = f"observers.{i}"
            yield key, problem(key, f"{kind} has nothing to watch", "data.valid", fix)
    if values.get("evaluate"):
        yield "evaluate", problem("evaluate", "there are no held-out records", "data.valid", fix)


def _with_classifier(values: dict[str, Any]) -> Iterator[Problem]:
    """A classifier reads texts: nothing renders a template, every text is read whole, and nothing is generated."""
    objective = str(get(values, "objective.kind", ""))
    head = getattr(class_of("objective", objective), "head", "lm")
    if head == "lm":
        return
    for key, default in (("data.template", "auto"), ("data.train_on", "all_answers")):
        if get(values, key, default) != default:
            yield key, problem(key, f"has no effect with objective {objective!r}", fix="leave it out")
    for i, (kind, cls) in enumerate(_classes(values, "evaluate")):
        heads = getattr(cls, "heads", ("lm", "classifier"))
        if head not in heads:
            key, needs = f"evaluate.{i}", "writes" if heads == ("lm",) else f"is a {heads[-1]}"
            yield (
                key,
                problem(key, f"{kind} needs a model that {needs}", f"a measure that objective {objective!r} can have"),
            )


def _without_frozen(values: dict[str, Any]) -> Iterator[Problem]:
    """Weights that are trained cannot be held in int8."""
    if str(get(values, "model.base", "none")) != "none" and get(values, "tuner.kind") == "full":
        key = "model.base"
        yield key, problem(key, "tuner full trains all weights, and only frozen ones are held in int8", "tuner lora")


def _twice(values: dict[str, Any], key: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for i, (kind, _) in enumerate(_classes(values, key)):
        if kind in seen:
            yield f"{key}.{i}", problem(f"{key}.{i}", f"{kind} stands twice", fix="remove one of them")
        seen.add(kind)


def _wrong_requirements(values: dict[str, Any]) -> Iterator[Problem]:
    requirements = values.get("require")
    if not isinstance(requirements, dict):
        return
    measured = _measured(values)
    for name, text in requirements.items():
        key = f"require.{name}"
        if measured is not None and name.partition("/")[0] not in measured:
            fix = nearest(name, measured) if measured else f"add `evaluate: [{{kind: {name}}}]`"
            yield key, problem(key, "is not measured", "a measure of `evaluate`", fix)
        if isinstance(text, str):
            try:
                require.parse(text)
            except RecipeError as error:
                yield key, key + ": " + error.problems[0].partition(": ")[2]


def _measured(values: dict[str, Any]) -> list[str] | None:
    """The names that the measures give; None where a measure of the user's own does not say (`names`, a class attribute)."""
    found: list[str] = []
    for kind, cls in _classes(values, "evaluate"):
        names = getattr(cls, "names", None)
        if names is None and ":" in kind:
            return None
        found += names or (kind,)
    return found
