"""Rows of files as records, one after the other, for data work: nothing is stored, and what is unfit is told and passed by.

Training reads through `formats` (every row is checked, and too many unfit ones stop it). Here files may be messy: lines are
mended (mend.py), broken rows are handed out as `Unfit`, and a file of no known shape gives its rows as they stand.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from ..console import size
from ..contracts import Record
from ..errors import DataError, problem
from . import mend
from .inputs import File, expand, unpacked, unpacking_errors
from .mend import Mended
from .options import Input
from .readers import Unfit, is_jsonl, rows, rows_of
from .shapes import SHAPES, Reading, Unclear, find
from .store import place_name

SAMPLE = 256  # rows whose field names tell the shape of a file

Show = Callable[[int, int], None]


@dataclass
class Found:
    """What reading has come to, file by file."""

    files: list[File] = field(default_factory=list)
    shapes: dict[str, str] = field(default_factory=dict)  # of each file
    mended: dict[str, dict[str, Any]] = field(default_factory=dict)  # of each file: {what: {"lines": n, "first": [..]}}
    skipped: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        return {
            "files": [f.name for f in self.files],
            "shapes": self.shapes,
            "mended": self.mended,
            "skipped": self.skipped,
        }


@dataclass
class Seen:
    """A row as it stood in its file, and how the file is read (None: its rows are records as they stand)."""

    file: File
    number: int  # its line, or minus the number of the record; 0: the whole file
    row: Any  # what stood there, or `Unfit`
    reading: Reading | None = None

    @property
    def place(self) -> str:
        """As messages name it: train.jsonl:7312."""
        return place_name(self.file.name, self.number) if self.number else self.file.name

    def record(self) -> Record | Unfit:
        return self.row if isinstance(self.row, Unfit) else _record(self.reading, self.row)


def stream(
    inputs: list[Input], found: Found, show: Show = lambda done, total: None
) -> Iterator[tuple[str, Record | Unfit]]:
    """(place, record) of every row of the inputs, in order. `found` is filled on the way; `show` is told the bytes read.

    Raises DataError where a file is missing, empty or of an unknown kind.
    """
    for seen in rows_seen(inputs, found, show):
        yield seen.place, seen.record()


def rows_seen(inputs: list[Input], found: Found, show: Show = lambda done, total: None) -> Iterator[Seen]:
    """The rows behind `stream`, as they stood."""
    opened = [(given, file) for given in inputs for file in _files(given, found)]
    sizes = [os.path.getsize(file.path) for _, file in opened]
    before = [0, *itertools.accumulate(sizes)]
    for number, (given, file) in enumerate(opened):

        def told(done: int, start: int = before[number]) -> None:
            show(start + done, before[-1])

        yield from _of_file(given, file, found, told)


def _files(given: Input, found: Found) -> list[File]:
    files, skipped = expand(given.path)
    if empty := [file for file in files if not os.path.getsize(file.path)]:
        raise DataError([problem(file.name, "empty file", "at least one record") for file in empty])
    found.files += files
    found.skipped += skipped
    return files


def _of_file(given: Input, file: File, found: Found, show: Callable[[int], None]) -> Iterator[Seen]:
    with open(file.path, "rb") as raw:
        mended = _mended(file, raw)
        lines = rows_of(file, "utf-8", io.BufferedReader(mended)) if mended else rows(file, "none", raw)
        try:
            with contextlib.closing(lines) as stream:
                sample = list(itertools.islice(stream, SAMPLE))
                reading = reading_of(given, file, [row for _, row in sample])
                found.shapes[file.name] = reading.kind if reading else "raw"
                for count, (place, row) in enumerate(itertools.chain(sample, stream)):
                    if not count % 1024:
                        show(raw.tell())
                    yield from _left(file, mended)
                    yield Seen(file, place, row, reading)
        except unpacking_errors() as error:
            yield Seen(file, 0, Unfit("damaged archive", f"a whole {file.packing} file", detail=str(error)))
        yield from _left(file, mended)
        show(os.path.getsize(file.path))
        if mended and mended.notes:
            found.mended[file.name] = {
                what: {"lines": count, "first": mended.lines[what]} for what, count in mended.notes.most_common()
            }


def _mended(file: File, raw: IO[bytes]) -> Mended | None:
    if file.kind == "parquet":
        return None
    return Mended(unpacked(file, raw), whole=file.kind in ("json", "jsonl") and not is_jsonl(file))


def _left(file: File, mended: Mended | None) -> Iterator[Seen]:
    """The lines that were too long to be read, since this was asked last."""
    while mended and mended.left:
        unfit = Unfit(f"a line longer than {size(mend.LONGEST_LINE)}", "one record a line")
        yield Seen(file, mended.left.pop(0), unfit)


def reading_of(given: Input, file: File, sample: Iterable[Any]) -> Reading | None:
    """How a file's rows are read; None: as they stand. Raises DataError where the recipe names a shape that it has not."""
    fields = list(
        dict.fromkeys(key for row in sample if isinstance(row, dict) for key, v in row.items() if v is not None)
    )
    kinds = ["classifier", "lm"] if given.format == "auto" else [SHAPES[given.format].head]
    reason = ""
    for wants in kinds:
        try:
            return find(fields, given.columns, given.format, wants)  # type: ignore[arg-type]
        except Unclear as unclear:
            reason = str(unclear)
    if given.format != "auto" or given.columns:
        raise DataError(problem(file.name, reason))
    return None


def _record(reading: Reading | None, row: Any) -> Record | Unfit:
    if isinstance(row, Unfit):
        return row
    try:
        if reading is not None:
            return reading.record(row)
        if not isinstance(row, dict):
            raise Unfit("the row is no object", "an object with fields", detail=repr(row)[:60])
    except Unfit as unfit:
        return unfit
    return row
