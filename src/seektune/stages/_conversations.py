"""The conversation in a record, whatever names its fields have: for scorers that ask a model."""

from __future__ import annotations

from typing import Any

from ..contracts import Record
from ..data.readers import Unfit
from ..data.shapes import Unclear, find
from ..errors import DataError
from ._work import bare


def conversation(record: Record) -> Record | None:
    """`messages` (and `tools`) or `text`; None where the record has neither, or what it has is unfit."""
    row = bare(record)
    try:
        read = find(list(row), {}, "auto", "lm").record(row)
    except (Unclear, Unfit, DataError):
        return None
    return {key: read[key] for key in ("messages", "tools", "text") if key in read} if "chosen" not in read else None


def last_answer(record: Record) -> tuple[list[Record], str] | None:
    """(what stands before the last answer, the answer); None where nothing is asked or answered."""
    read = conversation(record)
    messages: list[Record] = list((read or {}).get("messages", ()))
    ends = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if not ends or not ends[-1]:
        return None
    answer: Any = messages[ends[-1]].get("content")
    return (messages[: ends[-1]], answer) if isinstance(answer, str) and answer.strip() else None
