"""A recipe: the tree of nouns that describes one run, from YAML and `a.b=c`, or written in Python.

    Recipe(model=Model("base:tiny"), data=Data([Input("train.jsonl")]), tuner=LoRA(rank=8), objective=SFT()).run()

`load` reports every mistake at once, each with its line. Relative paths are looked for beside the recipe first, then in
the current folder, and are absolute afterwards, so that the recipe in a run folder works from anywhere.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import kinds, recipe_checks, recipe_yaml, runtime
from .contracts import Measure, Objective, Observer, Optimizer, Probe, Schedule, Source, Tuner, at_least, option
from .data.options import Data
from .errors import RecipeError, nearest, problem
from .kinds import Problem
from .models.load import Model
from .recipe_yaml import Written
from .run import Run, next_name
from .train.options import Train

VERSION = 1  # of the format; `version: 1` at the top of a file, which may leave it out


@dataclass(kw_only=True)
class Recipe:
    """One run. Sections and kinds are dataclasses of their own; each field is a key of the file."""

    name: str | None = option(
        None,
        "of the run and its folder; the file's name where left out",
        probe=Probe("other", "report", scenario="run"),
    )
    seed: int = option(17, "of all that is random", probe=Probe(18), check=at_least(0))
    model: Model = field(metadata={"help": "what the run starts from"})
    data: Data = field(metadata={"help": "what it learns from, and what is held out"})
    source: Source = field(
        default_factory=lambda: kinds.build("source", {"kind": "loader"}), metadata={"help": "where batches come from"}
    )
    tuner: Tuner = field(metadata={"help": "what may change in the model"})
    objective: Objective = field(metadata={"help": "what for"})
    optimizer: Optimizer = field(
        default_factory=lambda: kinds.build("optimizer", {"kind": "adamw"}), metadata={"help": "how each step is taken"}
    )
    schedule: Schedule = field(
        default_factory=lambda: kinds.build("schedule", {"kind": "cosine"}),
        metadata={"help": "factor of the learning rate over the run"},
    )
    train: Train = field(default_factory=Train, metadata={"help": "how long, in what pieces, how often to save"})
    observers: list[Observer] = field(default_factory=list, metadata={"help": "what else happens while training"})
    evaluate: list[Measure] = option(
        help="measured on the held-out records, before and after",
        probe=Probe([{"kind": "perplexity"}], "report", scenario="run", given={"data.valid.fraction": 0.4}),
        factory=list,
    )
    require: dict[str, str] = option(
        help="conditions on what is measured, such as {exact_match: '> before + 0.05'}",
        probe=Probe(
            {"perplexity": "< 0"},
            "stop",
            scenario="run",
            given={"data.valid.fraction": 0.4, "evaluate": [{"kind": "perplexity"}]},
        ),
        factory=dict,
    )

    def to_yaml(self) -> str:
        """The recipe with every default written out; `load` reads it back to an equal one."""
        return recipe_yaml.dump({"version": VERSION} | kinds.plain(self))

    def checked(self) -> Recipe:
        """An equal recipe with absolute paths. Raises RecipeError with everything that is wrong, as `load` does for a file."""
        recipe, problems = _build(kinds.plain(self), [Path.cwd()])
        if problems or recipe is None:
            raise RecipeError([line for _, line in problems])
        return recipe

    def run(self) -> Run:
        """Train, evaluate and report; the run's folder holds all that came of it."""
        if "torch" not in sys.modules:  # whoever has loaded it has chosen: OpenMP's threads spin as they did
            runtime.set_libraries(os.environ)
        from . import assembly

        named = self if self.name else dataclasses.replace(self, name=next_name(assembly.RUNS, "run"))
        return assembly.run(named.checked())


