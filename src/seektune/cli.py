"""The command line: finds the verb by its file in `commands/`, runs it, and tells every error in one line.

Exit codes: 0 done · 1 done, but refused or a `require` not met · 2 the input is wrong · 3 stopped, can be resumed · 4 failed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import errno
import importlib
import os
import pkgutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from . import __version__, commands, runtime
from .errors import RecipeError, SeektuneError, nearest, problem

ORDER = [
    "new",
    "check",
    "train",
    "evaluate",
    "compare",
    "chat",
    "runs",
    "kinds",
]  # of the life of a model; others follow
USERS_ERRNOS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


class Parser(argparse.ArgumentParser):
    """Tells its errors as ours, with the nearest right name; takes no abbreviated options."""

    def __init__(self, **settings: Any):
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise RecipeError(problem(self.prog, message, fix=f"`{self.prog} --help` tells what it takes"))

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Options may stand before, between and after the other arguments."""
        options, rest = self.parse_known_intermixed_args(argv)
        if rest:
            known = [name for name in self._option_string_actions if name.startswith("--")]
            raise RecipeError([problem(self.prog, f"unknown argument {r!r}", fix=_near(r, known)) for r in rest])
        return options


def main(argv: Sequence[str] | None = None, package: ModuleType = commands) -> int:
    """Run one verb of a package; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    with _unicode_output():
        try:
            runtime.prepare(os.environ, words)
            return _run(words, package)
        except SystemExit as asked:  # argparse, after --help
            return asked.code if isinstance(asked.code, int) else 0
        except SeektuneError as error:
            _tell(error)
            return error.exit_code
        except KeyboardInterrupt:
            print("\nerror: stopped", file=sys.stderr)
            return 130
        except BrokenPipeError:  # `| head` has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except Exception as error:
            return _unexpected(error)


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


def _run(words: list[str], package: ModuleType) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help(verbs(package)))
        return 0
    if words[0] in ("--version", "-V"):
        print(f"seektune {__version__}")
        return 0
    verb, known = words[0], verbs(package)
    if verb not in known:
        what = "option" if verb.startswith("-") else "verb"
        fix = nearest(verb, known)
        raise RecipeError(problem("seektune", f"unknown {what} {verb!r}", fix=fix))
    module = command(verb, package)
    code = module.run(parser_of(verb, module).read(words[1:]))
    return int(code or 0)


def _help(known: dict[str, str]) -> str:
    width = max(len(verb) for verb in known) + 2
    lines = ["usage: seektune VERB ...", "", "One fine-tuned language model through its life.", ""]
    lines += [f"  {verb:<{width}}{line}" for verb, line in known.items()]
    return "\n".join(
        [*lines, "", "`seektune VERB --help` tells the options of a verb, `seektune --version` the version."]
    )


def _first_line(source: str) -> str:
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _near(word: str, known: list[str]) -> str:
    hint = nearest(word, known) if word.startswith("-") and known else ""
    return hint or "remove it"


def _tell(error: SeektuneError) -> None:
    lines = getattr(error, "problems", None) or [str(error)]
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    if os.environ.get("SEEKTUNE_DEBUG") == "1":
        traceback.print_exception(error)


def _unexpected(error: Exception) -> int:
    """A file that cannot be used is told as such; anything else is a bug of ours, whose traceback is kept."""
    if os.environ.get("SEEKTUNE_DEBUG") == "1":
        traceback.print_exception(error)
    if isinstance(error, OSError) and error.filename is not None and error.errno in (*USERS_ERRNOS, errno.ENOSPC):
        print(f"error: {problem(str(error.filename), error.strerror or str(error))}", file=sys.stderr)
        return 4 if error.errno == errno.ENOSPC else 2
    said = f"{type(error).__name__}: {error}".partition("\n")[0]
    print(f"error: this is a bug of seektune ({said}); {_kept_traceback(error)}", file=sys.stderr)
    return 4


def _kept_traceback(error: Exception) -> str:
    path = Path(tempfile.gettempdir()) / f"seektune-traceback-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    with contextlib.suppress(OSError):
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        return f"please report it with the full traceback, which is in {path}"
    return "run it again with SEEKTUNE_DEBUG=1 for the full traceback, and please report that"


@contextlib.contextmanager
def _unicode_output() -> Any:
    """A terminal that cannot write a character gets a replacement, not a crash."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    yield
