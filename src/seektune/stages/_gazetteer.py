"""A list of names and the places where a text holds them: word by word, in Chinese character by character, legal forms left out.

A name is a row of tokens: words of letters and digits, single Chinese characters; case, width and punctuation do not count. So
`Apple, Inc.` and `APPLE` are one name, and `3M` does not stand in `13M`. The longest name that begins at a place is taken.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError, nearest, problem
from ._words import HAN

LEGAL = ("inc", "incorporated", "corp", "corporation", "co", "company", "ltd", "limited", "plc", "llc", "lp", "sa", "ag", "nv", "gmbh",
         "se", "spa", "oyj", "ab", "asa", "bv", "kgaa")  # fmt: skip
HAN_LEGAL = ("股份有限公司", "有限责任公司", "集团有限公司", "集团股份有限公司", "控股有限公司", "有限公司")
SHORT = 3  # letters of what a full stop shortens: `A. O.`, `St.`
FEW = 3  # characters between two tokens of a name, at most
_token = re.compile(rf"[{HAN}]|[^\W_{HAN}]+(?:[&'’.][^\W_{HAN}]+)*", re.UNICODE)
_between = re.compile(r"[\s.,&'’()（）·・\-–/]*")


@dataclass(frozen=True)
class Token:
    start: int
    end: int
    text: str  # folded


def folded(text: str) -> str:
    """As long as the text: width and case do not count."""
    if text.isascii():
        return text.lower()
    return "".join(_fold(c) for c in text)


def _fold(c: str) -> str:
    made = unicodedata.normalize("NFKC", c).lower()
    return made if len(made) == 1 else c


def tokens(text: str) -> list[Token]:
    made = folded(text)
    return [Token(m.start(), m.end(), re.sub(r"['’.]", "", m[0])) for m in _token.finditer(made)]


def key_of(name: str) -> tuple[str, ...]:
    """The tokens of a name without its legal form; the whole where nothing would be left."""
    parts = [token.text for token in tokens(name)]
    bare = list(parts)
    while bare and bare[-1] in LEGAL:
        bare.pop()
    joined = "".join(bare)
    for form in sorted(HAN_LEGAL, key=len, reverse=True):
        if joined.endswith(form) and len(bare) > len(form):
            bare = bare[: -len(form)]
            break
    if len(bare) > 1 and bare[0] == "the":
        bare = bare[1:]
    return tuple(bare or parts)


@dataclass
class Gazetteer:
    """Keys of names -> what they name (ids or types; several where it is not clear)."""

    names: dict[tuple[str, ...], set[str]] = field(default_factory=dict)
    _lengths: dict[str, list[int]] = field(default_factory=dict)  # first token -> lengths of keys, longest first

    def add(self, name: str, meaning: str) -> None:
        key = key_of(name)
        if key:
            self.names.setdefault(key, set()).add(meaning)

    def finish(self) -> Gazetteer:
        found: dict[str, set[int]] = {}
        for key in self.names:
            found.setdefault(key[0], set()).add(len(key))
        self._lengths = {first: sorted(lengths, reverse=True) for first, lengths in found.items()}
        return self

    def find(self, text: str, parts: Sequence[Token] | None = None) -> Iterator[tuple[int, int, tuple[str, ...]]]:
        """(start, end, key) of each name, none over another; a legal form behind it belongs to it."""
        parts = tokens(text) if parts is None else parts
        i = 0
        while i < len(parts):
            length = self._at(text, parts, i)
            if length:
                end = _with_form(text, parts, i + length)
                yield parts[i].start, parts[end - 1].end, tuple(t.text for t in parts[i : i + length])
                i = end
            else:
                i += 1

    def _at(self, text: str, parts: Sequence[Token], i: int) -> int:
        for length in self._lengths.get(parts[i].text, ()):
            row = parts[i : i + length]
            if len(row) == length and tuple(t.text for t in row) in self.names and _together(text, row):
                return length
        return 0


def _together(text: str, row: Sequence[Token]) -> bool:
    """Whether nothing but a few signs stands between the tokens, and no sentence ends there."""
    for a, b in itertools.pairwise(row):
        gap = text[a.end : b.start]
        sentence = "." in gap and len(a.text) > SHORT and a.text not in LEGAL
        if len(gap) > FEW or not _between.fullmatch(gap) or "\n" in gap or sentence:
            return False
    return True


def _with_form(text: str, parts: Sequence[Token], end: int) -> int:
    """Where a name ends, with the legal forms behind it."""
    while end < len(parts) and parts[end].text in LEGAL and _together(text, parts[end - 1 : end + 1]):
        end += 1
    for form in sorted(HAN_LEGAL, key=len, reverse=True):
        row = parts[end : end + len(form)]
        if (
            "".join(t.text for t in row) == form
            and row[-1].end - row[0].start == len(form)
            and row[0].start == parts[end - 1].end
        ):
            return end + len(form)
    return end


# Tables of names


def rows_of(path: str, columns: Sequence[str], optional: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of a CSV or JSONL table, cells of CSV as text (leading zeros stay). Raises DataError naming the line."""
    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(problem(path, f"cannot be read ({error})", "a table in CSV or JSONL, in UTF-8")) from None
    read = _jsonl(path, text) if file.suffix in (".jsonl", ".ndjson") else _csv(text)
    rows = []
    for line, row in read:
        if missing := [name for name in columns if row.get(name) in (None, "")]:
            raise DataError(
                problem(f"{path}:{line}", f"no {missing[0]!r}", "a cell", nearest(missing[0], map(str, row)))
            )
        rows.append({name: row.get(name) for name in (*columns, *optional)})
    if not rows:
        raise DataError(problem(path, "is empty", "rows with " + ", ".join(columns)))
    return rows


def _jsonl(path: str, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(problem(f"{path}:{number}", f"no JSON ({error})", "an object a line")) from None
        if not isinstance(row, dict):
            raise DataError(problem(f"{path}:{number}", f"found {str(row)[:40]!r}", "an object"))
        yield number, row


def _csv(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    return ((reader.line_num, {k: v for k, v in row.items() if k is not None}) for row in reader)


def several(value: Any) -> list[str]:
    """Aliases: a list, or a text with `|` or `;` between them."""
    if isinstance(value, list):
        return [str(one) for one in value if str(one).strip()]
    return [one.strip() for one in re.split(r"[|;；]", value or "") if one.strip()]
