"""Tell all that can be known before a run: the data, the tokens, what would go wrong, and the plan.

seektune check recipe.yaml
seektune check recipe.yaml data.max_length=512 --html check.html
seektune check recipe.yaml model.path=a-folder-with-a-config --device h100 --devices 8
"""

from __future__ import annotations

import argparse

from .. import console, devices
from ..errors import RecipeError, problem


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a YAML file; `seektune new` writes one")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that replace those of the recipe")
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="plan for another machine: " + ", ".join(devices.TABLE) + ", or its memory (16g)",
    )
    parser.add_argument(
        "--devices",
        metavar="N",
        type=int,
        default=1,
        help="plan for so many of them (arithmetic: training runs on one)",
    )
    parser.add_argument("--html", metavar="FILE", help="write what was found as a page, too")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    from .. import assembly, doctor, draft, recipe

    if options.json:
        console.use_stderr()
    machine = devices.find(options.device) if options.device else None
    _check_count(options.devices, machine)
    reading = draft.read(recipe.load(options.recipe, options.settings), machine=machine)
    if machine or not reading.is_quick:
        drafted = draft.closed(
            draft.draft(reading, machine=machine, count=options.devices), reading, machine is not None
        )
        if drafted.closed:
            return doctor.show(doctor.check(drafted), html=options.html, as_json=options.json)
    return doctor.show(doctor.check(assembly.opened(reading)), html=options.html, as_json=options.json)


def _check_count(count: int, machine: devices.Device | None) -> None:
    """`--devices` needs a device, and is at least 1."""
    if count < 1:
        raise RecipeError(problem("--devices", f"found {count}", "at least 1"))
    if count > 1 and machine is None:
        raise RecipeError(
            problem("--devices", f"{count} devices, and none is named", fix="add --device, such as --device h100")
        )
