"""Marks entities in texts: by a dictionary of names, by rules for numbers and dates, and by patterns of one's own."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..contracts import Record, option
from ._each import Outcome, run_each
from ._gazetteer import Gazetteer, rows_of, several
from ._quantities import quantities
from ._texts import texts
from ._work import seen, work_of


def patterns_fit(value: Any) -> str | None:
    """What would be right where a pattern is no regular expression."""
    for name, pattern in (value or {}).items():
        try:
            re.compile(pattern)
        except re.error as error:
            return f"a regular expression for {name!r} ({error})"
    return None


@dataclass
class RecogniseEntities:
    """Adds a column `marks`: `at`, start, end, text, type, by. Of two over each other the longer stays; then lexicon, patterns, rules."""

    lexicon: str | None = option(None, "CSV or JSONL with names, types and aliases", probe=seen("names.csv"))
    name: str = option("name", "its column of names", probe=seen("alias", lexicon="names.csv"))
    type: str = option("type", "its column of types", probe=seen("kind", lexicon="names.csv"))
    patterns: dict[str, str] = option(
        help="type: regular expression", probe=seen({"year": r"\b(?:19|20)\d\d\b"}), check=patterns_fit, factory=dict
    )
    rules: bool = option(True, "amounts, percentages, ratios and dates by the rules of `numbers`", probe=seen(False))
    column: str | None = option(None, "a field; all texts where left out", probe=seen("topic"))

    def each(self, record: Record) -> Outcome:
        found = [{"at": list(path), **one} for path, text in texts(record, self.column) for one in self.spans(text)]
        if not found:
            return Outcome(record)
        return Outcome(
            record | {"marks": found}, "entities marked", figures=dict(Counter(one["type"] for one in found))
        )

    def spans(self, text: str) -> list[dict[str, Any]]:
        """All entities of a text, in order, none over another."""
        taken, kept = list[tuple[int, int]](), []
        for start, end, type, by in sorted(
            self._found(text), key=lambda one: one[0] - one[1]
        ):  # stable: equal lengths keep their rank
            if not any(start < b and a < end for a, b in taken):
                taken.append((start, end))
                kept.append({"start": start, "end": end, "text": text[start:end], "type": type, "by": by})
        return sorted(kept, key=lambda one: one["start"])

    def _found(self, text: str) -> Iterator[tuple[int, int, str, str]]:
        if self.lexicon:
            names = read_lexicon(self.lexicon, self.name, self.type)
            for start, end, key in names.find(text):
                yield start, end, "|".join(sorted(names.names[key])), "lexicon"
        for type, pattern in self.patterns.items():
            yield from ((*match.span(), type, "pattern") for match in re.finditer(pattern, text) if match[0])
        if self.rules:
            yield from ((q.start, q.end, q.kind, "rule") for q in quantities(text) if q.kind != "number" or q.unit)

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        return run_each(self, records)

    def report(self) -> dict[str, Any]:
        return work_of(self).report()


def read_lexicon(path: str, name: str, type: str) -> Gazetteer:
    """The names of a file, read once as long as it does not change. A name of two types bears both: `person|company`."""
    try:
        changed = os.stat(os.path.expanduser(path)).st_mtime_ns
    except OSError:
        changed = 0  # read, which says what is wrong
    return _read(path, name, type, changed)


@lru_cache(maxsize=4)
def _read(path: str, name: str, type: str, changed: int) -> Gazetteer:
    made = Gazetteer()
    for row in rows_of(path, [name, type], ["aliases"]):
        for written in (str(row[name]), *several(row["aliases"])):
            made.add(written, str(row[type]))
    return made.finish()
