"""Where verbs come from: the files of a package, found by name and imported only when asked for, and how they read words."""

from __future__ import annotations

import argparse
import ast
import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from .. import commands
from ..errors import RecipeError, nearest, problem

# along the life of a model; verbs that are not named here follow
ORDER = ("new", "data", "check", "train", "evaluate", "compare", "chat", "runs", "kinds")


def verbs(package: ModuleType = commands) -> dict[str, str]:
    """Verb -> its first line of help, read from the source without running it."""
    folder = Path(package.__path__[0])
    names = sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not m.name.startswith("_"))
    names.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    return {name: _first_line((folder / f"{name}.py").read_text(encoding="utf-8")) for name in names}


def parser_of(verb: str, module: ModuleType) -> Parser:
    parser = Parser(
        prog=f"seektune {verb}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.arguments(parser)
    return parser


def command(verb: str, package: ModuleType = commands) -> ModuleType:
    return importlib.import_module(f"{package.__name__}.{verb}")


class Parser(argparse.ArgumentParser):
    """Tells its errors as ours, with the nearest right name; takes no abbreviated options."""

    def __init__(self, **settings: Any):
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise RecipeError(problem(self.prog, message, fix=f"`{self.prog} --help` tells what it takes"))

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Options may stand before, between and after the other arguments; not where a verb has verbs of its own."""
        options, rest = (self.parse_known_args if self._subparsers else self.parse_known_intermixed_args)(argv)
        if rest:
            known = [name for name in self._option_string_actions if name.startswith("--")]
            raise RecipeError([problem(self.prog, f"unknown argument {r!r}", fix=_near(r, known)) for r in rest])
        return options


def _first_line(source: str) -> str:
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _near(word: str, known: list[str]) -> str:
    hint = nearest(word, known) if word.startswith("-") and known else ""
    return hint or "remove it"
