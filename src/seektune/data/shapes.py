"""Rows to records: which shape a file has, told from its field names, and one function per shape that checks a row.

The functions return the record's own keys in a fixed order; columns beside them are kept by `Reading.record`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from ..contracts import Record
from ..errors import nearest
from .readers import Unfit
from .tags import spans_of, spans_of_tags
from .turns import check_answers, dialogue_of, messages_of, named, opened, tools_of, with_system

Wants = Literal["lm", "classifier", "tagger"]
OWN = ("text", "spans", "messages", "tools", "chosen", "rejected", "text_pair", "label")
"""The keys that make a record, in the order in which they are stored."""


class Unclear(Exception):
    """The shape of a file cannot be told; the text says why."""


@dataclass(frozen=True)
class Shape:
    """`needs` and `takes`: our field name -> the names that it may have in a file."""

    needs: dict[str, tuple[str, ...]]
    takes: dict[str, tuple[str, ...]]
    convert: Callable[[Reading, Record], Record]
    words: str  # how an error names it
    head: Wants = "lm"


@dataclass
class Reading:
    """How one file is read: its shape and the name of each of our fields there."""

    kind: str
    shape: Shape
    names: dict[str, str]  # ours -> the file's (after `columns`)
    columns: dict[str, str]  # ours -> the file's, as the recipe renames them
    left_out: list[str] = field(default_factory=list)  # columns whose names would make another shape of the record

    def record(self, row: Any) -> Record:
        """The record of a row, with the columns beside it. Raises Unfit."""
        if not isinstance(row, dict):
            raise Unfit(f"the row is {named(row)}", "an object with fields")
        if self.columns:
            row = renamed(row, self.columns)
        record = self.shape.convert(self, row)
        for key, value in row.items():
            if key not in self._used and key not in record and value is not None:
                record[key] = value
        return record

    def __post_init__(self) -> None:
        names = {
            name for group in (self.shape.needs, self.shape.takes) for ours in group for name in (self.names.get(ours),)
        }
        self._used = {name for name in names if name} | set(OWN[:-1])

    def text(self, row: Record, ours: str, *, empty: bool = False) -> str:
        """A required text; Unfit names the field, what was found and the nearest name in the row."""
        value = self.needed(row, ours)
        if not isinstance(value, str):
            raise Unfit(f"`{self.names[ours]}` is {named(value)}", "text")
        if not empty and not value.strip():
            raise Unfit(f"`{self.names[ours]}` is empty", "text")
        return value

    def needed(self, row: Record, ours: str) -> Any:
        name = self.names[ours]
        value = row.get(name)
        if value is None:
            raise Unfit(f"`{name}` is missing", self.shape.words, _rename(name, row))
        return value

    def optional(self, row: Record, ours: str) -> str:
        """An optional text, empty where it is absent."""
        value = row.get(self.names[ours]) if ours in self.names else None
        if value is not None and not isinstance(value, str):
            raise Unfit(f"`{self.names[ours]}` is {named(value)}", "text")
        return value or ""

    def value(self, row: Record, ours: str) -> Any:
        return row.get(self.names[ours]) if ours in self.names else None


def _rename(name: str, row: Record) -> str:
    close = difflib.get_close_matches(name, list(row), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else "found " + ", ".join(row)


def renamed(row: Record, columns: dict[str, str]) -> Record:
    taken = set(columns.values())
    made = {key: value for key, value in row.items() if key not in taken}
    return made | {ours: row[theirs] for ours, theirs in columns.items() if theirs in row}


# One function per shape


def _text(reading: Reading, row: Record) -> Record:
    text = reading.text(row, "text")
    spans = reading.value(row, "spans")
    return {"text": text} if spans is None else {"text": text, "spans": _spans(spans, len(text))}


def _spans(value: Any, length: int) -> list[list[float]]:
    spans = opened(value, "spans")
    for span in spans if isinstance(spans, list) else [spans]:
        numbers = isinstance(span, list) and len(span) == 3 and all(isinstance(n, int | float) for n in span)
        if not numbers or not 0 <= span[0] <= span[1] <= length or span[2] < 0:
            raise Unfit(
                "`spans` has an entry that is none", "[start, end, weight] inside the text", detail=str(span)[:60]
            )
    return spans if isinstance(spans, list) else [spans]


def _instruction(reading: Reading, row: Record) -> Record:
    return {"messages": [*_prompt(reading, row), {"role": "assistant", "content": reading.text(row, "output")}]}


def _prompt(reading: Reading, row: Record) -> list[Record]:
    """System, history and the user's turn of an instruction record: instruction, line break, input."""
    instruction, given = reading.text(row, "instruction", empty=True), reading.optional(row, "input")
    user = f"{instruction}\n{given}" if instruction and given else instruction or given
    if not user.strip():
        raise Unfit(f"`{reading.names['instruction']}` is empty", "text")
    return [*_before(reading, row), {"role": "user", "content": user}]


