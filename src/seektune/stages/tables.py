"""Statements in CSV, Markdown or HTML become cells with heads, units and exact values, and questions that a cell answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ..contracts import Probe, Record, at_least, option
from ._each import Outcome, run_each
from ._grids import Format, Grid, grids
from ._statements import Cell, cells_of
from ._words import han_share
from ._work import PLACE, random_of, work_of


def _seen(other: Any, **given: Any) -> Probe:
    """On records that hold tables."""
    options = {f"data.train.0.stages.0.{key}": value for key, value in given.items()}
    return Probe(other, "stage", "stage", {"data.train.0.path": "statements.jsonl"} | options)


@dataclass
class Tables:
    """Adds a column `cells`, and a record for each question: a conversation with the table, what is asked, and the cell as it stands."""

    column: str = option(
        "table", "the field: a text, a list of rows, or an object that holds one", probe=_seen("other")
    )
    format: Format = option("auto", "how the table is written", probe=_seen("csv"))
    notes: str | None = option(None, "a field of texts that may tell the unit of the table", probe=_seen("note"))
    questions: bool = option(True, "make a record of each question", probe=_seen(False))
    most: int | None = option(
        None, "questions of one table, drawn at random; all where left out", probe=_seen(1), check=at_least(1)
    )
    context: bool = option(True, "the table stands in front of the question", probe=_seen(False))
    language: Literal["auto", "en", "zh"] = option(
        "auto", "of the questions; auto: that of the table", probe=_seen("zh")
    )

    def each(self, record: Record) -> Outcome:
        value = record.get(self.column)
        if value in (None, "", []):
            return Outcome(record)
        found = grids(value, self.format)
        if not found:
            return Outcome(None, "no table can be read", f"{self.column}: {str(value)[:60]!r}")
        notes = _told(record.get(self.notes)) if self.notes else ""
        cells = [cells_of(grid, notes) for grid in found]
        listed = [{"table": i} | cell.as_dict() for i, of_one in enumerate(cells) for cell in of_one]
        more = (
            [made for pair in zip(found, cells, strict=True) for made in self._asked(record, *pair)]
            if self.questions
            else []
        )
        figures: dict[str, float] = {
            "tables": len(found),
            "cells": len(listed),
            "figures": sum(one["value"] is not None for one in listed),
        }
        return Outcome(record | {"cells": listed}, "tables read", more=more, figures=figures)

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        return run_each(self, records)

    def report(self) -> dict[str, Any]:
        return work_of(self).report()

    def _asked(self, record: Record, grid: Grid, cells: list[Cell]) -> list[Record]:
        """One record a cell that its heads tell from all others."""
        chinese = self.language == "zh" or (
            self.language == "auto" and han_share(" ".join(map(" ".join, grid.rows))) > 0.3
        )
        asked = {question_of(cell, chinese): cell for cell in cells}
        times = Counter(question_of(cell, chinese) for cell in cells)
        clear = [q for q, cell in asked.items() if times[q] == 1 and cell.value is not None and cell.row_head]
        if self.most is not None and len(clear) > self.most:
            chosen = random_of(work_of(self).seed, record).choice(len(clear), self.most, replace=False)
            clear = [clear[i] for i in sorted(chosen)]
        shown = (written(grid) + "\n\n") if self.context else ""
        place = {PLACE: record[PLACE]} if PLACE in record else {}
        return [
            {"messages": [{"role": "user", "content": shown + q}, {"role": "assistant", "content": asked[q].text}]}
            | place
            for q in clear
        ]


def question_of(cell: Cell, chinese: bool) -> str:
    """What a cell answers, by its heads and its unit."""
    row = f"{cell.section}: {cell.row_head}" if cell.section and not chinese else cell.row_head
    unit = cell.scale or (cell.unit if cell.unit not in ("", "%") else "")
    if chinese:
        row = f"{cell.section}中{cell.row_head}" if cell.section else cell.row_head
        return f"{cell.column_head}的{row}是多少？" + (
            f"（单位：{unit.removeprefix('单位').lstrip(':： ')}）" if unit else ""
        )
    where = f" for {cell.column_head}" if cell.column_head else ""
    return f"What is {row}{where}{f' ({unit})' if unit else ''}?"


def written(grid: Grid) -> str:
    """The grid as Markdown."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in grid.rows]
    lines.insert(1, "|" + " --- |" * len(grid.rows[0]))
    return "\n".join(([grid.caption] if grid.caption else []) + lines)


def _told(value: Any) -> str:
    """All texts of a field, however deep."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "\n".join(map(_told, value.values()))
    return "\n".join(map(_told, value)) if isinstance(value, list) else ""
