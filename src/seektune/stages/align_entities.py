"""Aligns tickers and the names of companies and funds with the ids of a table: exact, by alias, or nearly right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ..contracts import Probe, Record, between, option
from ._alignment import Table, read_table
from ._each import Outcome, run_each
from ._texts import texts
from ._work import seen, work_of

SHOWN = 50  # conflicts that a report names


@dataclass
class AlignEntities:
    """Adds a column `entities`: `at`, start, end, text, id, how, score. Where a name means several ids, id is null, and they are told."""

    table: str = option(help="CSV or JSONL with ids, names and aliases", probe=seen("others.csv"))
    id: str = option("id", "its column of ids; leading zeros stay", probe=seen("code"))
    name: str = option("name", "its column of names", probe=seen("short"))
    aliases: str = option(
        "aliases", "its column of further names: a list, or a text with | between", probe=seen("also")
    )
    threshold: float = option(
        92.0,
        "likeness in percent from which a name that is nearly right counts; 100 for exact names only",
        probe=seen(100.0),
        check=between(50, 100),
    )
    tickers: Literal["marked", "free"] = option(
        "marked",
        "only behind $ or an exchange, in brackets or with a market (600000.SH); or anywhere",
        probe=Probe("free", "stage", "stage", {"data.train.0.path": "mentions.jsonl"}),
    )
    column: str | None = option(None, "a field; all texts where left out", probe=seen("topic"))
    example: ClassVar[dict[str, Any]] = {"table": "companies.csv"}

    def each(self, record: Record) -> Outcome:
        table = self._table()
        found = [
            {"at": list(path), **mention.as_dict()}
            for path, text in texts(record, self.column)
            for mention in table.mentions(text, self.threshold, self.tickers == "free")
        ]
        if not found:
            return Outcome(record)
        figures = Counter("not clear" if one["id"] is None else one["how"] for one in found)
        return Outcome(record | {"entities": found}, "entities found", figures=dict(figures))

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        return run_each(self, records)

    def report(self) -> dict[str, Any]:
        table = self._table()
        conflicts = table.conflicts()
        told = {"ids": table.ids, "names": len(table.gazetteer.names), "conflicts": len(conflicts),
                "named twice": dict(sorted(conflicts.items())[:SHOWN])}  # fmt: skip
        return work_of(self).report() | {"table": told}

    def _table(self) -> Table:
        return read_table(self.table, self.id, self.name, self.aliases)
