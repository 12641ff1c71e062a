"""Write a commented recipe to begin with.

    seektune new                               recipe.yaml, which fine-tunes on conversations
    seektune new --story classify mine.yaml

Every option is in it: those of the story set, the others as comments that show their defaults.
"""

from __future__ import annotations

import argparse
import sys
import typing
from pathlib import Path
from typing import Any

from .. import kinds, recipe_yaml
from ..errors import RecipeError, problem

STORIES: dict[str, tuple[str, dict[str, Any]]] = {  # what it is about, and what it sets
    "sft": (
        "Teach a language model to answer as your examples do.",
        {
            "data": {"train": [{"path": "train.jsonl"}], "valid": {"fraction": 0.05}, "max_length": 1024},
            "tuner": {"kind": "lora", "rank": 8},
            "objective": {"kind": "sft"},
            "optimizer": {"kind": "adamw", "learning_rate": 2e-4},
            "train": {"epochs": 3.0, "batch_size": 32},
            "evaluate": [{"kind": "exact_match"}, {"kind": "perplexity"}],
        },
    ),
    "classify": (
        "Teach a model to put texts into classes.",
        {
            "data": {"train": [{"path": "train.jsonl"}], "valid": {"fraction": 0.1}, "max_length": 256},
            "tuner": {"kind": "full"},
            "objective": {"kind": "classify"},
            "optimizer": {"kind": "adamw", "learning_rate": 5e-5},
            "train": {"epochs": 3.0, "batch_size": 32},
            "evaluate": [{"kind": "accuracy"}, {"kind": "f1"}],
        },
    ),
    "pretrain": (
        "Let a language model read on in texts of your own field.",
        {
            "data": {"train": [{"path": "texts.jsonl"}], "valid": {"fraction": 0.01}, "max_length": 1024},
            "tuner": {"kind": "full"},
            "objective": {"kind": "sft"},
            "optimizer": {"kind": "adamw", "learning_rate": 1e-4, "weight_decay": 0.1},
            "train": {"epochs": 1.0, "batch_size": 64},
            "evaluate": [{"kind": "perplexity"}],
        },
    ),
}
HEAD = """\
# {about}
#
# What stands behind a '#' below shows a default: take the '#' away to change it.
#   seektune check {file}     what the data looks like, what would go wrong, how long it takes
#   seektune train {file}     run it; a setting can follow, as in train.epochs=1
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", default="recipe.yaml", help="where to write it; an existing file stays")
    parser.add_argument("--story", choices=list(STORIES), default="sft", help="what the recipe is for (default: sft)")


def run(options: argparse.Namespace) -> int:
    path = Path(options.file)
    text = write(options.story, str(path))
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise RecipeError(
            problem(str(path), "exists", "a free name", f"seektune new --story {options.story} FILE")
        ) from None
    except OSError as error:
        raise RecipeError(problem(str(path), f"cannot be written ({error.strerror})")) from None
    print(f"wrote {path}: name your records and your model in it, then `seektune check {path}`", file=sys.stderr)
    return 0


def write(story: str, file: str) -> str:
    """The text of a recipe for a story."""
    from ..recipe import VERSION, Recipe

    about, values = STORIES[story]
    lines = [f"version: {VERSION}", *_options(Recipe, {"model": {"path": "base:tiny"}} | values, "")]
    return HEAD.format(about=about, file=file) + "\n".join(lines) + "\n"


def _options(cls: type, values: dict[str, Any], indent: str) -> list[str]:
    """The lines of a section: what is set, and every other option with its default as a comment."""
    lines = []
    for field in kinds.fields(cls):
        key, hint = kinds.key_of(field), kinds.hints_of(cls)[field.name]
        remark = _remark(field.metadata.get("help", ""), hint)
        if not indent and (key in values or kinds.is_nested(kinds.inner(hint))):
            lines.append("")
        if key not in values:
            default = kinds.plain_value(kinds.default_of(field), hint)
            lines.append(f"{indent}# {key}: {recipe_yaml.inline(default)}{remark}")
        elif kinds.is_nested(kinds.inner(hint)):
            lines.append(f"{indent}{key}:{remark}")
            lines += _nested(kinds.inner(hint), values[key], indent + "  ")
        else:
            lines.append(f"{indent}{key}: {recipe_yaml.inline(values[key])}{remark}")
    return lines


def _nested(hint: Any, value: Any, indent: str) -> list[str]:
    if isinstance(value, list):
        return [line for item in value for line in _item(_nested(hint, item, indent + "  "), indent)]
    noun = kinds.noun_of(hint)
    if noun is None:
        return _options(hint, value, indent)
    rest = {key: v for key, v in value.items() if key != "kind"}
    known = f"  # {', '.join(kinds.names(noun))}"
    return [f"{indent}kind: {value['kind']}{known}", *_options(kinds.find(noun, value["kind"]), rest, indent)]


def _item(lines: list[str], indent: str) -> list[str]:
    """Lines of one item of a list; the first, which is always set, carries the dash."""
    return [f"{indent}- {lines[0].lstrip()}", *lines[1:]]


def _remark(help_text: str, hint: Any) -> str:
    """The end of a line: what the option means, and what it may be where that is a list of words."""
    known = [str(a) for a in typing.get_args(hint) if isinstance(a, str)]
    missing = ", ".join(known) if not all(word in help_text for word in known) else ""
    return "  # " + ": ".join(part for part in (help_text, missing) if part) if help_text else ""