def _before(reading: Reading, row: Record) -> list[Record]:
    system, history = reading.optional(row, "system"), reading.value(row, "history")
    messages = [{"role": "system", "content": system}] if system else []
    for pair in opened(history, "history") if history else ():
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise Unfit("`history` has an entry that is no pair", "[question, answer]", detail=str(pair)[:60])
        messages.append({"role": "user", "content": pair[0]})
        messages.append({"role": "assistant", "content": pair[1]})
    return messages


def _completion(reading: Reading, row: Record) -> Record:
    prompt, answer = reading.needed(row, "prompt"), reading.needed(row, "completion")
    if isinstance(prompt, list):
        before = _before(reading, row) + messages_of(prompt, reading.names["prompt"])
    else:
        before = [*_before(reading, row), {"role": "user", "content": reading.text(row, "prompt")}]
    if isinstance(answer, list):
        after = check_answers(messages_of(answer, reading.names["completion"]), reading.names["completion"])
    else:
        after = [{"role": "assistant", "content": reading.text(row, "completion")}]
    return _with_tools(reading, row, before + after)


def _conversation(reading: Reading, row: Record) -> Record:
    name = reading.names["messages"]
    messages = with_system(messages_of(reading.needed(row, "messages"), name), reading.value(row, "system"))
    return _with_tools(reading, row, check_answers(messages, name))


def _with_tools(reading: Reading, row: Record, messages: list[Record]) -> Record:
    tools = tools_of(reading.value(row, "tools"))
    return {"messages": messages, "tools": tools} if tools else {"messages": messages}


def _label(reading: Reading, row: Record) -> Record:
    record = {"text": reading.text(row, "text")}
    if "text_pair" in reading.names:
        record["text_pair"] = reading.text(row, "text_pair")
    record["label"] = label_of(reading.needed(row, "label"), reading.names["label"])  # type: ignore[assignment]
    return record


def label_of(value: Any, name: str = "label") -> str | list[str]:
    """A label as text, or several as a list of texts (no class holds: an empty list). 1, 1.0 and "1" are one label."""
    if isinstance(value, list):
        labels = [label_of(one, name) for one in value]
        if any(isinstance(one, list) for one in labels):
            raise Unfit(f"`{name}` holds lists in a list", "a label, or a list of labels")
        return labels  # type: ignore[return-value]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    if not isinstance(value, str):
        found = f"{value}" if isinstance(value, float) else named(value)
        raise Unfit(f"`{name}` is {found}", "a label as text or whole number, or a list of them")
    if not value.strip():
        raise Unfit(f"`{name}` is empty", "a label")
    return value.strip()


def _pair(reading: Reading, row: Record) -> Record:
    chosen = _answer(reading.needed(row, "chosen"), reading.names["chosen"])
    rejected = _answer(reading.needed(row, "rejected"), reading.names["rejected"])
    if chosen == rejected:
        raise Unfit("`chosen` and `rejected` are equal", "two different answers")
    before = _pair_prompt(reading, row)
    if chosen[0]["role"] != "assistant":  # both repeat the conversation so far
        shared = next(
            (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b),
            min(len(chosen), len(rejected)),
        )
        before, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    before = with_system(before, reading.value(row, "system"))
    if not any(message["role"] == "user" for message in before):
        raise Unfit("no prompt", "`prompt`, or answers that begin with the same conversation")
    check_answers(chosen, "chosen")
    check_answers(rejected, "rejected")
    return _with_tools(reading, row, before) | {"chosen": chosen, "rejected": rejected}


def _answer(value: Any, name: str) -> list[Record]:
    if isinstance(value, str):
        if not value.strip():
            raise Unfit(f"`{name}` is empty", "text")
        return dialogue_of(value) or [{"role": "assistant", "content": value}]
    return messages_of([value] if isinstance(value, dict) else value, name)


def _pair_prompt(reading: Reading, row: Record) -> list[Record]:
    if "instruction" in reading.names:
        return _prompt(reading, row)
    prompt = reading.value(row, "prompt")
    if prompt is None:
        return []
    if isinstance(prompt, str) and prompt.strip():
        return dialogue_of(prompt) or [{"role": "user", "content": prompt}]
    return messages_of([prompt] if isinstance(prompt, dict) else prompt, reading.names["prompt"])


