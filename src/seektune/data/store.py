"""Records on disk: one JSON object a line, memory-mapped, with offsets, places and digests beside it.

A million records cost some 56 bytes of memory-mapped arrays each, whatever they hold. `Writer` fills a folder aside and
renames it; `Records` reads it, and views of it share the map.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import shutil
import tempfile
import time
import weakref
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np

from .. import files
from ..contracts import Record
from ..errors import RunFailedError, problem
from .shapes import OWN

FORMAT = 1
KEPT_DAYS = 30  # stores that nobody has opened for so long are removed

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
_encode_sorted = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str, sort_keys=True).encode


def digest(record: Record, keys: Iterable[str] | None = OWN) -> bytes:
    """16 bytes of what makes the record (of all its columns where `keys` is None), whatever the order of its fields."""
    held = record if keys is None else {key: record[key] for key in keys if key in record}
    return hashlib.blake2b(_encode_sorted(held).encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Records(Sequence[Record]):
    """Records in memory or in a store; a view where `rows` picks some. Can be sent to another process."""

    def __init__(
        self, held: _Store | _Memory | _Joined, rows: np.ndarray | None = None, facts: dict[str, Any] | None = None
    ):
        self._held, self._rows = held, rows
        self.facts: dict[str, Any] = held.facts if facts is None else facts

    @classmethod
    def of(cls, records: Sequence[Record], name: str = "record") -> Records:
        """Records that stand in memory; `where` counts them from 1 behind `name`."""
        return cls(_Memory(list(records), name))

    @classmethod
    def joined(cls, parts: Sequence[Records]) -> Records:
        """One after the other; `source` is the number of the part."""
        return cls(_Joined(list(parts)))

    def __len__(self) -> int:
        return len(self._held) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> Record | Records:
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        return self._held.record(self._row(index))

    def __iter__(self) -> Iterator[Record]:
        return (self._held.record(row) for row in (range(len(self)) if self._rows is None else self._rows))

    def where(self, index: int) -> str:
        """Where the record stood: "train.jsonl:7312"."""
        return self._held.where(self._row(index))

    def source(self, index: int) -> int:
        """Which of the inputs the record came from."""
        return self._held.source(self._row(index))

    @property
    def sources(self) -> np.ndarray:
        """(records,) which of the inputs each came from."""
        return self._picked(self._held.sources())

    def select(self, indices: Sequence[int] | np.ndarray) -> Records:
        """A view of some records, in the order given."""
        picked = np.asarray(indices, dtype=np.int64)
        return Records(self._held, picked if self._rows is None else self._rows[picked], self.facts)

    @property
    def digests(self) -> np.ndarray:
        """(records, 2) uint64: equal where the records are, whatever columns stand beside them."""
        return self._picked(self._held.digests())

    @property
    def whole_digests(self) -> np.ndarray:
        """(records, 2) uint64, with all columns."""
        return self._picked(self._held.whole_digests())

    def _picked(self, values: np.ndarray) -> np.ndarray:
        return values if self._rows is None else values[self._rows]

    def _row(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        index = index % len(self)
        return int(index if self._rows is None else self._rows[index])


class _Memory:
    def __init__(self, records: list[Record], name: str):
        self._records, self._name = records, name
        self.facts: dict[str, Any] = {"records": len(records), "inputs": []}

    def __len__(self) -> int:
        return len(self._records)

    def record(self, row: int) -> Record:
        return self._records[row]

    def where(self, row: int) -> str:
        return f"{self._name} {row + 1}"

    def source(self, row: int) -> int:
        return 0

    def sources(self) -> np.ndarray:
        return np.zeros(len(self), np.int64)

    def digests(self) -> np.ndarray:
        return _pairs(b"".join(map(digest, self._records)))

    def whole_digests(self) -> np.ndarray:
        return _pairs(b"".join(digest(record, None) for record in self._records))


class _Joined:
    def __init__(self, parts: list[Records]):
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self.facts: dict[str, Any] = {
            "records": int(self._ends[-1]),
            "inputs": [one for part in parts for one in part.facts["inputs"]],
            "notes": [note for part in parts for note in part.facts.get("notes", [])],
        }
        if any("labels" in part.facts for part in parts):
            counts = sum((Counter(part.facts.get("labels", {})) for part in parts), Counter[str]())
            self.facts["labels"] = dict(sorted(counts.items()))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _at(self, row: int) -> tuple[int, int]:
        part = int(np.searchsorted(self._ends, row, side="right"))
        return part, row - (int(self._ends[part - 1]) if part else 0)

    def record(self, row: int) -> Record:
        part, inside = self._at(row)
        return self._parts[part][inside]

    def where(self, row: int) -> str:
        part, inside = self._at(row)
        return self._parts[part].where(inside)

    def source(self, row: int) -> int:
        return self._at(row)[0]

    def sources(self) -> np.ndarray:
        return np.repeat(np.arange(len(self._parts)), [len(part) for part in self._parts])

    def digests(self) -> np.ndarray:
        return np.concatenate([part.digests for part in self._parts])

    def whole_digests(self) -> np.ndarray:
        return np.concatenate([part.whole_digests for part in self._parts])


def _pairs(digests: bytes | bytearray) -> np.ndarray:
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


class _Store:
    """A folder that a `Writer` has filled, memory-mapped."""

    def __init__(self, folder: Path, temporary: bool = False):
        self._folder, self._temporary = folder, temporary
        description = files.read_json(folder / "store.json")
        self.facts: dict[str, Any] = description["facts"]
        self._files: list[str] = description["files"]
        self._inputs: list[int] = description["inputs"]
        self._offsets, self._places = self._load("offsets"), self._load("places")
        with open(folder / "records.jsonl", "rb") as file:
            self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(self._lines) != self._offsets[-1]:
            raise ValueError(f"{folder} is damaged")
        if temporary:
            weakref.finalize(self, shutil.rmtree, folder.parent, ignore_errors=True)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Store, (self._folder,)  # the process that made a temporary folder removes it

    def __len__(self) -> int:
        return len(self._places)

    def record(self, row: int) -> Record:
        record: Record = json.loads(self._lines[self._offsets[row] : self._offsets[row + 1]])
        return record

    def where(self, row: int) -> str:
        file, place = self._places[row]
        return place_name(self._files[file], int(place))

    def source(self, row: int) -> int:
        return self._inputs[self._places[row][0]]

    def sources(self) -> np.ndarray:
        return np.asarray(self._inputs, np.int64)[self._places[:, 0]]

    def digests(self) -> np.ndarray:
        return self._load("digests")

    def whole_digests(self) -> np.ndarray:
        return self._load("whole_digests")

    def _load(self, name: str) -> np.ndarray:
        values: np.ndarray = np.load(self._folder / f"{name}.npy", mmap_mode="r")
        return values


def place_name(file: str, place: int) -> str:
    return f"{file}:{place}" if place > 0 else f"{file} record {-place}"


class Writer:
    """Fills a store: `add` records, then `finish`. Left without `finish`, it leaves nothing behind."""

    def __init__(self, folder: Path, names: list[str], inputs: list[int], temporary: bool = False):
        self._folder, self._names, self._inputs, self._temporary = folder, names, inputs, temporary
        self._offsets, self._places = array("q", [0]), array("i")
        self._digests, self._wholes = bytearray(), bytearray()
        self._end = 0

    def __enter__(self) -> Writer:
        self._aside = self._folder.with_name(f".{self._folder.name}.{os.getpid()}.part")
        shutil.rmtree(self._aside, ignore_errors=True)
        files.before("mkdir", self._aside)
        self._aside.mkdir(parents=True)
        self._lines = open(self._aside / "records.jsonl", "wb", buffering=1 << 20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        shutil.rmtree(self._aside, ignore_errors=True)
        if self._temporary and not self._folder.exists():
            shutil.rmtree(self._folder.parent, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            fix = "free some space, or set SEEKTUNE_CACHE to another folder"
            raise RunFailedError(
                problem(str(self._folder.parent), f"cannot store records ({error.strerror})", fix=fix)
            ) from error

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def add(self, record: Record, file: int, place: int) -> None:
        """Raises UnicodeEncodeError where a text holds half a character."""
        line = _encode(record).encode() + b"\n"
        content = digest(record)
        self._lines.write(line)
        self._end += len(line)
        self._offsets.append(self._end)
        self._places.extend((file, place))
        self._digests += content
        self._wholes += content if record.keys() <= _own else digest(record, None)

    def finish(self, facts: dict[str, Any]) -> Records:
        """Close the store, rename it to its folder and open it."""
        files.sync(self._lines)
        self._lines.close()
        arrays: dict[str, np.ndarray] = {
            "offsets": np.frombuffer(self._offsets, np.int64),
            "places": np.frombuffer(self._places, np.int32).reshape(-1, 2),
            "digests": _pairs(self._digests),
            "whole_digests": _pairs(self._wholes),
        }
        for name, values in arrays.items():
            with open(self._aside / f"{name}.npy", "wb") as file:
                np.save(file, values)
                files.sync(file)
        description = {"format": FORMAT, "facts": facts, "files": self._names, "inputs": self._inputs}
        files.write_json(self._aside / "store.json", description)
        if stored(self._folder) is None:  # another process may have been faster
            files.replace_folder(self._aside, self._folder)
        return Records(_Store(self._folder, self._temporary))


_own = set(OWN)


# The cache


def cache_folder(wanted: Path | None = None) -> tuple[Path, bool]:
    """Where stores are kept (SEEKTUNE_CACHE, else ~/.cache/seektune), and whether it is a temporary one instead,
    because that folder cannot be written."""
    if wanted is None:
        wanted = Path(os.environ.get("SEEKTUNE_CACHE") or Path.home() / ".cache" / "seektune") / "records"
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        if os.access(wanted, os.W_OK):
            return wanted, False
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="seektune-")), True


def stored(folder: Path) -> Records | None:
    """The records of a finished store, if there is one of our format."""
    try:
        if files.read_json(folder / "store.json")["format"] != FORMAT:
            return None
        records = Records(_Store(folder))
        os.utime(folder)
    except (OSError, ValueError, KeyError):
        return None
    return records


def forget_old(cache: Path) -> None:
    """Remove the stores that were not opened for a month."""
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    for folder in cache.iterdir():
        if folder.is_dir() and folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)
