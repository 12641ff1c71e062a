"""Where the words of a record stand, whatever its shape: stages read and change them through this file.

Paths name a text inside a record: ("text",), ("messages", 1, "content"). `column` of a stage picks one field by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..contracts import Record

Path = tuple[str | int, ...]

CONVERSATIONS = ("messages", "chosen", "rejected", "prompt", "conversations")
PLAIN = ("text", "text_pair", "instruction", "input", "output", "question", "answer", "title", "sentence", "sentence1",
         "sentence2", "content", "response", "completion", "query")  # fmt: skip


def texts(record: Record, column: str | None = None) -> Iterator[tuple[Path, str]]:
    """(path, text) of each text that a model would read, in order; only of one field where `column` names it."""
    for key in [column] if column is not None else [*PLAIN, *CONVERSATIONS]:
        value = record.get(key)
        if isinstance(value, str):
            yield (key,), value
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                yield from _of_entry(key, i, inner)


def _of_entry(key: str, i: int, message: Any) -> Iterator[tuple[Path, str]]:
    """Of a text in a list, or of a turn."""
    if isinstance(message, str):
        yield (key, i), message
    for name in ("content", "value") if isinstance(message, dict) else ():
        if isinstance(message.get(name), str):
            yield (key, i, name), message[name]


def text_of(record: Record, column: str | None = None) -> str:
    """All texts of a record, a line break between."""
    return "\n".join(text for _, text in texts(record, column))


def mapped(record: Record, change: Callable[[str], str], column: str | None = None) -> Record:
    """The record with each text changed; the very same object where nothing changes."""
    made = {path: new for path, text in texts(record, column) if (new := change(text)) != text}
    return replaced(record, made) if made else record


def replaced(record: Record, made: dict[Path, str]) -> Record:
    """A copy with other texts at these paths; `record` stays as it is."""
    found: Any = dict(record)
    copied: set[Path] = set()
    for path, text in made.items():
        at = found
        for depth, step in enumerate(path[:-1], 1):
            if path[:depth] not in copied:
                at[step] = at[step].copy()
                copied.add(path[:depth])
            at = at[step]
        at[path[-1]] = text
    return dict(found)


def is_answer(record: Record, path: Path) -> bool:
    """Whether a text is what a model should learn to say (an assistant's turn, an output), not what it is asked."""
    if path[0] in ("output", "answer", "response", "completion", "chosen", "rejected"):
        return True
    if path[0] in ("messages", "conversations") and len(path) == 3:
        message = record[str(path[0])][path[1]]
        return message.get("role", message.get("from")) in ("assistant", "gpt")
    return False


def has_text(record: Record) -> bool:
    return any(text.strip() for _, text in texts(record))


def label_of(record: Record, column: str = "label") -> str | None:
    """The class of a record as text; None where it has none, or several."""
    value = record.get(column)
    return None if value is None or isinstance(value, list | dict) else str(value)
