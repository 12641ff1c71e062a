"""The two texts of parallel records: columns such as `sw` and `en`, or, in a conversation, its last question and last answer."""

from __future__ import annotations

from typing import Any

from ..contracts import Record


def answer_of(record: Record, column: str | None) -> str | None:
    """The text of a column; where none is named, the last answer of a conversation, else `text`. None where there is none."""
    if column is not None:
        return _said(record.get(column))
    turns = _turns(record)
    return _said(turns[-1].get("content")) if turns else _said(record.get("text"))


def question_of(record: Record, column: str | None) -> str | None:
    """The text of a column; where none is named, what the last answer of a conversation was given to."""
    if column is not None:
        return _said(record.get(column))
    at = _asked_at(record)
    return None if at is None else _said(record["messages"][at].get("content"))


def with_question(record: Record, column: str | None, text: str, answer: str = "") -> Record:
    """A copy in which `question_of` is `text`; what is no conversation becomes one that ends with `answer`."""
    if column is not None:
        return {**record, column: text}
    at = _asked_at(record)
    asked = {"role": "user", "content": text}
    if at is not None:
        turns = list(record["messages"])
        turns[at] = {**turns[at], "content": text}
        return {**record, "messages": turns}
    if _turns(record):
        return {**record, "messages": [*record["messages"][:-1], asked, record["messages"][-1]]}
    rest = {key: value for key, value in record.items() if key not in ("text", "messages")}
    return {**rest, "messages": [asked, {"role": "assistant", "content": answer}]}


def _turns(record: Record) -> list[dict[str, Any]]:
    """The messages, where an answer stands last; else none."""
    turns = record.get("messages")
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        return []
    return turns if turns[-1].get("role") == "assistant" else []


def _asked_at(record: Record) -> int | None:
    turns = _turns(record)
    return len(turns) - 2 if len(turns) > 1 and turns[-2].get("role") == "user" else None


def _said(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
