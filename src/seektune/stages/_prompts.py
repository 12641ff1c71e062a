"""Prompts in Jinja with the fields of a record: compiled once, in a sandbox, and strict about fields that are not there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2
import jinja2.sandbox

from ..contracts import Record
from ..errors import nearest
from ._work import bare


class Unfilled(Exception):
    """A template that a record cannot fill; the text says why."""


@cache
def compiled(source: str) -> jinja2.Template:
    """Raises jinja2.TemplateSyntaxError."""
    settings: dict[str, Any] = {"undefined": jinja2.StrictUndefined, "keep_trailing_newline": True}
    return jinja2.sandbox.ImmutableSandboxedEnvironment(**settings).from_string(source)


def wrong_syntax(source: Any) -> str | None:
    """What would be right, where a text is no template: the `check` of an option."""
    try:
        compiled(source or "")
    except jinja2.TemplateSyntaxError as error:
        return f"a Jinja template (line {error.lineno}: {error.message})"
    return None


def fields_of(record: Record) -> dict[str, Any]:
    """What a template can name: the columns that hold something, and all of them as `record["any name"]`."""
    held = {key: value for key, value in bare(record).items() if value is not None}
    return held | {"record": held}


def filled(source: str, fields: Mapping[str, Any]) -> str:
    """The text with these fields. Raises Unfilled that names a field that is not there and the nearest one that is."""
    try:
        return compiled(source).render(fields)
    except jinja2.UndefinedError as error:
        raise Unfilled(_missing(str(error.message), fields)) from None
    except jinja2.TemplateError as error:
        raise Unfilled(f"the template fails: {error.message}") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise Unfilled(f"the template fails: {error}") from None


def _missing(message: str, fields: Mapping[str, Any]) -> str:
    """Jinja says `'x' is undefined`, or `'dict object' has no attribute 'x'` where x is asked of something."""
    names = re.findall(r"'([^']*)'", message)
    if len(names) == 1:
        return f"no field {names[0]!r}; {nearest(names[0], set(fields) - {'record'})}"
    if len(names) == 2 and names[0] == "dict object" and isinstance(fields.get("record"), dict):
        return f"no field {names[1]!r}; {nearest(names[1], fields['record'])}"
    return f"the template fails: {message}"