def _marked(reading: Reading, row: Record) -> Record:
    text = reading.text(row, "text")
    return {"text": text, "spans": [list(span) for span in spans_of(reading.needed(row, "spans"), text)]}


def _tagged(reading: Reading, row: Record) -> Record:
    words, tags = reading.needed(row, "tokens"), reading.needed(row, "tags")
    both = isinstance(words, list) and isinstance(tags, list) and len(words) == len(tags)
    if not both or not words or not all(isinstance(one, str) for one in [*words, *tags]):
        raise Unfit(
            "`tokens` and `tags` do not go together", "two lists of texts, equally long", detail=f"{words} {tags}"[:80]
        )
    text, spans = spans_of_tags(words, tags)
    return {"text": text, "spans": [list(span) for span in spans]}


SHAPES = {
    "pair": Shape(
        {"chosen": ("chosen",), "rejected": ("rejected",)},
        {
            "prompt": ("prompt", "conversations", "messages", "question"),
            "instruction": ("instruction",),
            "input": ("input",),
            "history": ("history",),
            "system": ("system",),
            "tools": ("tools",),
        },
        _pair,
        "chosen and rejected (and prompt)",
    ),
    "messages": Shape(
        {"messages": ("messages",)},
        {"tools": ("tools",), "system": ("system",)},
        _conversation,
        "messages: [{role, content}]",
    ),
    "conversations": Shape(
        {"messages": ("conversations", "conversation")},
        {"tools": ("tools",), "system": ("system",)},
        _conversation,
        "conversations: [{from, value}]",
    ),
    "instruction": Shape(
        {"instruction": ("instruction",), "output": ("output", "response")},
        {"input": ("input",), "history": ("history",), "system": ("system",)},
        _instruction,
        "instruction and output (and input, history, system)",
    ),
    "completion": Shape(
        {"prompt": ("prompt", "query", "question"), "completion": ("completion", "response", "answer")},
        {"history": ("history",), "system": ("system",), "tools": ("tools",)},
        _completion,
        "prompt and completion (or query and response, question and answer)",
    ),
    "text": Shape({"text": ("text",)}, {"spans": ("spans",)}, _text, "text"),
    "label": Shape(
        {"text": ("text", "sentence", "sentence1"), "label": ("label", "labels")},
        {"text_pair": ("text_pair", "sentence2")},
        _label,
        "text and label (and text_pair)",
        "classifier",
    ),
    "spans": Shape({"text": ("text",), "spans": ("spans", "marks")}, {}, _marked, "text and spans", "tagger"),
    "tags": Shape(
        {"tokens": ("tokens", "words"), "tags": ("tags", "ner_tags")}, {}, _tagged, "tokens and tags", "tagger"
    ),
}
APART = {
    "completion": {"instruction"},
    "instruction": {"question", "query"},
}  # fields that would be left unread in silence


def find(fields: Iterable[str], columns: dict[str, str], kind: str, wants: Wants) -> Reading:
    """How a file with these fields is read. Raises Unclear with the reason."""
    have = list(fields)
    if missing := [theirs for theirs in columns.values() if theirs not in have]:
        raise Unclear(f"`columns` names {missing[0]!r}, which no row has ({nearest(missing[0], have)})")
    have = list(renamed(dict.fromkeys(have, 0), columns))
    kinds = [name for name, shape in SHAPES.items() if shape.head == wants] if kind == "auto" else [kind]
    for name in kinds:
        shape = SHAPES[name]
        names = {ours: found for ours, known in shape.needs.items() if (found := [n for n in known if n in have])}
        if len(names) < len(shape.needs) or (kind == "auto" and APART.get(name, set()) & _unread(name, have)):
            continue
        for ours, found in names.items():
            if len(found) > 1 and ours not in columns:
                raise Unclear(
                    f"both {found[0]!r} and {found[1]!r} could be `{ours}`; choose with columns: {{{ours}: ...}}"
                )
        chosen = {ours: ours if ours in columns else found[0] for ours, found in names.items()}
        chosen |= {
            ours: next(n for n in known if n in have) for ours, known in shape.takes.items() if set(known) & set(have)
        }
        reading = Reading(name, shape, chosen, columns)
        reading.left_out = [key for key in have if key in OWN[:-1] and key not in chosen.values()]
        return reading
    words = "; ".join(SHAPES[name].words for name in kinds)
    raise Unclear(
        f"its fields are {', '.join(have) or 'none'}, which fit no shape; expected {words}; rename with columns"
    )


def _unread(kind: str, have: list[str]) -> set[str]:
    return set() if kind == "instruction" and "input" in have else set(have)
