"""Files to records: every row is checked before anything else is loaded, and what is dropped is counted and named.

`read` finds each file's shape from its field names, streams the rows into a store (kept in the cache, keyed by content and
options), and raises one DataError with all that is wrong.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..contracts import Record
from ..errors import DataError, problem
from ..files import sha256_text
from .inputs import File, Scan, expand, scan, unpacking_errors
from .options import Input
from .readers import Row, Unfit, rows
from .shapes import SHAPES, Reading, Unclear, Wants, find
from .store import FORMAT, Records, Writer, cache_folder, forget_old, place_name, stored

Show = Callable[[int, int], None]

SAMPLE = 256  # rows whose field names tell the shape of a file
SHOWN = 5  # problems and examples that are listed one by one
REASONS = 20  # different reasons that are counted by name
MOST_LABELS = 10_000
ENCODINGS = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8 with BOM", "gb18030": "GB18030", "none": "Parquet"}


def read(
    inputs: list[Input], allow_dropped: float, wants: Wants, *, cache: Path | None = None, show: Show | None = None
) -> Records:
    """All records of the inputs, in order. `show(done, total)` is told the bytes read; stores are kept in `cache`.

    Raises DataError: missing, empty or broken files, a shape that cannot be told, more unfit rows in an input than
    `allow_dropped` of them. Rows below that share are left out; `Records.facts` counts them.
    """
    opened = _open(inputs, wants)
    cache, temporary = cache_folder(cache)
    folder = cache / _key(opened, allow_dropped, wants)
    if (records := stored(folder)) is not None:
        return records
    forget_old(cache)
    found = [file for one in opened for file in one.files]
    with Writer(folder, [f.name for f in found], [one.index for one in opened for _ in one.files], temporary) as writer:
        reader = _Reader(writer, wants, _progress(found, show))
        for one in opened:
            reader.read(one, allow_dropped)
        if reader.problems:
            raise DataError(reader.problems)
        return writer.finish(reader.facts(opened, temporary))


@dataclass
class _Opened:
    """An input with its files, and what is being learnt about it."""

    index: int
    given: Input
    files: list[File]
    scans: list[Scan]
    skipped: list[str]
    shapes: Counter[str] = field(default_factory=Counter)
    fields: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rows: int = 0
    kept: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    fatal: int = 0

    @property
    def dropped(self) -> int:
        return self.rows - self.kept

    def drop(self, unfit: Unfit, where: str) -> None:
        self.rows += 1
        if unfit.fatal:
            self.fatal += 1
            self.broken += [unfit.line(where)] if len(self.broken) < SHOWN else []
            return
        reason = unfit.reason if len(self.reasons) < REASONS or unfit.reason in self.reasons else "other reasons"
        self.reasons[reason] += 1
        if len(self.examples) < SHOWN:
            self.examples.append({"where": where, "reason": unfit.line(where).removeprefix(f"{where}: ")})
        if len(self.lines) < SHOWN:
            self.lines.append(unfit.line(where))

    def facts(self) -> dict[str, Any]:
        encodings = dict.fromkeys(ENCODINGS[scan.encoding] for scan in self.scans)
        return {
            "path": self.given.path,
            "files": [file.name for file in self.files],
            "skipped": self.skipped,
            "shape": ", ".join(self.shapes),
            "fields": self.fields,
            "encoding": ", ".join(encodings),
            "rows": self.rows,
            "kept": self.kept,
            "dropped": self.dropped,
            "reasons": dict(self.reasons.most_common()),
            "examples": self.examples,
            "notes": self.notes,
        }


def _open(inputs: list[Input], wants: Wants) -> list[_Opened]:
    """Find and scan all files. Raises DataError with what is wrong in any of them."""
    opened, problems = [], []
    for index, given in enumerate(inputs):
        if given.format != "auto" and SHAPES[given.format].head != wants:
            fits = ", ".join(name for name, shape in SHAPES.items() if shape.head == wants)
            learns = {"classifier": "classes", "tagger": "spans"}.get(wants, "answers or text")
            problems.append(
                problem(given.path, f"format: {given.format}, but the objective learns {learns}", f"one of {fits}")
            )
        try:
            found, skipped = expand(given.path)
        except DataError as error:
            problems += error.problems
            continue
        scans = []
        for file in found:
            try:
                scans.append(scan(file))
            except DataError as error:
                problems += error.problems
            except OSError as error:
                problems.append(problem(file.name, f"cannot be read ({error.strerror})"))
        opened.append(_Opened(index, given, found, scans, skipped))
    if problems:
        raise DataError(problems)
    return opened


def _key(opened: list[_Opened], allow_dropped: float, wants: str) -> str:
    parts: list[Any] = [FORMAT, allow_dropped, wants]
    for one in opened:
        options = dataclasses.asdict(dataclasses.replace(one.given, stages=[]))
        parts.append(
            [
                sorted(options.items(), key=str),
                one.skipped,
                [(f.name, s.sha) for f, s in zip(one.files, one.scans, strict=True)],
            ]
        )
    return sha256_text(repr(parts))[:32]


def _progress(found: list[File], show: Show | None) -> Callable[[int, int], None]:
    """Tells `show` how far reading has come: (number of the file, bytes of it that are read)."""
    sizes = [os.path.getsize(file.path) for file in found]
    before = [0, *itertools.accumulate(sizes)]
    furthest = 0

    def progress(file: int, done: int) -> None:
        nonlocal furthest
        furthest = max(furthest, before[file] + min(done, sizes[file]))  # Parquet is read back and forth
        if show is not None:
            show(furthest, before[-1])

    return progress


class _Reader:
    """Reads input after input into a writer; `problems` gathers what stops the run."""

    def __init__(self, writer: Writer, wants: Wants, progress: Callable[[int, int], None]):
        self.problems: list[str] = []
        self._writer, self._wants, self._progress = writer, wants, progress
        self._labels = _Labels() if wants == "classifier" else None
        self._file = -1

    def read(self, one: _Opened, allow_dropped: float) -> None:
        unclear = len(self.problems)
        for file, scanned in zip(one.files, one.scans, strict=True):
            self._file += 1
            try:
                self._read_file(one, file, scanned)
            except DataError as error:
                self.problems += error.problems
            except unpacking_errors() as error:
                self.problems.append(problem(file.name, f"cannot be read ({error})", "a whole file"))
        if len(self.problems) == unclear:
            self.problems += _verdict(one, allow_dropped)

    def _read_file(self, one: _Opened, file: File, scanned: Scan) -> None:
        with open(file.path, "rb") as raw, contextlib.closing(rows(file, scanned.encoding, raw)) as stream:
            sample = list(itertools.islice(stream, SAMPLE))
            reading = _reading(one, file, sample, self._wants)
            if reading is not None:
                one.shapes[reading.kind] += 1
                one.fields |= {ours: theirs for ours, theirs in _seen(reading).items() if ours != theirs}
            for count, (place, row) in enumerate(_chained(sample, stream)):
                if not count % 1024:
                    self._progress(self._file, raw.tell())
                self._take(one, file, reading, place, row)
            self._progress(self._file, os.path.getsize(file.path))

    def _take(self, one: _Opened, file: File, reading: Reading | None, place: int, row: Any) -> None:
        try:
            if isinstance(row, Unfit) or reading is None:
                raise row
            record = _of_row(one, reading, row).record(row)
            if self._labels:
                self._labels.check(record["label"], row, reading, place_name(file.name, place))
            self._writer.add(record, self._file, place)
        except Unfit as unfit:
            one.drop(unfit, place_name(file.name, place))
        except UnicodeEncodeError:
            half = Unfit("half a character in a text", "whole characters", "escapes such as \\ud83d come in pairs")
            one.drop(half, place_name(file.name, place))
        else:
            one.rows += 1
            one.kept += 1

    def facts(self, opened: list[_Opened], temporary: bool) -> dict[str, Any]:
        facts: dict[str, Any] = {"records": len(self._writer), "inputs": [one.facts() for one in opened], "notes": []}
        if temporary:
            facts["notes"].append("the cache folder cannot be written: records are kept in a temporary folder")
        if self._labels:
            facts["labels"] = dict(sorted(self._labels.counts.items()))
            facts["notes"] += self._labels.notes()
        return facts


def _chained(sample: list[Row], rest: Iterator[Row]) -> Iterator[Row]:
    yield from sample
    yield from rest


def _seen(reading: Reading) -> dict[str, str]:
    """Our field -> the name in the file, before `columns`."""
    return {ours: reading.columns.get(name, name) for ours, name in reading.names.items()}


def _reading(one: _Opened, file: File, sample: list[Row], wants: Wants) -> Reading | None:
    """How to read a file; None where it has nothing but broken rows. Raises DataError where the shape cannot be told."""
    if not sample:
        raise DataError(problem(file.name, "no records", "at least one"))
    fields = list(
        dict.fromkeys(
            key for _, row in sample if isinstance(row, dict) for key, value in row.items() if value is not None
        )
    )
    if not fields and any(isinstance(row, Unfit) for _, row in sample):
        return None
    try:
        reading = find(fields, one.given.columns, one.given.format, wants)
    except Unclear as unclear:
        raise DataError(problem(file.name, str(unclear))) from None
    if reading.left_out:
        names = ", ".join(reading.left_out)
        one.notes.append(f"{file.name}: read as {reading.kind}; columns left out: {names}")
    return reading


MIXED = {"messages": "text", "text": "messages"}  # conversations and plain texts may share a file, row by row


def _of_row(one: _Opened, reading: Reading, row: Any) -> Reading:
    """The reading of a row: the file's, or where conversations and texts are mixed, that of the row's own only field."""
    other = MIXED.get(reading.kind)
    if other is None or one.given.format != "auto" or one.given.columns or not isinstance(row, dict):
        return reading
    if reading.kind in row or other not in row:
        return reading
    if other not in one.shapes:
        one.notes.append(f"{reading.kind} and {other} are mixed; each row is read as what it is")
    one.shapes[other] += 1
    return Reading(other, SHAPES[other], {other: other, **({"spans": "spans"} if "spans" in row else {})}, {})


def _verdict(one: _Opened, allow_dropped: float) -> list[str]:
    """What stops the run in an input that was read: broken files, too many unfit rows, nothing left."""
    found = list(one.broken)
    if one.fatal > len(one.broken):
        found.append(problem(one.given.path, f"{one.fatal - len(one.broken):,} more of this kind"))
    unfit = one.dropped - one.fatal
    share = unfit / max(one.rows, 1)
    if unfit and (share > allow_dropped or not one.kept):
        counts = ", ".join(f"{count:,} × {reason}" for reason, count in one.reasons.most_common())
        what = f"{unfit:,} of {one.rows:,} records are unfit ({counts})"
        allowed = f"at most {100 * allow_dropped:g} % (data.allow_dropped)"
        fix = "correct them" if not one.kept else f"correct them, or set data.allow_dropped: {_above(share)}"
        found += [*one.lines, problem(one.given.path, what, allowed, fix)]
    return found


def _above(share: float) -> str:
    """The share, rounded up to two digits behind the point."""
    return f"{min(1.0, (int(share * 100) + 1) / 100):.2f}"


class _Labels:
    """Counts labels over all inputs; single labels and lists of labels do not go together."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._several: bool | None = None
        self._first = ""
        self._types: Counter[str] = Counter()

    def check(self, label: Any, row: Record, reading: Reading, where: str) -> None:
        several = isinstance(label, list)
        if self._several is None:
            self._several, self._first = several, where
        if several != self._several:
            found, other = ("a list", "one label") if several else ("one label", "a list")
            raise Unfit(f"`{reading.names['label']}` is {found}", f"{other} as in {self._first}")
        self.counts.update(label if several else [label])
        given = renamed_value(row, reading)
        self._types.update("text" if isinstance(one, str) else "numbers" for one in (given if several else [given]))
        if len(self.counts) > MOST_LABELS:
            raise Unfit(f"more than {MOST_LABELS:,} different labels", "classes, each with several records", fatal=True)

    def notes(self) -> list[str]:
        if set(self._types) == {"numbers"}:
            return ["labels are numbers: read as text"]
        if self._types["numbers"]:
            numbers, texts = self._types["numbers"], self._types["text"]
            return [f"labels are numbers in {numbers:,} places and text in {texts:,}: all are read as text"]
        return []


def renamed_value(row: Record, reading: Reading) -> Any:
    """The label as it stood in the file."""
    name = reading.names["label"]
    return row.get(reading.columns.get(name, name))
