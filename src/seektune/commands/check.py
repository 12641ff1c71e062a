"""Tell all that can be known before a run: the data, the tokens, what would go wrong, and the plan.

seektune check recipe.yaml
seektune check recipe.yaml data.max_length=512 --html check.html
"""

from __future__ import annotations

import argparse

from .. import console


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a YAML file; `seektune new` writes one")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that replace those of the recipe")
    parser.add_argument("--html", metavar="FILE", help="write what was found as a page, too")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    from .. import assembly, doctor, recipe

    if options.json:
        console.use_stderr()
    ready = assembly.prepare(recipe.load(options.recipe, options.settings))
    return doctor.show(doctor.check(ready), html=options.html, as_json=options.json)
