"""Grids of statements -> cells with their heads, sections and units; values exact."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ._grids import Grid
from ._numerals import plain, shifted
from ._quantities import CURRENCIES, Quantity, half_width, quantities

EMPTY = {"", "-", "–", "—", "--", "n/a", "na", "nm", "不适用", "/", "*"}
_year = re.compile(r"(?:fy ?)?(?:19|20)\d\d(?:年度?)?(?:\s?\([^)]*\)|\*)?|(?:q[1-4]|[1-4]q)[ -]?(?:19|20)?\d\d", re.I)
_currency = "|".join(sorted(map(re.escape, CURRENCIES), key=len, reverse=True))
_units = [
    re.compile(r"单位\s?[:：]?\s?(?P<money>人民币|美元|港元|欧元)?\s?(?P<scale>百万|千万|万|亿|千)?(?P<tail>元|美元|港元|欧元|股|%|％)", re.I),
    re.compile(r"[(（](?P<money>人民币|美元|港元|欧元|港币)?(?P<scale>百万|千万|万|亿|千)(?P<tail>元|美元|港元|欧元|股)[)）]"),
    re.compile(rf"\b(?:in|of)\s(?:(?P<money>{_currency}|U\.S\. dollars|US dollars)\s?)?(?P<scale>thousands?|millions?|billions?|trillions?)\b", re.I),
    re.compile(rf"(?P<money>{_currency})\s?(?P<scale>thousands?|millions?|billions?|mn|bn|m|b|k|['’]?000s?|['’]m)(?![A-Za-z0-9])", re.I),
    re.compile(r"(?<![\d,])(?P<scale>['’]000s?)(?![\d])"),
    re.compile(r"[(（]\s?(?P<scale>thousands?|millions?|billions?)\s?[)）]", re.I),
]  # fmt: skip
_POWERS = {"千": 3, "万": 4, "百万": 6, "千万": 7, "亿": 8, "thousand": 3, "million": 6, "billion": 9, "trillion": 12, "mn": 6, "bn": 9,
           "m": 6, "b": 9, "k": 3, "000": 3}  # fmt: skip
_share = re.compile(r"per\s(?:\w+\s){0,2}share|每股|per unit", re.I)
_percent = re.compile(r"%|％|percent|per cent|百分比|比例|增长率", re.I)


@dataclass(frozen=True)
class Unit:
    """What numbers of a table, a column or a row are counted in: 10^power of `name`, which may be left open."""

    name: str = ""
    power: int = 0
    text: str = ""  # as it is written


@dataclass(frozen=True)
class Cell:
    """`text` as it stands; `value` is the number that is written, `exact` what it means with its unit: 1,234 in thousands is 1234000."""

    row: int
    column: int
    row_head: str
    column_head: str
    section: str
    text: str
    value: str | None
    exact: str | None
    unit: str
    scale: str

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def unit_of(text: str) -> Unit | None:
    """`in thousands`, `$ million`, `单位：万元`, `£'000`; None where nothing of the kind stands there."""
    half = half_width(text)
    for pattern in _units:
        if match := pattern.search(half):
            parts = match.groupdict()
            scale = re.sub(r"['’]|s$", "", (parts.get("scale") or "").lower())
            money = (parts.get("money") or parts.get("tail") or "").lower()
            name = {"股": "shares", "%": "%"}.get(money) or ("USD" if "dollars" in money else CURRENCIES.get(money, ""))
            return Unit(name, _POWERS.get(scale, 0), match[0].strip("()（） "))
    return None


def cells_of(grid: Grid, notes: str = "") -> list[Cell]:
    """The cells behind the heads, row by row; empty ones are left out. `notes` may tell the unit of the whole."""
    rows = grid.rows
    heads = grid.heads or head_rows(rows)
    first = head_columns(rows[heads:])
    columns = [_head(rows[:heads], c, first, grid.merged) for c in range(len(rows[0]))]
    corner = " ".join(dict.fromkeys(cell for row in rows[:heads] for cell in row))
    whole = unit_of(grid.caption) or unit_of(corner) or unit_of(notes) or Unit()
    found, section = [], ""
    for r, row in enumerate(rows[heads:], heads):
        name = " ".join(dict.fromkeys(cell for cell in row[:first] if cell))
        if _is_section(row, first):
            section = name.rstrip(":：")
            continue
        for c in range(first, len(row)):
            if row[c]:
                found.append(_cell(r, c, name, columns[c], section, row[c], whole))
    return found


def head_rows(rows: list[list[str]]) -> int:
    """Rows at the top that hold no figures but years; at least one, and not all."""
    count = 0
    for row in rows[:-1]:
        behind = [cell for cell in row[1:] if cell]
        if any(_figure(cell) is not None and not _year.fullmatch(cell) for cell in behind):
            break
        if count and not behind and row[0]:
            break  # a section
        if count and behind and all(cell.lower() in EMPTY for cell in behind) and row[0]:
            break
        if (
            count
            and row[0]
            and behind
            and not any(_year.fullmatch(cell) or unit_of(cell) for cell in behind)
            and _text_body(rows[count:])
        ):
            break
        count += 1
    return max(1, count)


def _text_body(rows: list[list[str]]) -> bool:
    """Whether what follows holds hardly any figures: a table of words has one row of heads."""
    cells = [cell for row in rows for cell in row[1:] if cell]
    return sum(_figure(cell) is not None for cell in cells) < len(cells) / 4


def head_columns(rows: list[list[str]]) -> int:
    """Columns at the left that hold words only; at least one, and not all."""
    count = 0
    for c in range(len(rows[0]) - 1 if rows else 0):
        cells = [row[c] for row in rows if row[c]]
        if count and (not cells or any(_figure(cell) is not None or cell.lower() in EMPTY for cell in cells)):
            break
        if count and all(_figure(row[d]) is None for row in rows for d in range(c + 1, len(row))):
            break  # a table of words: names in front, the rest are cells
        count += 1
    return max(1, count)


def _head(heads: list[list[str]], column: int, first: int, merged: bool) -> str:
    """The heads above a column from top to bottom; where merged cells are not told, an empty one takes the nearest on its left."""
    parts = []
    for number, row in enumerate(heads):
        text = row[column]
        if not text and not merged and number < len(heads) - 1:
            left = [cell for cell in row[first : column + 1] if cell]
            right = [cell for cell in row[column:] if cell]
            text = left[-1] if left else right[0] if right else ""
        parts.append(text)
    return " ".join(dict.fromkeys(filter(None, parts)))


def _is_section(row: list[str], first: int) -> bool:
    """Words in front and nothing behind, or one cell over the whole row."""
    return bool(row[0]) and (not any(row[first:]) or (len(set(row)) == 1 and len(row) > 2 and _figure(row[0]) is None))


def _figure(cell: str) -> Quantity | None:
    """The number that a cell is: nothing but signs may stand around it."""
    found = [q for q in quantities(cell) if q.kind != "date" and q.number is not None]
    if len(found) != 1:
        return None
    around = cell[: found[0].start] + cell[found[0].end :]
    return None if re.search(r"\w", re.sub(r"\([a-z0-9]\)|\[\w+\]", "", around)) else found[0]


def _cell(r: int, c: int, name: str, head: str, section: str, text: str, whole: Unit) -> Cell:
    made = _figure(text)
    if made is None or made.number is None:
        return Cell(r, c, name, head, section, text, None, None, "", "")
    unit = unit_of(name) or unit_of(head) or whole
    if made.kind in ("percent", "basis_points", "ratio") or "%" in text:
        unit, own = Unit(), made.unit or "%"
    elif _percent.search(name) or (_percent.search(head) and not made.unit):
        unit, own = Unit(), "%"
    else:
        own = made.unit or unit.name
    if _share.search(name) or _share.search(section):
        unit = Unit(unit.name)
    number: Decimal = made.number
    return Cell(r, c, name, head, section, text, made.value, plain(shifted(number, unit.power)), own, unit.text)
