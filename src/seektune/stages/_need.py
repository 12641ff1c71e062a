"""Libraries that only data work needs (`pip install seektune[data]`): imported when used, with a word where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import InputError, problem


def need(module: str, what: str) -> Any:
    """The module; `what` names the stage or verb that asks. Raises InputError that says how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        missing = f"needs {module.partition('.')[0]}, which is not installed"
        raise InputError(problem(what, missing, fix="pip install 'seektune[data]'")) from None
