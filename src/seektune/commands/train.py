"""Run a recipe, or go on with a run that was stopped.

    seektune train recipe.yaml train.epochs=2 optimizer.learning_rate=1e-4
    seektune train --resume runs/headlines-3

Settings of the recipe follow as key=value; there are no other training options.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from ..errors import RecipeError, RefusedError, problem
from ..run import Run


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help="a YAML file; `seektune new` writes one")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that replace those of the recipe")
    parser.add_argument("--resume", metavar="RUN", help="go on with this run folder, exactly where it stopped")
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    work, run_folder = _resumed(options) if options.resume is not None else _new(options)
    try:
        work()
    except RefusedError:  # done, and the report says what was not met
        _print_report(options, run_folder)
        raise
    _print_report(options, run_folder)
    return 0


def _new(options: argparse.Namespace) -> tuple[Callable[[], Any], Run]:
    from .. import recipe

    if options.recipe is None:
        fix = "`seektune new` writes a recipe"
        raise RecipeError(problem("seektune train", "no recipe", "a recipe or --resume RUN", fix))
    loaded = recipe.load(options.recipe, options.settings)
    from .. import assembly  # only now: the recipe's mistakes are told at once

    return loaded.run, Run(assembly.RUNS / str(loaded.name))


def _resumed(options: argparse.Namespace) -> tuple[Callable[[], Any], Run]:
    from .. import recipe

    if options.recipe is not None:
        found = f"{options.recipe!r} beside --resume"
        fix = "a resumed run keeps its recipe; `model.continue=RUN` in a new recipe starts from its result"
        raise RecipeError(problem("seektune train", found, "--resume RUN alone", fix))
    begun = Run.open(options.resume)
    return lambda: recipe.resume(begun), begun


def _print_report(options: argparse.Namespace, run_folder: Run) -> None:
    if options.json:
        print(json.dumps(run_folder.read("report.json"), ensure_ascii=False))
