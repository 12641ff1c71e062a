"""Mentions in a text -> ids of a table: tickers, exact names, aliases, and names that are written nearly right."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ._gazetteer import Gazetteer, Token, folded, key_of, rows_of, several, tokens
from ._need import need
from ._words import is_han

SHORTEST = 6  # characters of a name that may be written nearly right
SHARED = 0.4  # of the pieces of a name that a text has to hold before it is compared
_exchange = r"(?:NYSE|NASDAQ|Nasdaq|AMEX|LSE|HKEX|SEHK|TSX|SSE|SZSE)"
_marked = re.compile(
    rf"(?:\$|{_exchange}\s?[:：]\s?)(?P<a>[A-Z][A-Z.]{{0,5}}|\d{{4,6}})\b"
    r"|[(（](?:行情|股票代码[:：]?|代码[:：]?)?\s?(?P<b>[A-Z][A-Z.]{0,5}|\d{4,6})(?:\.[A-Z]{1,2})?\s?(?=[,，;；)）])"
    rf"|[(（]{_exchange}\s?[:：]\s?(?P<c>[A-Z][A-Z.]{{0,5}}|\d{{4,6}})\s?[)）]"
    r"|(?<![A-Za-z0-9])(?:(?:SH|SZ|sh|sz|HK)(?P<d>\d{5,6})|(?P<e>\d{5,6})\.(?:SH|SZ|SS|HK))(?![A-Za-z0-9])"
)
_free = re.compile(r"(?<![A-Za-z0-9.,])(?:[A-Z]{2,6}(?:\.[A-Z])?|\d{5,6})(?![A-Za-z0-9%]|[.,]\d|[万亿元股份吨])")


@dataclass(frozen=True)
class Mention:
    """`ids`: one, or several where the name means more than one thing. `score`: 100 but for names that are nearly right."""

    start: int
    end: int
    text: str
    ids: tuple[str, ...]
    how: str  # ticker | name | alias | fuzzy
    score: float = 100.0

    def as_dict(self) -> dict[str, Any]:
        one = self.ids[0] if len(self.ids) == 1 else None
        more = {} if one is not None else {"candidates": list(self.ids)}
        return {
            "start": self.start,
            "end": self.end,
            "text": self.text,
            "id": one,
            "how": self.how,
            "score": round(self.score, 1),
        } | more


@dataclass
class Table:
    """Ids with their names. A key that means two ids is a conflict: it is told, and not guessed."""

    gazetteer: Gazetteer = field(default_factory=Gazetteer)
    tickers: dict[str, str] = field(default_factory=dict)
    first: set[tuple[str, ...]] = field(default_factory=set)  # keys of names; the others are aliases
    written: dict[tuple[str, ...], str] = field(default_factory=dict)
    pieces: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    long: list[tuple[str, tuple[str, ...], int]] = field(
        default_factory=list
    )  # (text, key, pieces) of names that may be misspelt
    ids: int = 0

    def conflicts(self) -> dict[str, list[str]]:
        return {self.written[key]: sorted(ids) for key, ids in self.gazetteer.names.items() if len(ids) > 1}

    def mentions(self, text: str, threshold: float, free: bool) -> list[Mention]:
        """All of a text, in order, none over another."""
        found = list(self._tickers(text, free))
        taken = [(m.start, m.end) for m in found]
        parts = tokens(text)
        for start, end, key in self.gazetteer.find(text, parts):
            if not _over(start, end, taken):
                how = "name" if key in self.first else "alias"
                found.append(Mention(start, end, text[start:end], tuple(sorted(self.gazetteer.names[key])), how))
                taken.append((start, end))
        if threshold < 100:
            found += self._nearly(text, parts, threshold, taken)
        return sorted(found, key=lambda m: m.start)

    def _tickers(self, text: str, free: bool) -> Iterator[Mention]:
        taken = list[tuple[int, int]]()
        for pattern in (_marked, _free) if free else (_marked,):
            for match in pattern.finditer(text):
                group = match.lastgroup or 0
                ticker, (start, end) = match[group], match.span(group)
                if ticker in self.tickers and not _over(start, end, taken):
                    taken.append((start, end))
                    yield Mention(start, end, ticker, (self.tickers[ticker],), "ticker")

    def _nearly(
        self, text: str, parts: list[Token], threshold: float, taken: list[tuple[int, int]]
    ) -> Iterator[Mention]:
        """The likeliest name at each place; where two ids are equally near, both."""
        fuzz = need("rapidfuzz.fuzz", "align_entities")
        made = folded(text)
        close = []
        for name, key in self._candidates(made):
            at = fuzz.partial_ratio_alignment(name, made, score_cutoff=threshold)
            if at is None or at.score < threshold:
                continue
            start, end = _snapped(at.dest_start, at.dest_end, parts)
            score = fuzz.ratio(name, " ".join(_words(parts, start, end)) if not is_han(name) else made[start:end])
            if end > start and score >= threshold:
                close.append((score, start, end, key))
        for score, start, end, _ in sorted(close, key=lambda c: (-c[0], c[1], c[3])):
            if not _over(start, end, taken):
                level = [key for s, a, b, key in close if s == score and a < end and start < b]
                ids = sorted({one for key in level for one in self.gazetteer.names[key]})
                taken.append((start, end))
                yield Mention(start, end, text[start:end], tuple(ids), "fuzzy", score)

    def _candidates(self, text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        counted = Counter(number for piece in _pieces(text) for number in self.pieces.get(piece, ()))
        for number, count in counted.items():
            name, key, size = self.long[number]
            if count >= SHARED * size:
                yield name, key


def _pieces(text: str) -> set[str]:
    """Pairs of Chinese characters, threes of letters."""
    pairs = {text[i : i + 2] for i in range(len(text) - 1) if is_han(text[i : i + 2])}
    return pairs | {text[i : i + 3] for i in range(len(text) - 2) if text[i : i + 3].isalpha() and not is_han(text[i])}


def _words(parts: list[Token], start: int, end: int) -> list[str]:
    return [t.text for t in parts if t.start < end and start < t.end]


def _snapped(start: int, end: int, parts: list[Token]) -> tuple[int, int]:
    """To the borders of the tokens that lie at least half inside."""
    inside = [t for t in parts if 2 * (min(end, t.end) - max(start, t.start)) >= t.end - t.start]
    return (inside[0].start, inside[-1].end) if inside else (0, 0)


def _over(start: int, end: int, taken: list[tuple[int, int]]) -> bool:
    return any(start < b and a < end for a, b in taken)


def read_table(path: str, id: str, name: str, aliases: str) -> Table:
    """The table of a file, read once as long as it does not change."""
    try:
        changed = os.stat(os.path.expanduser(path)).st_mtime_ns
    except OSError:
        changed = 0  # read, which says what is wrong
    return _read(path, id, name, aliases, changed)


@lru_cache(maxsize=4)
def _read(path: str, id: str, name: str, aliases: str, changed: int) -> Table:
    made = Table()
    known = set[str]()
    for row in rows_of(path, [id, name], [aliases]):
        one = str(row[id]).strip()
        known.add(one)
        if one.isascii() and re.fullmatch(r"[A-Z][A-Z.]{0,5}|\d{4,6}", one):
            made.tickers[one] = one
        for i, written in enumerate([str(row[name]), *several(row[aliases])]):
            key = key_of(written)
            made.gazetteer.add(written, one)
            made.written.setdefault(key, written)
            if not i:
                made.first.add(key)
            if re.fullmatch(r"[A-Z][A-Z.]{0,5}|\d{4,6}", written):
                made.tickers.setdefault(written, one)
    made.ids = len(known)
    made.gazetteer.finish()
    for key in made.gazetteer.names:
        _misspelt(made, key)
    return made


def _misspelt(made: Table, key: tuple[str, ...]) -> None:
    text = "".join(key) if is_han("".join(key)) else " ".join(key)
    pieces = _pieces(text)
    if len(text) >= SHORTEST and pieces:
        for piece in pieces:
            made.pieces[piece].append(len(made.long))
        made.long.append((text, key, len(pieces)))
