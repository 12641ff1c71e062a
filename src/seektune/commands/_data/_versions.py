"""Two versions of records compared: digests of all of them, and the records themselves only of what differs.

A pass over each side keeps 16 bytes a record (and 8 of its key); a second pass puts those that the other side has not on
disk. Among them a changed record is found by its key, else by the nearest text, else by its place.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ... import files
from ...contracts import Record
from ...data.fingerprint import of_digests
from ...data.options import Input
from ...data.readers import Unfit
from ...data.store import Records
from ...data.stream import Found, stream
from ...errors import DataError, nearest, problem
from ...stages._near import Groups
from ...stages._shingles import Bands, Shingles, Signatures, jaccard
from ...stages._sketches import Sketcher, sketched
from ...stages._spool import spool
from ...stages._work import PLACE, Work, bare, place_of, shortened, whole_digest

NEAR = 0.5  # Jaccard of shingles from which two texts are versions of one
COMPARED = 200_000  # records of both sides together that are compared by their texts
Show = Callable[[str], Callable[[int, int], None]]


@dataclass
class Side:
    """One version: files of records, or no more than what a card or a run tells of them."""

    name: str
    paths: list[str] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)  # fingerprint that stands in a card or data.json
    digests: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.uint64))
    keys: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    unfit: int = 0

    def rows(self, show: Callable[[int, int], None] = lambda done, total: None) -> Iterator[Record]:
        """The records with their places; rows that are none are counted."""
        self.unfit = 0
        for place, row in stream([Input(path=path) for path in self.paths], Found(), show):
            if isinstance(row, Unfit):
                self.unfit += 1
            else:
                yield row | {PLACE: place}

    def read(self, key: str | None, show: Callable[[int, int], None]) -> None:
        """Raises DataError where no record has the key, or two have the same."""
        digests, keys, fields, lacking = bytearray(), bytearray(), dict[str, None](), 0
        for row in self.rows(show):
            digests += whole_digest(row)
            if key is not None:
                keys += _key(row, key)
                lacking += key not in row
                fields.update(dict.fromkeys(bare(row)) if len(fields) < 100 else {})
        self.digests = np.frombuffer(digests, "<u8").reshape(-1, 2)
        self.keys = np.frombuffer(keys, "<u8")
        if key is not None and lacking == len(self.digests):
            raise DataError(problem(self.name, f"no record has {key!r}", "the name of a column", nearest(key, fields)))
        if key is not None and lacking + len(np.unique(self.keys)) - bool(lacking) < len(self.digests):
            raise DataError(
                problem(self.name, f"some records have the same {key!r}", "a column that names each record")
            )

    def fingerprint(self) -> dict[str, Any]:
        return self.told or of_digests(self.digests)


def _key(row: Record, key: str) -> bytes:
    text = json.dumps(row.get(key), ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def side(path: str) -> Side:
    """Files, a folder or a glob; of a card the file that it describes; of a run or its data.json the fingerprint."""
    at = Path(path)
    if (at / "data.json").is_file():
        at = at / "data.json"
    if at.suffix != ".json" or not at.is_file():
        return Side(path, [path])
    held = files.read_json(at)
    if isinstance(held, dict) and isinstance(held.get("output"), dict) and "fingerprint" in held["output"]:
        output = at.with_name(str(held["output"]["file"]))
        return Side(path, [str(output)]) if output.exists() else Side(path, told=held["output"]["fingerprint"])
    if isinstance(held, dict) and "fingerprint" in held:
        return Side(path, told=_of_run(held["fingerprint"]))
    return Side(path, [path])


def _of_run(found: dict[str, Any]) -> dict[str, Any]:
    """A run tells one fingerprint for each of its splits; that of the training records is meant."""
    told: dict[str, Any] = found.get("train", found)
    return told


@dataclass
class Difference:
    """What `compare` finds. Examples hold places and what stands there."""

    a: dict[str, Any]
    b: dict[str, Any]
    compared: bool = True  # False: one side is a fingerprint only
    same: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    matched: Counter[str] = field(default_factory=Counter)  # how changed records were found: key, text, place
    columns: Counter[str] = field(default_factory=Counter)  # in which fields they changed
    examples: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {"added": [], "removed": [], "changed": []}
    )
    notes: list[str] = field(default_factory=list)


def compare(a: Side, b: Side, key: str | None, examples: int, show: Show) -> Difference:
    for one, letter in ((a, "A"), (b, "B")):
        if one.paths:
            one.read(key, show(f"reading {letter}"))
    found = Difference(a.fingerprint(), b.fingerprint(), compared=bool(a.paths and b.paths))
    found.notes += [f"{one.name}: {one.unfit:,} rows are no records and were passed by" for one in (a, b) if one.unfit]
    if not found.compared:
        return found
    gone, come = _only(a.digests, b.digests), _only(b.digests, a.digests)
    found.same = len(a.digests) - int(gone.sum())
    with tempfile.TemporaryDirectory(prefix="seektune-diff-") as folder:
        work = Work(cache=Path(folder), show=show)
        removed, added = _spooled(a, gone, work), _spooled(b, come, work)
        pairs = _pairs(a, b, gone, come, removed, added, key, found, work)
        _tell(found, removed, added, pairs, examples)
    return found


def _only(mine: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(records,) bool: those that the other side has not, or not as often: of equal ones the last are left over."""
    both = np.concatenate([mine, other])
    _, numbers = np.unique(both.view([("a", "<u8"), ("b", "<u8")]).ravel(), return_inverse=True)
    numbers = numbers.ravel()
    have = np.bincount(numbers[len(mine) :], minlength=int(numbers.max()) + 1 if len(numbers) else 0)
    own = numbers[: len(mine)]
    order = np.argsort(own, kind="stable")
    sorted_ = own[order]
    first = np.searchsorted(sorted_, sorted_, "left")
    rank = np.empty(len(own), np.int64)
    rank[order] = np.arange(len(own)) - first
    left: np.ndarray = rank >= have[own]
    return left