def load(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file, changed by `a.b=c` arguments. Raises RecipeError with every mistake and its place."""
    path = Path(path)
    written = recipe_yaml.parse(_text(path), str(path))
    if not isinstance(written.values, dict):
        raise RecipeError(
            problem(f"{path}:1", "found " + kinds.shown(written.values), "keys such as model, data, tuner")
        )
    _check_version(written)
    for number, argument in enumerate(overrides, 2):  # argument 1 is the recipe
        _override(written, argument, f"argument {number}")
    values = written.values
    if values.get("name") is None:
        values["name"] = _name_of(path)
    recipe, problems = _build(values, [path.absolute().parent, Path.cwd()])
    found = written.problems + [_explained(written, key, line) for key, line in problems]
    if found or recipe is None:
        raise RecipeError(sorted(dict.fromkeys(found), key=_order))
    return recipe


def resume(run: Run) -> Run:
    """Go on with a run, by the recipe in its folder."""
    from . import assembly

    return assembly.run(load(run.path / "recipe.yaml"), run)


def _text(path: Path) -> str:
    where = str(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        fix = nearest(path.name, beside) if beside else "`seektune new` writes a recipe"
        raise RecipeError(problem(where, "no such file", "a recipe", fix)) from None
    except IsADirectoryError:
        is_run = (path / "recipe.yaml").is_file()
        fix = f"go on with the run by `--resume {path}`, or start again from {path / 'recipe.yaml'}" if is_run else ""
        raise RecipeError(problem(where, "is a folder", "a recipe", fix)) from None
    except OSError as error:
        raise RecipeError(problem(where, f"cannot be read ({error.strerror})", "a recipe")) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            problem(f"{where}:{line}", f"byte 0x{data[error.start]:02x} is not UTF-8", "UTF-8 text")
        ) from None


def _name_of(path: Path) -> str:
    """A name for the run from the file's name, as the disk may have it."""
    return re.sub(r"[^\w.-]+", "-", path.stem).strip("-._") or "run"


def _check_version(written: Written) -> None:
    """Another format would report a hundred wrong keys, so it is told alone."""
    found = written.values.pop("version", VERSION)
    if found == VERSION and type(found) is int:
        return
    newer = isinstance(found, int | float) and found > VERSION
    fix = (
        "update seektune"
        if newer
        else "write the recipe anew with `seektune new`, or leave `version` out where its keys are of today"
    )
    line = problem(
        f"{written.where('version')}: version", f"found {kinds.shown(found)}", f"recipe format {VERSION}", fix
    )
    raise RecipeError(line)


def _override(written: Written, argument: str, where: str) -> None:
    key, equals, text = argument.partition("=")
    if not equals or not re.fullmatch(r"[^\s.=]+(\.[^\s.=]+)*", key):
        written.problems.append(problem(where, f"found {argument!r}", "a setting such as train.epochs=3"))
        return
    try:
        value = recipe_yaml.parse_value(text)
    except RecipeError as error:
        written.problems.extend(f"{where}: {key}: {line}" for line in error.problems)
        return
    written.values = kinds.expand(Recipe, written.values)  # so that `model: base:tiny` takes `model.dtype=float32`
    written.put(key, value, where)


def _build(values: dict[str, Any], folders: list[Path]) -> tuple[Recipe | None, list[Problem]]:
    """The recipe, and everything that is wrong: of each option, of paths, and of what does not go together."""
    problems: list[Problem] = []
    values = kinds.expand(Recipe, values)
    if values.get("source") is None and recipe_checks.weighed(values):
        values["source"] = {"kind": "mixture"}
    problems += recipe_checks.resolve_paths(values, folders)
    recipe = kinds.construct(Recipe, values, "", problems)
    problems += recipe_checks.contradictions(values)
    return recipe, problems


def _explained(written: Written, key: str, line: str) -> str:
    """A problem with its place, and with the reason where the usual fix would mislead."""
    where = written.where(key)
    section, _, name = key.rpartition(".")
    if "unknown key" in line:
        chosen = written.places.get(f"{section}.kind", written.where(section))
        homes = [home for home in _homes(written.values, name) if home != section]
        if chosen.startswith("argument") and not where.startswith("argument"):
            kind = recipe_checks.get(written.values, f"{section}.kind")
            line = problem(
                key, "unknown key", fix=f"{chosen} chose another kind; {section}={kind} replaces the whole section"
            )
        elif homes:
            home = f"under `{homes[0]}:`" if homes[0] else "at the top"
            line = problem(key, "unknown key", fix=f"`{name}` belongs {home}")
    return f"{where}: {line}"


def _homes(values: dict[str, Any], name: str) -> list[str]:
    """The sections of this recipe that have an option of this name; "" is the top."""
    hints = kinds.hints_of(Recipe)
    homes = [""] if name in hints else []
    for key, hint in hints.items():
        cls = hint if dataclasses.is_dataclass(hint) else None
        if noun := kinds.noun_of(hint):
            cls = recipe_checks.class_of(noun, str(recipe_checks.get(values, f"{key}.kind", "")))
        if cls and name in [kinds.key_of(f) for f in kinds.fields(cls)]:  # type: ignore[arg-type]
            homes.append(key)
    return homes


def _order(line: str) -> tuple[bool, int]:
    """By line of the file; then the arguments in their order."""
    argument = re.match(r"argument (\d+)", line)
    number = argument or re.match(r"[^:]*:(\d+)", line)
    return bool(argument), int(number[1]) if number else 0
