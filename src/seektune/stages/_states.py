"""Dialogue states: what the user wants and has said so far, service by service; as objects, and as text that reads back.

The form of the files is that of the Schema-Guided Dialogue data (Rastogi et al. 2020, arXiv:1909.05855): turns with frames,
a frame for each service with the slots that the utterance names and, on the user's turns, the state so far.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

ROLES = {"user": "user", "customer": "user", "human": "user", "client": "user", "system": "assistant", "agent": "assistant",
         "assistant": "assistant", "bot": "assistant", "operator": "assistant"}  # fmt: skip
NONE = "none"  # the text of a state in which nothing has been said


class Malformed(Exception):
    """A dialogue that cannot be read; the text says what is wrong, the second argument where."""


@dataclass
class Dialogue:
    """`states`: one entry a turn, None on turns of the assistant."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    states: list[dict[str, Any] | None] = field(default_factory=list)
    values: int = 0  # slot values that came or changed, over all turns
    literal: int = 0  # of these, how many stand letter by letter in the turns so far
    unfit: int = 0  # spans of the file that point outside their utterance


def read(turns: Any) -> Dialogue:
    """Raises Malformed. States add up: a service that a turn does not name keeps what it had."""
    found, state = Dialogue(), dict[str, Any]()
    if not isinstance(turns, list) or not turns:
        raise Malformed("`turns` is no list of turns", repr(turns)[:60])
    for number, turn in enumerate(turns):
        role, words = _turn(number, turn)
        found.messages.append({"role": role, "content": words})
        frames = turn.get("frames") or []
        if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
            raise Malformed("`frames` of a turn is no list of objects", f"turn {number}")
        found.unfit += sum(not _fits(slot, words) for frame in frames for slot in frame.get("slots") or [])
        if role == "user":
            told = {str(f.get("service", "")): f["state"] for f in frames if isinstance(f.get("state"), dict)}
            state = state | {service: _state(one, state.get(service), number, found) for service, one in told.items()}
        found.states.append(state if role == "user" else None)
    return found


def _turn(number: int, turn: Any) -> tuple[str, str]:
    if not isinstance(turn, dict) or not isinstance(turn.get("utterance"), str):
        raise Malformed("a turn without `utterance`", f"turn {number}")
    speaker = str(turn.get("speaker", "")).lower()
    if speaker not in ROLES:
        raise Malformed(f"`speaker` is {turn.get('speaker')!r}", f"turn {number}")
    return ROLES[speaker], turn["utterance"]


def _fits(slot: Any, words: str) -> bool:
    """Whether a span of the file lies inside its utterance; slots without one (of categories) have none to check."""
    if not isinstance(slot, dict) or "start" not in slot:
        return True
    start, end = slot["start"], slot.get("exclusive_end")
    return isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(words)


def _state(told: dict[str, Any], before: dict[str, Any] | None, number: int, found: Dialogue) -> dict[str, Any]:
    """{"intent", "requested", "slots": {slot: {"values", "span"}}}; a value that stays keeps the span where it was first said."""
    values = told.get("slot_values") or {}
    if not isinstance(values, dict):
        raise Malformed("`slot_values` is no object", f"turn {number}")
    slots, old = {}, (before or {}).get("slots", {})
    for slot, given in values.items():
        texts = [str(value) for value in (given if isinstance(given, list) else [given])]
        if slot in old and old[slot]["values"] == texts:
            slots[slot] = old[slot]
            continue
        span = _said(texts, found.messages)
        slots[slot] = {"values": texts, "span": span}
        found.values += 1
        found.literal += span is not None
    return {"intent": told.get("active_intent"), "requested": list(told.get("requested_slots") or []), "slots": slots}


def _said(values: list[str], messages: list[dict[str, Any]]) -> list[int] | None:
    """[message, start, end) of the latest turn that holds one of the values as a word of its own, letter by letter."""
    for number in reversed(range(len(messages))):
        for value in values:
            # no letter or digit of the same script beside it: "2" is not said by "12", nor "Sino" by "Sinorama"
            guard = [
                r"(?<![0-9A-Za-z])" if value[:1].isascii() else "",
                r"(?![0-9A-Za-z])" if value[-1:].isascii() else "",
            ]
            if value and (match := re.search(f"{guard[0]}{re.escape(value)}{guard[1]}", messages[number]["content"])):
                return [number, match.start(), match.end()]
    return None


def value_of(slot: dict[str, Any], messages: list[dict[str, Any]]) -> str:
    """The way of saying a value that stands in the dialogue, else the first that the file gives."""
    if slot["span"] is not None:
        number, start, end = slot["span"]
        return str(messages[number]["content"][start:end])
    return slot["values"][0] if slot["values"] else ""


def text_of_state(state: dict[str, Any], messages: list[dict[str, Any]]) -> str:
    """`domain.slot = value; …`, in the order of names; signs of the form inside names and values follow a backslash."""
    parts = [
        f"{_escaped(service, '.')}.{_escaped(name, '.')} = {_escaped(value_of(slot, messages))}"
        for service, one in sorted(state.items())
        for name, slot in sorted(one["slots"].items())
    ]
    return "; ".join(parts) or NONE


def _escaped(text: str, more: str = "") -> str:
    return re.sub(rf"(^ |[\\;={more}])", r"\\\1", text)


_part = re.compile(r"(?:[^\\;]|\\.)+", re.S)
_slot = re.compile(r" ?(?P<domain>(?:[^\\.=;]|\\.)+)\.(?P<slot>(?:[^\\.=;]|\\.)+) = (?P<value>(?:[^\\=;]|\\.)*)", re.S)


def state_of_text(text: str) -> dict[str, dict[str, str]]:
    """{domain: {slot: value}} of such a text; parts of another form are left out, as a model may write any."""
    found: dict[str, dict[str, str]] = {}
    for match in filter(None, map(_slot.fullmatch, _part.findall(text))):
        domain, slot, value = (re.sub(r"\\(.)", r"\1", piece, flags=re.S) for piece in match.groups())
        found.setdefault(domain, {})[slot] = value
    return found
