"""The command line: finds the verb by its file in `commands/`, runs it, and tells every error in one line.

Exit codes: 0 done · 1 done, but refused or a `require` not met · 2 the input is wrong · 3 stopped, can be resumed · 4 failed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from . import __version__, commands, runtime
from .commands._verbs import command, parser_of, verbs
from .errors import RecipeError, SeektuneError, nearest, problem

USERS_ERRNOS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


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
