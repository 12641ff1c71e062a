"""Evaluation sets as texts: every file that is named, row by row, whatever the names of its fields are."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..contracts import Record
from ..data.inputs import File, expand
from ..data.options import Input
from ..data.readers import Unfit
from ..data.store import place_name
from ..data.stream import Found, rows_seen
from ..errors import DataError, problem
from ._overlap import Texts
from ._texts import CONVERSATIONS, texts

LONG = (
    40  # characters from which a text in a field of any name counts, not only in those that hold texts by their names
)


def read(record: Record, column: str | None = None) -> Texts:
    """The texts that are compared. What a system turn says stands in many records and is no task."""
    return [text for path, text in texts(record, column) if not _is_system(record, path)]


def _is_system(record: Record, path: tuple[str | int, ...]) -> bool:
    turn = record[str(path[0])][path[1]] if len(path) == 3 else None
    return isinstance(turn, dict) and turn.get("role", turn.get("from")) == "system"


@dataclass
class Sets:
    """The evaluation files, and where each of their records stands."""

    patterns: list[str]
    names: dict[str, int] = field(default_factory=dict)  # file -> records
    places: list[str] = field(default_factory=list)  # of each record
    unfit: Counter[str] = field(default_factory=Counter)  # of each file
    dropped: Counter[str] = field(default_factory=Counter)  # records that were dropped because of each file

    def read(self) -> Iterator[Texts]:
        """The texts of each record. Raises DataError where a file is missing, or holds no text at all."""
        files = [file for pattern in self.patterns for file in expand(pattern)[0]]
        for name, file in _named(files).items():
            before, found = len(self.places), False
            for place, row in _rows(file):
                if isinstance(row, Unfit) or not isinstance(row, dict):
                    self.unfit[name] += 1
                    continue
                held = _all_texts(row)
                found = found or any(text.strip() for text in held)
                self.places.append(place_name(name, place))
                yield held
            self.names[name] = len(self.places) - before
            if not found:
                raise DataError(problem(name, "no record with a text", "an evaluation set", "name its files only"))

    def name(self, owner: int) -> str:
        ends = itertools.accumulate(self.names.values())
        return next(name for name, end in zip(self.names, ends, strict=True) if owner < end)

    def told(self, hit: set[int]) -> dict[str, Any]:
        """Of each file: its records, how many of them were found, how many records went because of them."""
        found = Counter(map(self.name, hit))
        return {
            name: {"records": count, "found": found[name], "dropped": self.dropped[name], "unfit": self.unfit[name]}
            for name, count in self.names.items()
        }


def _named(files: list[File]) -> dict[str, File]:
    """By name; with the folder where two files have the same."""
    count = Counter(file.path.name for file in files)
    return {file.path.name if count[file.path.name] == 1 else str(file.path): file for file in files}


def _rows(file: File) -> Iterator[tuple[int, Any]]:
    """(place, row), mended as other data files are, but without a shape: an evaluation set may have any."""
    return ((seen.number, seen.row) for seen in rows_seen([Input(path=str(file.path))], Found()))


def _all_texts(row: Record) -> Texts:
    """The fields that hold texts by their names, and what else is long; all texts where there is no such field."""
    known = read(row)
    others = [
        text for key, value in row.items() for text in strings(value) if text not in known and key not in CONVERSATIONS
    ]
    return known + [text for text in others if len(text) >= LONG or not known]


def strings(value: Any) -> Iterator[str]:
    """All texts in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)
