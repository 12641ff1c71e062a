"""What measures share: the question and the reference of a record, class names, and the class that a model names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...contracts import Engine, Record
from ...engine.pieces import final
from ...errors import DataError, nearest, problem

if TYPE_CHECKING:
    from ...contracts import Answer


def question(record: Record) -> Record | None:
    """The conversation before its last answer; None where there is none to give (a text, tool calls only)."""
    place = _last_answer(record)
    if place is None or not isinstance(record["messages"][place].get("content"), str):
        return None
    if not record["messages"][place]["content"].strip():
        return None
    return {"messages": record["messages"][:place]} | ({"tools": record["tools"]} if record.get("tools") else {})


def reference(record: Record) -> str:
    """The last answer; only for records that have a `question`."""
    place = _last_answer(record)
    assert place is not None
    return str(record["messages"][place]["content"])


def _last_answer(record: Record) -> int | None:
    messages = record.get("messages") or []
    return next((i for i in range(len(messages) - 1, 0, -1) if messages[i]["role"] == "assistant"), None)


def answers(engine: Engine, records: Sequence[Record], max_new_tokens: int, name: str) -> list[Answer | None]:
    """The model's greedy answer to each record's question, None where it has none. DataError where no record has one."""
    questions = [question(record) for record in records]
    asked = [q for q in questions if q is not None]
    if not asked:
        raise DataError(
            problem(
                name,
                f"none of {len(records)} records ends with an answer",
                "conversations, instructions or prompt and completion",
            )
        )
    given = iter(engine.generate(asked, max_new_tokens=max_new_tokens))
    return [None if q is None else next(given) for q in questions]


def class_names(label: Any, labels: Sequence[str]) -> list[str]:
    """The labels of a record as names of the model's classes; a number that is no name is taken as a class id."""
    given = [str(one) for one in (label if isinstance(label, list) else [label])]
    named = [
        one if one in labels or not (one.isdecimal() and int(one) < len(labels)) else labels[int(one)] for one in given
    ]
    if unknown := sorted({one for one in named if labels and one not in labels}):
        raise DataError(problem("label", f"{unknown[0]!r} is no class of the model", fix=nearest(unknown[0], labels)))
    return named


def predictions(
    engine: Engine, records: Sequence[Record], max_new_tokens: int, name: str
) -> list[list[list[str]] | None]:
    """[true classes, predicted classes] of each record. A classifier is asked for probabilities; of a language model's
    answer the class that it names first is taken, out of all that occur as references. None where a record asks nothing."""
    labels, several = list(getattr(engine, "labels", [])), bool(getattr(engine, "several", False))
    if labels:
        if missing := sum("label" not in record for record in records):
            raise DataError(problem(name, f"{missing} of {len(records)} records have no 'label'", "a label in each"))
        truths = [class_names(record["label"], labels) for record in records]
        rows = engine.classify(records)
        return [[truth, picked(row, labels, several)] for truth, row in zip(truths, rows, strict=True)]
    given = answers(engine, records, max_new_tokens, name)
    known = sorted({plain(reference(r)) for r, a in zip(records, given, strict=True) if a is not None})
    return [
        None if a is None else [[plain(reference(r))], first_named(a.text, known)]
        for r, a in zip(records, given, strict=True)
    ]


def picked(probabilities: Sequence[float], labels: Sequence[str], several: bool) -> list[str]:
    """The classes that a classifier gives: the likeliest, or each above one half where several may hold."""
    if several:
        return [label for label, p in zip(labels, probabilities, strict=True) if p > 0.5]
    return [labels[max(range(len(labels)), key=probabilities.__getitem__)]]


def first_named(answer: str, known: Sequence[str]) -> list[str]:
    """The class whose name stands first in an answer (the longest of those that begin there), as a list; [] for none."""
    text = plain(final(answer))
    found = [(match.start(), -len(name), name) for name in known if (match := _whole(name).search(text))]
    return [min(found)[2]] if found else []


def _whole(name: str) -> re.Pattern[str]:
    """`name` as a word of its own; Chinese has no spaces, so that only letters and digits of ours may not touch it."""
    before = r"(?<![a-z0-9_])" if re.match(r"[a-z0-9_]", name) else ""
    after = r"(?![a-z0-9_])" if re.search(r"[a-z0-9_]$", name) else ""
    return re.compile(before + re.escape(name) + after)


def plain(text: str) -> str:
    """Without case, width variants, outer spaces and a full stop at the end."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".。")