def _spooled(one: Side, which: np.ndarray, work: Work) -> Records:
    wanted = iter(which.tolist())
    return spool((row for row in one.rows() if next(wanted)), work)


# Which added record is a removed one, changed


def _pairs(
    a: Side, b: Side, gone: np.ndarray, come: np.ndarray, removed: Records, added: Records,
    key: str | None, found: Difference, work: Work,
) -> dict[int, int]:  # fmt: skip
    """Number among the removed -> number among the added."""
    if key is not None:
        pairs = _by_key(a.keys[gone], b.keys[come])
        found.matched["key"] = len(pairs)
        return pairs
    pairs = dict[int, int]()
    if len(removed) + len(added) <= COMPARED:
        pairs = _by_text(removed, added, work)
    else:
        found.notes.append(
            f"more than {COMPARED:,} records differ: changed ones are not looked for by their texts; --key finds them"
        )
    found.matched["text"] = len(pairs)
    if len(a.digests) == len(b.digests):
        beside = _by_place(np.flatnonzero(gone), np.flatnonzero(come), pairs)
        found.matched["place"] = len(beside)
        pairs |= beside
    return pairs


def _by_key(removed: np.ndarray, added: np.ndarray) -> dict[int, int]:
    _, at, to = np.intersect1d(removed, added, return_indices=True)
    return dict(zip(at.tolist(), to.tolist(), strict=True))


def _by_place(gone: np.ndarray, come: np.ndarray, pairs: dict[int, int]) -> dict[int, int]:
    """Where both sides have as many records: the one that stands where the other stood."""
    taken = set(pairs.values())
    to = {int(row): number for number, row in enumerate(come) if number not in taken}
    return {n: to[int(row)] for n, row in enumerate(gone) if n not in pairs and int(row) in to}


def _by_text(removed: Records, added: Records, work: Work) -> dict[int, int]:
    """Each with the nearest that nobody has taken, from `NEAR` on."""
    if not len(removed) or not len(added):
        return {}
    both = spool(itertools.chain(removed, added), work)
    sketcher = Sketcher(both, None, Shingles(), Signatures(128), Bands.at(NEAR, 128))
    sketches = sketched(sketcher, work)
    groups = Groups.of(sketches.bands, np.flatnonzero(sketches.lengths > 0))
    for number in range(len(removed)):
        groups.keep(number)
    edges = list[tuple[float, int, int]]()
    for number in (np.flatnonzero(sketches.lengths[len(removed) :] > 0) + len(removed)).tolist():
        shingles = sketcher.shingles.of(sketcher.text(number))
        for other in groups.meeting(number):
            near = jaccard(shingles, sketcher.shingles.of(sketcher.text(other)))
            edges.append((near, other, number - len(removed)))
    return _matched(edges)


def _matched(edges: list[tuple[float, int, int]]) -> dict[int, int]:
    """The nearest pairs first; a record is in one pair at most."""
    pairs, taken = dict[int, int](), set[int]()
    for near, at, to in sorted(edges, key=lambda edge: (-edge[0], edge[1], edge[2])):
        if near >= NEAR and at not in pairs and to not in taken:
            pairs[at] = to
            taken.add(to)
    return pairs


# What is told


def _tell(found: Difference, removed: Records, added: Records, pairs: dict[int, int], examples: int) -> None:
    taken = set(pairs.values())
    found.changed, found.removed, found.added = len(pairs), len(removed) - len(pairs), len(added) - len(pairs)
    for number, row in enumerate(removed):
        if number in pairs:
            _tell_change(found, row, added[pairs[number]], examples)
        elif len(found.examples["removed"]) < examples:
            found.examples["removed"].append({"where": place_of(row), "record": shortened(bare(row))})
    for number, row in enumerate(added):
        if number not in taken and len(found.examples["added"]) < examples:
            found.examples["added"].append({"where": place_of(row), "record": shortened(bare(row))})


def _tell_change(found: Difference, before: Record, after: Record, examples: int) -> None:
    one, other = bare(before), bare(after)
    fields = [name for name in dict.fromkeys([*one, *other]) if one.get(name, _absent) != other.get(name, _absent)]
    found.columns.update(fields)
    if len(found.examples["changed"]) < examples:
        told = {name: {"before": shortened(one.get(name)), "after": shortened(other.get(name))} for name in fields}
        found.examples["changed"].append({"where": place_of(before), "to": place_of(after), "fields": told})


_absent = object()
