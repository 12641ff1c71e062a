"""Entities of texts as spans, as tags of words (BIO, BMES) and as classes of the pieces of a tokenizer, and back.

A record that a tagger learns from is {"text", "spans": [[start, end, type], ...]}, ends exclusive, none over another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..contracts import Record
from .readers import Unfit
from .turns import named

Span = tuple[int, int, str]
IGNORED = -100  # class of pieces that are no text: nothing is learnt there


def spans_of_tags(words: Sequence[str], tags: Sequence[str]) -> tuple[str, list[Span]]:
    """(text, spans) of tagged words. Words of one character are joined as they are, others by spaces but between Chinese ones.

    B opens, I, M and E go on, S and U stand alone; an I or E without its B opens one too (as conlleval counts).
    """
    text, places = _joined(words)
    found: list[Span] = []
    inside = ""
    for (start, end), tag in zip(places, tags, strict=True):
        mark, _, kind = tag.partition("-")
        if mark in "IMEL" and kind and kind == inside:
            found[-1] = (found[-1][0], end, kind)
        elif kind:
            found.append((start, end, kind))
        inside = kind if kind and mark in "BIM" else ""
    return text, found


def _joined(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    spaced = any(len(word) > 1 for word in words)
    text, places = "", []
    for word in words:
        if text and spaced and not (_wide(text[-1]) or _wide(word[:1])):
            text += " "
        places.append((len(text), len(text) + len(word)))
        text += word
    return text, places


def _wide(c: str) -> bool:
    """Chinese characters and signs stand without spaces."""
    return "\u2e80" <= c <= "\u9fff" or "\uff00" <= c <= "\uffef" or c >= "\U00020000"


def spans_of(value: Any, text: str) -> list[Span]:
    """Spans as a file may hold them: [[start, end, type]], objects with these keys (of `text` alone), or CLUENER's
    {type: {name: [[start, last]]}}. Raises Unfit for what lies outside of the text or over another."""
    found = sorted(_nested(value) if isinstance(value, dict) else map(_one, _listed(value)))
    for i, (start, end, _) in enumerate(found):
        if not 0 <= start < end <= len(text):
            raise Unfit("`spans` has an entry outside of the text", "[start, end, type] inside", detail=str(found[i]))
        if i and start < found[i - 1][1]:
            raise Unfit("`spans` has entries over each other", "spans apart", detail=f"{found[i - 1]} {found[i]}"[:80])
    return found


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Unfit(f"`spans` is {named(value)}", "a list of [start, end, type]")
    return [one for one in value if not (isinstance(one, dict) and one.get("at", ["text"]) != ["text"])]


def _one(value: Any) -> Span:
    given = [value.get(key) for key in ("start", "end", "type")] if isinstance(value, dict) else value
    if not (
        isinstance(given, list | tuple)
        and len(given) == 3
        and all(type(n) is int for n in given[:2])
        and isinstance(given[2], str)
    ):
        raise Unfit("`spans` has an entry that is none", "[start, end, type]", detail=str(value)[:60])
    return (given[0], given[1], given[2])


def _nested(value: dict[str, Any]) -> list[Span]:
    try:
        return [(a, b + 1, kind) for kind, names in value.items() for places in names.values() for a, b in places]
    except (AttributeError, TypeError, ValueError):
        raise Unfit(
            "`spans` is no mapping of spans", "{type: {name: [[start, last]]}}", detail=str(value)[:60]
        ) from None


def classes(records: Iterable[Record]) -> list[str]:
    """O, then B and I of every type, types sorted."""
    kinds = sorted({kind for record in records for _, _, kind in record["spans"]})
    return ["O", *(f"{mark}-{kind}" for kind in kinds for mark in "BI")]


def pieces_of_spans(
    text: str, offsets: Sequence[tuple[int, int]], spans: Sequence[Any], known: dict[str, int]
) -> list[int]:
    """The class of each piece: B where an entity begins, I where it goes on, O outside; IGNORED for marks of the tokenizer.

    A piece belongs to the entity that it shares a character with, blanks in front of it aside. Of several pieces of one
    character the first is B.
    """
    made, at, begun = [], 0, False
    for a, b in offsets:
        a += len(text[a:b]) - len(text[a:b].lstrip())
        while at < len(spans) and spans[at][1] <= a and b > a:
            at, begun = at + 1, False
        if b <= a:
            made.append(IGNORED)
        elif at < len(spans) and spans[at][0] < b:
            made.append(known[f"{'I' if begun else 'B'}-{spans[at][2]}"])
            begun = True
        else:
            made.append(known["O"])
    return made


def spans_of_pieces(text: str, offsets: Sequence[tuple[int, int]], tags: Sequence[str]) -> list[Span]:
    """Entities that tagged pieces tell; an I of another type than what is open opens one."""
    found: list[Span] = []
    inside = ""
    for (a, b), tag in zip(offsets, tags, strict=True):
        a += len(text[a:b]) - len(text[a:b].lstrip())
        if b <= a:
            continue
        mark, _, kind = tag.partition("-")
        if kind and found and inside == kind and (mark == "I" or a < found[-1][1]):
            found[-1] = (found[-1][0], max(b, found[-1][1]), kind)
        elif kind:
            found.append((max(a, found[-1][1]) if found else a, b, kind))
        inside = kind
    return [one for one in found if one[0] < one[1]]
