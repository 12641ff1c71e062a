"""Tables in CSV, Markdown, HTML or lists of rows -> grids of cells, all as text; merged cells stand in every place that they cover."""

from __future__ import annotations

import csv
import html.parser
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Format = Literal["auto", "csv", "markdown", "html", "rows"]

LARGEST = 2_000_000  # cells of a table
_separator = re.compile(r"^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
_spaces = re.compile(r"[^\S\n]+")


@dataclass
class Grid:
    """Rows of equal length. `heads`: rows that are marked as heads (0: nobody says). `merged`: whether merged cells are told."""

    rows: list[list[str]]
    heads: int = 0
    caption: str = ""
    merged: bool = False


def grids(value: Any, form: Format = "auto") -> list[Grid]:
    """The tables of a field: a text, a list of rows, or an object that holds either under `table` or `rows`."""
    if isinstance(value, dict):
        inner = value.get("table", value.get("rows"))
        return grids(inner, form) if inner is not value else []
    if isinstance(value, list):
        return [made] if form in ("auto", "rows") and (made := _of_rows(value)) else []
    if not isinstance(value, str) or form == "rows":
        return []
    return _READ[_told(value) if form == "auto" else form](value)


def _told(text: str) -> Literal["csv", "markdown", "html"]:
    if re.search(r"<table\b", text, re.I):
        return "html"
    lines = text.splitlines()
    marked = any("|" in line and _separator.match(line) and "|" in lines[i - 1] for i, line in enumerate(lines) if i)
    return "markdown" if marked else "csv"


def clean(text: Any) -> str:
    return _spaces.sub(" ", "" if text is None else str(text)).strip()


def _of_rows(rows: list[Any]) -> Grid | None:
    if not rows or not all(isinstance(row, list) for row in rows):
        return None
    return _even([[clean(cell) for cell in row] for row in rows])


def _even(rows: list[list[str]], **more: Any) -> Grid | None:
    """Short rows are filled up; empty rows and columns go. None where there are not at least two by two cells."""
    width = max(map(len, rows), default=0)
    rows = [row + [""] * (width - len(row)) for row in rows if any(row)]
    used = [c for c in range(width) if c == 0 or any(row[c] for row in rows)]
    made = [[row[c] for c in used] for row in rows]
    return Grid(made, **more) if len(made) > 1 and len(used) > 1 else None


# CSV


def _csv(text: str) -> list[Grid]:
    """The delimiter is the one that parts most lines into the same number of cells. A line of one cell before the table is its caption."""
    best: tuple[int, list[list[str]]] = (0, [])
    for delimiter in ",;\t|":
        try:
            rows = [
                [clean(c) for c in row]
                for row in csv.reader(io.StringIO(text.strip(), newline=""), delimiter=delimiter)
            ]
        except csv.Error:
            continue
        widths = [len(row) for row in rows if len(row) > 1]
        same = max((widths.count(width) * min(width, 20) for width in set(widths)), default=0)
        best = max(best, (same, rows), key=lambda found: found[0])
    rows, before = best[1], []
    while rows and not any(rows[0][1:]):
        before += rows.pop(0)
    made = _even(rows, caption=" ".join(filter(None, before)))
    return [made] if made else []


# Markdown


def _markdown(text: str) -> list[Grid]:
    """Each run of lines with bars around a separator; what stands in the line before is the caption."""
    lines = text.splitlines()
    made = []
    for i, line in enumerate(lines):
        if i and "|" in lines[i - 1] and _separator.match(line):
            first = i - 1
            while first and "|" in lines[first - 1] and not _separator.match(lines[first - 1]):
                first -= 1
            last = i + 1
            while (
                last < len(lines)
                and "|" in lines[last]
                and not (last + 1 < len(lines) and _separator.match(lines[last + 1]))
            ):
                last += 1
            rows = [_bars(row) for row in lines[first:i] + lines[i + 1 : last]]
            before = next((row.strip() for row in reversed(lines[:first]) if row.strip()), "")
            made.append(_even(rows, heads=(i - first) * (i - first > 1), caption=before if "|" not in before else ""))
    return [grid for grid in made if grid]


def _bars(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    inner = inner.removesuffix("|") if not inner.endswith("\\|") else inner
    return [clean(re.sub(r"<br\s*/?>", " ", cell.replace("\\|", "|"))) for cell in re.split(r"(?<!\\)\|", inner)]


# HTML


def _html(text: str) -> list[Grid]:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return [grid for table in reader.done if (grid := _placed(table))]


@dataclass
class _Table:
    rows: list[list[tuple[str, int, int]]] = field(default_factory=list)  # (text, columns, rows) that a cell covers
    head_rows: int = 0
    caption: str = ""


class _Reader(html.parser.HTMLParser):
    """Cells with what they cover. A table inside of a cell is a table of its own."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.done: list[_Table] = []
        self._open: list[_Table] = []
        self._cells: list[tuple[list[str], int, int] | None] = []
        self._heads: list[list[bool]] = []
        self._caption = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._open.append(_Table())
            self._cells.append(None)
            self._heads.append([])
            self.done.append(self._open[-1])
        if not self._open:
            return
        if tag == "tr":
            self._end_row()
            self._open[-1].rows.append([])
        elif tag in ("td", "th"):
            self._end_cell()
            given = dict(attrs)
            if not self._open[-1].rows:
                self._open[-1].rows.append([])
            self._cells[-1] = ([], _span(given.get("colspan")), _span(given.get("rowspan")))
            self._heads[-1].append(tag == "th")
        elif tag == "br":
            self.handle_data(" ")
        elif tag == "caption":
            self._caption = True

    def handle_endtag(self, tag: str) -> None:
        if not self._open:
            return
        if tag in ("td", "th"):
            self._end_cell()
        elif tag == "tr":
            self._end_row()
        elif tag == "caption":
            self._caption = False
        elif tag == "table":
            self._end_row()
            for held in (self._open, self._cells, self._heads):
                held.pop()

    def handle_data(self, data: str) -> None:
        if self._caption and self._open:
            self._open[-1].caption += data
        elif self._cells and (cell := self._cells[-1]) is not None:
            cell[0].append(data)

    def close(self) -> None:
        super().close()
        while self._open:
            self.handle_endtag("table")

    def _end_cell(self) -> None:
        if (cell := self._cells[-1]) is not None:
            self._open[-1].rows[-1].append((clean("".join(cell[0]).replace("\n", " ")), cell[1], cell[2]))
            self._cells[-1] = None

    def _end_row(self) -> None:
        self._end_cell()
        table, heads = self._open[-1], self._heads[-1]
        if heads and all(heads) and table.head_rows == len(table.rows) - 1:
            table.head_rows += 1
        heads.clear()


def _span(text: str | None) -> int:
    return min(int(text), 1000) if text and text.strip().isdecimal() and int(text) else 1


def _placed(table: _Table) -> Grid | None:
    """Every place that a cell covers holds its text; cells move right of what comes down from above."""
    taken: dict[tuple[int, int], str] = {}
    merged = False
    for r, row in enumerate(table.rows):
        c = 0
        for text, columns, rows in row:
            while (r, c) in taken:
                c += 1
            merged |= columns > 1 or rows > 1
            for place in _places(r, c, min(rows, len(table.rows) - r), columns):
                if len(taken) < LARGEST:
                    taken.setdefault(place, text)
            c += columns
    width = 1 + max((c for _, c in taken), default=0)
    grid = [[taken.get((r, c), "") for c in range(width)] for r in range(len(table.rows))]
    return _even(grid, heads=table.head_rows, caption=clean(table.caption), merged=merged)


def _places(r: int, c: int, rows: int, columns: int) -> Iterator[tuple[int, int]]:
    return ((r + i, c + j) for i in range(rows) for j in range(columns))


_READ = {"csv": _csv, "markdown": _markdown, "html": _html}
