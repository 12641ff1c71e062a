"""Bytes to rows: JSONL, JSON, CSV, TSV, Parquet and text as one stream of (place, row).

A place is the line where a row begins, or minus the number of the record where lines say nothing (Parquet, JSON in one
line). A row is whatever stands there; `Unfit` in its stead says what is wrong with it. Memory stays flat.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Generator, Iterator
from typing import IO, Any

from ..errors import DataError, problem
from .inputs import BLOCK, File, unpacked

LONGEST_CELL = 1 << 28  # a quote that is never closed must not swallow more than this
RECORD_LISTS = {
    "messages",
    "conversations",
    "conversation",
    "history",
    "chosen",
    "rejected",
    "tools",
    "label",
    "labels",
}

Row = tuple[int, Any]


class Unfit(Exception):
    """Why a row is no record. `reason` is what is counted; `fatal` stops the run however many rows may be dropped."""

    def __init__(self, reason: str, expected: str = "", fix: str = "", *, detail: str = "", fatal: bool = False):
        super().__init__(reason)
        self.reason, self.expected, self.fix, self.detail, self.fatal = reason, expected, fix, detail, fatal

    def line(self, where: str) -> str:
        return problem(where, self.reason + (f": {self.detail}" if self.detail else ""), self.expected, self.fix)


def rows(file: File, encoding: str, raw: IO[bytes]) -> Generator[Row, None, None]:
    """Every row of a file that was opened as `raw` (whose position tells the progress). Close it before `raw`."""
    if file.kind == "parquet":
        return _parquet(file, raw)
    return rows_of(file, encoding, unpacked(file, raw))


def rows_of(file: File, encoding: str, stream: IO[bytes]) -> Generator[Row, None, None]:
    """The same of a file that is no Parquet, from the bytes that were packed in it."""
    if file.kind in ("json", "jsonl") and is_jsonl(file):
        return _json_lines(stream, encoding)
    return _decoded(file, encoding, stream)


def _decoded(file: File, encoding: str, stream: IO[bytes]) -> Generator[Row, None, None]:
    text = io.TextIOWrapper(stream, encoding, newline="\n" if file.kind == "text" else "")
    try:
        if file.kind == "text":
            yield from _text(text)
        elif file.kind in ("csv", "tsv"):
            yield from _table(text, file.kind)
        else:
            yield from _Document(text).rows()
    finally:
        text.detach()  # else it would close `raw`, which is the caller's


# Text


def _text(stream: io.TextIOWrapper) -> Iterator[Row]:
    """A record a line; a record a paragraph where empty lines part them."""
    head = [line for _, line in zip(range(2000), stream, strict=False)]
    filled = [bool(line.strip()) for line in head]
    last = max((i for i, yes in enumerate(filled) if yes), default=0)
    first = next((i for i, yes in enumerate(filled) if yes), 0)
    paragraphs = not all(filled[first : last + 1])
    start, block = 1, ""
    for number, line in enumerate(_chain(head, stream), 1):
        if line.strip():
            start, block = (start, block) if block else (number, "")
            block += line
            if paragraphs:
                continue
        if block:
            yield start, {"text": block.replace("\r\n", "\n").rstrip("\n")}
        block = ""
    if block:
        yield start, {"text": block.replace("\r\n", "\n").rstrip("\n")}


def _chain(head: list[str], rest: Iterator[str]) -> Iterator[str]:
    yield from head
    yield from rest


# Tables


def _table(stream: io.TextIOWrapper, kind: str) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_CELL)
    first = stream.readline()
    while first and not first.strip():
        first = stream.readline()
    sample = stream.read(1 << 16)
    lines = _Lines(first + sample, stream)
    delimiter = "\t" if kind == "tsv" else max(",;\t", key=first.count)
    quoting: Any = csv.QUOTE_MINIMAL if kind == "csv" or _quoted((first + sample).splitlines()[:-1]) else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] = []
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield start, _broken_cells(error)
            continue
        if not cells:
            continue
        if header:
            yield start, dict(zip(header, cells, strict=True)) if len(cells) == len(header) else _ragged(cells, header)
            continue
        header = [name.strip() for name in cells]
        if twice := sorted({name for name in header if header.count(name) > 1}):
            yield (
                start,
                Unfit("columns of the same name", "each name once", detail=", ".join(map(repr, twice)), fatal=True),
            )
            return


class _Lines:
    """The lines of a text that was begun to be read."""

    def __init__(self, begun: str, stream: io.TextIOWrapper):
        lines = io.StringIO(begun, newline="")
        self._begun = iter(lines.readlines())
        self._stream = stream

    def __iter__(self) -> Iterator[str]:
        held = next(self._begun, "")
        for line in self._begun:
            yield held
            held = line
        if not held.endswith("\n"):  # the sample ended inside a line
            held += self._stream.readline()
        if held:
            yield held
        yield from self._stream


def _quoted(lines: list[str]) -> bool:
    """Whether quotes in a TSV file are marks of its format (as spreadsheets write them) or part of the text."""
    cells = [line.split("\t") for line in lines]
    if len({len(row) for row in cells}) > 1:
        return True
    opened = [cell for row in cells for cell in row if cell.startswith('"')]
    return bool(opened) and all(len(cell) > 1 and cell.endswith('"') for cell in opened)


def _broken_cells(error: csv.Error) -> Unfit:
    never = "unexpected end" in str(error) or "field limit" in str(error)
    reason = "a quote is opened here and never closed" if never else "broken row"
    return Unfit(reason, 'cells in quotes, quotes inside them doubled ("")', "" if never else f"({error})", fatal=never)


def _ragged(cells: list[str], header: list[str]) -> Unfit:
    expected = f"{len(header)} as in the header ({', '.join(header)})"
    return Unfit("ragged row", expected, "put cells that hold the delimiter in quotes", detail=f"{len(cells)} cells")


# JSON

ONE_A_LINE = "one JSON object a line"
_decode = json.JSONDecoder().raw_decode
_filled = re.compile(r"[^ \t\r\n]")


def is_jsonl(file: File) -> bool:
    """Many a .json holds one record a line, and some .jsonl an array: the content decides, then the name."""
    with open(file.path, "rb") as raw:
        head = unpacked(file, raw).read(BLOCK).removeprefix(codecs.BOM_UTF8).lstrip()
    if head.startswith(b"[") or file.kind == "jsonl":
        return not head.startswith(b"[")
    first, _, rest = head.partition(b"\n")
    try:
        return isinstance(json.loads(first), dict) and bool(rest.strip())
    except ValueError:
        return False


def _json_lines(stream: IO[bytes], encoding: str) -> Generator[Row, None, None]:
    decode, loads = encoding.removesuffix("-sig"), json.loads
    for number, raw in enumerate(stream, 1):
        line = raw.removeprefix(codecs.BOM_UTF8).decode(decode) if number == 1 else raw.decode(decode)
        if line.isspace():
            continue
        try:
            yield number, loads(line)
        except json.JSONDecodeError as error:
            yield number, _broken(f"{error.msg} at column {error.pos + 1}", ONE_A_LINE)
        except (ValueError, RecursionError) as error:  # numbers of thousands of digits, nesting without end
            yield number, _broken(str(error), ONE_A_LINE)


def _broken(detail: str, expected: str) -> Unfit:
    return Unfit("broken JSON", expected, "correct or delete it", detail=detail, fatal=True)


class _Document:
    """A JSON array, or an object that holds one list of records, decoded element by element."""

    def __init__(self, stream: io.TextIOWrapper):
        self._stream, self._text, self._at, self._line = stream, "", 0, 1

    def rows(self) -> Iterator[Row]:
        try:
            yield from self._array() if self._sign() == "[" else self._object()
            if self._sign():
                raise _broken("text after the end of the list", "one array of objects")
        except Unfit as unfit:
            yield self._line, unfit

    def _array(self) -> Iterator[Row]:
        opened = self._line
        self._take("[")
        if self._sign() == "]":
            self._at += 1
            return
        lines = self._line > opened  # laid out in lines, so that a line number says something
        number = 0
        while True:
            number += 1
            self._sign()
            yield self._line if lines else -number, self._value()
            if self._take(",]") == "]":
                return

    def _object(self) -> Iterator[Row]:
        opened, record, streamed = self._line, {}, ""
        self._take("{")
        while self._sign() != "}":
            key = str(self._value())
            self._take(":")
            if not self._holds_records(key):
                record[key] = self._value()
            elif streamed:
                raise _broken(f"two lists, {streamed!r} and {key!r}", "an object with one list of records")
            else:
                streamed = key
                yield from self._array()
            if self._sign() == ",":
                self._at += 1
        self._take("}")
        if not streamed:
            yield opened, record

    def _holds_records(self, key: str) -> bool:
        if self._sign() != "[" or key in RECORD_LISTS:
            return False
        while not (found := _filled.search(self._text, self._at + 1)) and self._more():
            pass
        return found is not None and found.group() == "{"

    def _value(self) -> Any:
        self._sign()
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # what looks broken near the end of the buffer is only cut there
                cut = error.msg.startswith("Unterminated") or error.pos > len(self._text) - 32
                if cut and self._more():
                    continue
                raise self._broken_at(error) from None
            except (ValueError, RecursionError) as error:
                raise _broken(str(error), "one array of objects") from None
            if end == len(self._text) and self._more():  # a number may go on
                continue
            self._advance(end)
            return value

    def _broken_at(self, error: json.JSONDecodeError) -> Unfit:
        self._advance(error.pos)
        return _broken(
            f"{error.msg} near {self._text[max(0, error.pos - 20) : error.pos + 10]!r}", "one array of objects"
        )

    def _sign(self) -> str:
        """The next sign that is no space, not taken yet; empty at the end."""
        while not (found := _filled.search(self._text, self._at)):
            self._advance(len(self._text))
            if not self._more():
                return ""
        self._advance(found.start())
        return found.group()

    def _take(self, allowed: str) -> str:
        sign = self._sign()
        if not sign or sign not in allowed:
            near = self._text[max(0, self._at - 20) : self._at + 10]
            raise _broken(f"expecting {' or '.join(allowed)} near {near!r}", "one array of objects")
        self._at += 1
        return sign

    def _advance(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        if not (block := self._stream.read(max(BLOCK, len(self._text) - self._at))):
            return False
        self._text, self._at = self._text[self._at :] + block, 0
        return True


# Parquet


def _parquet(file: File, raw: IO[bytes]) -> Generator[Row, None, None]:
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        for batch in pyarrow.parquet.ParquetFile(raw).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield -number, _without_nulls(row)
    except (pyarrow.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise DataError(problem(file.name, f"cannot be read ({first})", "a whole Parquet file")) from error


def _without_nulls(value: Any) -> Any:
    """Parquet gives every object all fields that any object of the column has, null where it had none."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
