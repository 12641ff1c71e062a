"""Where the states of documents lie: files of many documents each, written once, memory-mapped, found by what was read.

A folder belongs to one model below one layer (its name says all that the bits depend on); in it, a document is found by a
digest of its token ids. Files are written aside and renamed; a damaged one costs the documents that it held, no more.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import struct
import time
import uuid
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from .. import files, runtime
from ..console import size

FORMAT = 1
KEY = "key.json"
SUFFIX = ".states"
HEADER = struct.Struct("<8sIIQ")  # magic, documents, CRC-32 of the index, length of the file
MAGIC = b"seekpfx1"
ENTRY = np.dtype(
    [("high", "<u8"), ("low", "<u8"), ("at", "<u8"), ("bytes", "<u8"), ("check", "<u4"), ("file", "<i4")]
)  # digest of the ids, where the states begin in the file, how many bytes, their CRC-32; `file` is set on reading
BLOCK = 32 << 20  # bytes of states that are gathered in memory before a file is written
LIMIT = 20 << 30  # bytes of all such folders together, where SEEKTUNE_PREFIX_LIMIT says nothing
OPEN = 64  # files that are mapped at once


def root() -> Path:
    return runtime.cache_folder() / "prefix"


def limit_bytes() -> int:
    """Bytes that all prefix caches together may take: SEEKTUNE_PREFIX_LIMIT, or 20 GiB, and at most half of what could be free."""
    if asked := os.environ.get("SEEKTUNE_PREFIX_LIMIT"):
        return int(asked)
    return min(LIMIT, (free_bytes() + sum(_bytes(folder) for folder in _folders())) // 2)


def free_bytes() -> int:
    """Free on the disk that the cache lies on."""
    folder = next(path for path in (root().absolute(), *root().absolute().parents) if path.exists())
    return shutil.disk_usage(folder).free


def name_of(facts: Mapping[str, Any]) -> str:
    """The folder of these facts."""
    text = json.dumps([FORMAT, dict(facts)], ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def digest(ids: np.ndarray) -> tuple[int, int]:
    """A name for what a document reads, in two halves."""
    made = hashlib.blake2b(np.ascontiguousarray(ids, dtype="<i4").data, digest_size=16).digest()
    high, low = struct.unpack("<QQ", made)
    return high, low


@dataclass
class Store:
    """States by document; `news` tells in a line each what went wrong and what was removed. Nothing here raises on a full disk."""

    folder: Path
    limit: int  # bytes that this folder may take
    news: list[str] = field(default_factory=list)
    closed: str = ""  # why nothing more is stored
    bytes: int = 0  # in files
    _index: np.ndarray = field(default_factory=lambda: np.empty(0, ENTRY))
    _sound: set[tuple[int, int]] = field(default_factory=set)  # (file, place) of what was checked in this process
    _files: list[Path] = field(default_factory=list)
    _maps: OrderedDict[int, np.ndarray] = field(default_factory=OrderedDict)
    _waiting: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    _waiting_bytes: int = 0
    _lock: IO[str] | None = None
    _damaged: bool = False

    @classmethod
    def open(cls, facts: Mapping[str, Any], needed: int) -> Store:
        """The folder of these facts. Others give way, the one that was used longest ago first, where `needed` bytes would not fit."""
        folder, news = root() / name_of(facts), list[str]()
        store = cls(folder, limit_bytes(), news)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            store._lock = _shared(folder)
            held = _bytes(folder)
            if held > needed and held + needed > store.limit:  # full of documents of other data
                news.append(f"the states of other data ({size(held)}) are removed: there is no room for both")
                _empty(folder)
            store.limit -= make_room(folder, max(held, needed), store.limit, news)
            files.write_json(folder / KEY, dict(facts) | {"format": FORMAT, "used": time.time()})
        except OSError as error:
            store._give_up(error)
        store._read()
        return store

    @property
    def documents(self) -> int:
        return len(self._index) + len(self._waiting)

    def find(self, key: tuple[int, int], length: int) -> np.ndarray | None:
        """The states of a document as `length` bytes; None where they are not here, or not whole."""
        if (waiting := self._waiting.get(key)) is not None:
            return waiting
        place = self._place(key)
        if place is None or int(self._index["bytes"][place]) != length:
            return None
        entry = self._index[place]
        number, at = int(entry["file"]), int(entry["at"])
        try:
            found = self._mapped(number)[at : at + length]
        except (OSError, ValueError):  # removed, or emptied, by somebody else
            found = np.empty(0, np.uint8)
        if (number, at) not in self._sound:
            if len(found) != length or zlib.crc32(found.data) != int(entry["check"]):
                self._drop(place)
                return None
            self._sound.add((number, at))
        return found

    def add(self, key: tuple[int, int], states: np.ndarray) -> None:
        if self.closed or key in self._waiting:
            return
        self._waiting[key] = states
        self._waiting_bytes += states.nbytes
        if self._waiting_bytes >= BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write what waits, as one file more."""
        if not self._waiting or self.closed:
            return
        if self.bytes + self._waiting_bytes > self.limit:
            self._stop(f"no more than {size(self.limit)} are kept; what is missing is computed each time")
            return
        path = self.folder / f"{len(self._files):05d}-{uuid.uuid4().hex[:12]}{SUFFIX}"
        index, blob = _file_of(self._waiting)
        try:
            files.write_bytes(path, blob)
        except OSError as error:
            self._give_up(error)
            return
        self._waiting, self._waiting_bytes = {}, 0
        self._take([(path, index)])

    def close(self) -> None:
        self.flush()
        self._maps.clear()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # ---- reading ----

    def _read(self) -> None:
        found = list[tuple[Path, np.ndarray]]()
        for path in sorted(self.folder.glob(f"*{SUFFIX}"), key=lambda p: (_written(p), p.name)):
            if (index := _index_of(path)) is None:
                self.news.append(f"{path.name} is damaged or cut short; its documents are computed anew")
                with contextlib.suppress(OSError):
                    files.remove(path)
            else:
                found.append((path, index))
        self._take(found)

    def _take(self, found: Sequence[tuple[Path, np.ndarray]]) -> None:
        """Add the documents of files; of two states of one document the later counts."""
        parts = [self._index]
        for path, index in found:
            parts.append(index.copy())
            parts[-1]["file"] = len(self._files)
            self._files.append(path)
            self.bytes += int(index["bytes"].sum()) + index.nbytes + HEADER.size
        merged = np.concatenate(parts)
        order = np.lexsort((merged["file"], merged["low"], merged["high"]))
        merged = merged[order]
        last = np.ones(len(merged), bool)
        last[:-1] = (merged["high"][1:] != merged["high"][:-1]) | (merged["low"][1:] != merged["low"][:-1])
        self._index = merged[last]

    def _place(self, key: tuple[int, int]) -> int | None:
        high, low = key
        place = int(np.searchsorted(self._index["high"], np.uint64(high)))
        while place < len(self._index) and int(self._index["high"][place]) == high:
            if int(self._index["low"][place]) == low:
                return place
            place += 1
        return None

    def _mapped(self, number: int) -> np.ndarray:
        if number not in self._maps:
            self._maps[number] = np.memmap(self._files[number], dtype=np.uint8, mode="r")
            if len(self._maps) > OPEN:
                self._maps.popitem(last=False)
        self._maps.move_to_end(number)
        return self._maps[number]

    def _drop(self, place: int) -> None:
        if not self._damaged:
            name = self._files[int(self._index["file"][place])].name
            self.news.append(f"states in {name} are damaged (their CRC-32 is another); they are computed anew")
        self._damaged = True
        self._index = np.delete(self._index, place)

    # ---- giving up ----

    def _give_up(self, error: OSError) -> None:
        """The disk is needed for checkpoints: what lies here is removed, and everything is computed each time."""
        reason = files.refused_by_disk(error) or str(error)
        self._stop(f"the prefix cache is given up ({reason}); what it held is computed each time")
        self._index, self._files, self.bytes = np.empty(0, ENTRY), [], 0
        self._maps.clear()
        with contextlib.suppress(OSError):
            _empty(self.folder)

    def _stop(self, reason: str) -> None:
        self.closed = reason
        self.news.append(reason)
        self._waiting, self._waiting_bytes = {}, 0


