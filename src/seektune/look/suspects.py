"""What makes a single record suspicious. Each check costs a microsecond or two, so that all records are looked at.

Bytes are counted by `translate`, signs are searched one by one: both are many times faster than a regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..contracts import Record
from ..stages._texts import is_answer, texts

NAMED = 20  # places of each kind of suspicion
SIGNS = bytes(c for c in range(33, 127) if not chr(c).isalnum())
CONTROL = bytes(c for c in range(32) if chr(c) not in "\t\n\r") + b"\x7f"
SPACE = b" \t\n\r"
MARKS = "ÃÂâãåäæçèéï锟烫"  # one of them stands in all mojibake
_tag = re.compile(
    r"</?(?:p|br|div|span|a|b|i|u|li|ul|ol|td|tr|table|img|font|h[1-6]|script|style)\b[^<>]{0,200}>|&(?:nbsp|amp|lt|gt|quot|#\d+);",
    re.I,
)
# UTF-8 bytes of letters, of quotes and of Chinese, each read as Windows-1252 or Latin-1
_mojibake = re.compile(r"[ÃÂ][\x80-\xbf€-™]|â€|[\xe0-\xef][\x80-\xbf]{2}|ï»¿|锟斤拷|烫烫烫")


@dataclass
class Suspects:
    """Kinds of suspicion with their counts and first places."""

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)  # the text of the first

    def add(self, what: str, place: str, text: str = "") -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
        named = self.places.setdefault(what, [])
        if len(named) < NAMED:
            named.append(place)
        if text:
            self.shown.setdefault(what, text[:200])

    def as_list(self) -> list[dict[str, object]]:
        order = sorted(self.counts, key=lambda what: -self.counts[what])
        return [{"what": what, "count": self.counts[what], "places": self.places[what], "text": self.shown.get(what, "")}
                for what in order]  # fmt: skip


def suspicions(record: Record, text: str) -> Iterator[str]:
    """What is odd about a record whose texts are `text`."""
    if not text.strip():
        yield "no text at all"
        return
    raw = text.encode("utf-8", "replace")
    if len(raw.translate(None, CONTROL)) != len(raw):
        yield "control characters"
    solid = raw.translate(None, SPACE)
    if len(solid) >= 10 and len(solid) - len(solid.translate(None, SIGNS)) > 0.5 * len(solid):
        yield "mostly symbols"
    if not text.isascii():
        if "\ufffd" in text:
            yield "replacement characters (�): bytes were lost before this file was written"
        if any(sign in text for sign in MARKS) and _mojibake.search(text):
            yield "mojibake: text that was decoded wrongly"
    if ("<" in text or "&" in text) and _tag.search(text):
        yield "HTML"
    if _echoes(record):
        yield "the answer repeats the question"


def _echoes(record: Record) -> bool:
    asked, answers = set[str](), list[str]()
    for path, text in texts(record):
        if is_answer(record, path):
            answers.append(text.strip())
        elif path[0] != "text":
            asked.add(text.strip())
    return any(answer and answer in asked for answer in answers)
