"""Records to a JSONL (plain, .gz, .zst) or Parquet file: written aside and renamed, so that there is a whole file or none."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from .. import files
from ..contracts import Record
from ..errors import DataError, problem

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
ROWS = 4096  # of a Parquet group

_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


def check_output(path: str) -> str | None:
    """What would be right where a name is of no kind that we write."""
    return None if path.endswith(SUFFIXES) else "a name that ends in " + ", ".join(SUFFIXES)


class Output:
    """`add` records inside a `with`; left by an exception, the old file (if there was one) is still there."""

    def __init__(self, path: Path):
        self.path, self.count = path, 0
        self._aside = path.with_name(f".{path.name}.{os.getpid()}.part")

    def __enter__(self) -> Output:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.before("write", self.path)
        self._file: Any = (
            _Parquet(self._aside) if self.path.suffix == ".parquet" else _Lines(self._aside, self.path.suffix)
        )
        return self

    def add(self, record: Record) -> None:
        self._file.add(record)
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close(error is None)
            if error is None:
                files.before("rename", self.path)
                os.replace(self._aside, self.path)
        finally:
            self._aside.unlink(missing_ok=True)


class _Lines:
    def __init__(self, path: Path, suffix: str):
        self._raw = open(path, "wb")  # noqa: SIM115
        self._out: IO[bytes] = self._raw
        if suffix == ".gz":
            self._out = gzip.GzipFile(filename="", fileobj=self._raw, mode="wb", compresslevel=6, mtime=0)  # type: ignore[assignment]
        elif suffix == ".zst":
            import zstandard

            self._out = zstandard.ZstdCompressor().stream_writer(self._raw, closefd=False)

    def add(self, record: Record) -> None:
        self._out.write(_encode(record).encode("utf-8", "backslashreplace") + b"\n")

    def close(self, whole: bool) -> None:
        try:
            if self._out is not self._raw and whole:
                self._out.close()
            if whole:
                files.sync(self._raw)
        finally:
            with contextlib.suppress(OSError):  # what the disk did not take has been told
                self._raw.close()


class _Parquet:
    """Columns are those of the first rows; a value that does not fit later is an error that names it."""

    def __init__(self, path: Path):
        self._path, self._rows = path, list[Record]()
        self._writer: Any = None

    def add(self, record: Record) -> None:
        self._rows.append(record)
        if len(self._rows) == ROWS:
            self._write()

    def _write(self) -> None:
        import pyarrow
        import pyarrow.parquet

        try:
            if self._writer is None:
                table = pyarrow.Table.from_pylist(self._rows)
                self._writer = pyarrow.parquet.ParquetWriter(self._path, table.schema, compression="zstd")
            else:
                if extra := sorted({key for row in self._rows for key in row} - set(self._writer.schema.names)):
                    raise pyarrow.ArrowInvalid(f"column {extra[0]!r} is not in the first {ROWS:,} records")
                table = pyarrow.Table.from_pylist(self._rows, schema=self._writer.schema)
            self._writer.write_table(table)
        except (pyarrow.ArrowException, TypeError, OverflowError) as error:
            what = f"the records do not fit into columns ({str(error).splitlines()[0]})"
            raise DataError(problem(str(self._path.name), what, fix="write .jsonl instead")) from error
        self._rows = []

    def close(self, whole: bool) -> None:
        if whole and (self._rows or self._writer is None):
            self._write()
        if self._writer is not None:
            self._writer.close()