def make_room(own: Path, needed: int, limit: int, news: list[str]) -> int:
    """Remove the folders used longest ago until `needed` bytes fit beside the others; returns the bytes of those that stay."""
    others = sorted((folder for folder in _folders() if folder != own), key=lambda folder: _written(folder / KEY))
    held = {folder: _bytes(folder) for folder in others}
    for folder in others:
        if sum(held.values()) + needed <= limit:
            break
        if _in_use(folder):
            continue
        with contextlib.suppress(OSError):  # somebody else's
            files.remove(folder)
            news.append(f"the prefix cache {folder.name[:8]} ({size(held.pop(folder))}) is removed to make room")
    return sum(held.values())


def _folders() -> list[Path]:
    return [path for path in root().glob("*") if path.is_dir() and not path.name.startswith(".")]


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):  # removed meanwhile
            total += path.stat().st_size
    return total


def _written(path: Path) -> int:
    """When a file was written; 0 where it has gone."""
    with contextlib.suppress(OSError):
        return path.stat().st_mtime_ns
    return 0


def _empty(folder: Path) -> None:
    for path in folder.glob(f"*{SUFFIX}"):
        files.remove(path)


def _shared(folder: Path) -> IO[str]:
    """A lock that several runs may hold at once; a folder that is held is not removed."""
    file = open(folder / ".lock", "a+")  # noqa: SIM115 (held as long as the store)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def _in_use(folder: Path) -> bool:
    try:
        with open(folder / ".lock", "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _file_of(waiting: Mapping[tuple[int, int], np.ndarray]) -> tuple[np.ndarray, bytes]:
    """(index, whole content of a file): header, index, states end to end."""
    index = np.zeros(len(waiting), ENTRY)
    at = HEADER.size + index.nbytes
    for number, ((high, low), states) in enumerate(waiting.items()):
        index[number] = (high, low, at, states.nbytes, zlib.crc32(states.data), -1)
        at += states.nbytes
    raw = index.tobytes()
    return index, b"".join(
        [HEADER.pack(MAGIC, len(index), zlib.crc32(raw), at), raw, *(states.data for states in waiting.values())]
    )


def _index_of(path: Path) -> np.ndarray | None:
    """The index of a file; None where the file is not as long as it says, or its index is not what was written."""
    try:
        with open(path, "rb") as file:
            magic, count, check, length = HEADER.unpack(file.read(HEADER.size))
            raw = file.read(count * ENTRY.itemsize) if magic == MAGIC and length == path.stat().st_size else b""
    except (OSError, struct.error):
        return None
    return np.frombuffer(raw, ENTRY) if raw and zlib.crc32(raw) == check else None
