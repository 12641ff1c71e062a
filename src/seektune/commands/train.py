"""Run a recipe, or go on with a run that was stopped.

    seektune train recipe.yaml train.epochs=2 optimizer.learning_rate=1e-4
    seektune train --resume runs/headlines-3

Settings of the recipe follow as key=value; there are no other training options.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from ..errors import RecipeError, problem

if TYPE_CHECKING:
    from ..run import Run


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help="a YAML file; `seektune new` writes one")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that replace those of the recipe")
    parser.add_argument("--resume", metavar="RUN", help="go on with this run folder, exactly where it stopped")
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    if options.resume is not None:
        done = _resume(options)
    elif options.recipe is None:
        raise RecipeError(
            problem("seektune train", "no recipe", "a recipe or --resume RUN", "`seektune new` writes a recipe")
        )
    else:
        from .. import recipe

        done = recipe.load(options.recipe, options.settings).run()
    if options.json:
        print(json.dumps(done.read("report.json"), ensure_ascii=False))
    return 0


def _resume(options: argparse.Namespace) -> Run:
    if options.recipe is not None:
        found = f"{options.recipe!r} beside --resume"
        fix = "a resumed run keeps its recipe; `model.continue=RUN` in a new recipe starts from its result"
        raise RecipeError(problem("seektune train", found, "--resume RUN alone", fix))
    from .. import recipe
    from ..run import Run

    return recipe.resume(Run.open(options.resume))
