"""The exceptions that a user may meet; each knows its exit code. Anything else that escapes is a bug of ours.

SeektuneError
├── InputError          exit 2   the user's input is wrong; nothing was started. Holds every problem found, one line each
│   ├── RecipeError              the recipe or the command line
│   ├── DataError                records, files, templates
│   └── ModelError               model folder, weights, tokenizer, adapter
├── RefusedError        exit 1   an artefact failed its proof, or a `require` was not met
├── StoppedError        exit 3   stopped and saved (Ctrl-C, SIGTERM); can be resumed
└── RunFailedError      exit 4   failed while running: disk full, out of memory, too many non-finite steps
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class SeektuneError(Exception):
    exit_code = 4


class InputError(SeektuneError):
    """Everything wrong at once: `problems` holds one line each."""

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class RecipeError(InputError):
    pass


class DataError(InputError):
    pass


class ModelError(InputError):
    pass


class RefusedError(SeektuneError):
    exit_code = 1


class StoppedError(SeektuneError):
    exit_code = 3


class RunFailedError(SeektuneError):
    exit_code = 4


def problem(where: str, found: str, expected: str = "", fix: str = "") -> str:
    """One line: `where: found; expected …; fix`."""
    parts = [f"{where}: {found}"]
    if expected:
        parts.append(f"expected {expected}")
    if fix:
        parts.append(fix)
    return "; ".join(parts)


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean …?`, or the list of what exists where nothing is near."""
    choices = sorted(known)
    close = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(choices)
