"""Runs of words that a text shares with the records of evaluation sets.

A word is a run of letters or digits; each Chinese or Japanese character counts as one. Words that a segmenter finds depend
on what stands around them, so a copied sentence could be cut otherwise where it begins and ends; characters cannot.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ._shingles import normalised, windows
from ._words import HAN

COMMON = (
    32  # records of one evaluation set in which a run may stand; more often it is a phrase of the set, not its content
)
Texts = list[str]  # of one record

_units = re.compile(rf"[{HAN}\u3040-\u30ff]|[^\W_{HAN}\u3040-\u30ff]+")


def units(text: str) -> list[str]:
    return _units.findall(normalised(text))


def whole(parts: Sequence[list[str]]) -> int:
    """One number for all words of a record: what texts shorter than a run are compared by."""
    joined = " ".join(itertools.chain.from_iterable(parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Hit:
    """The evaluation record that a text overlaps with most."""

    owner: int
    share: float  # of the runs of the one that has fewer


@dataclass
class Runs:
    """Runs of `n` words of several records: each once per record, in the order of the records."""

    runs: np.ndarray  # uint64
    records: np.ndarray  # int64, which one each stands in


def runs_of(batch: Sequence[Sequence[list[str]]], number: Callable[[str], int], n: int) -> Runs:
    """`batch`: words of each text of each record; `number`: of a word, from 1."""
    ids, records = array("q"), list[int]()
    for parts in batch:
        before = len(ids)
        for part in parts:
            ids.extend(map(number, part))
            ids.append(0)  # no run goes over the end of a text
        records.append(len(ids) - before)
    codes = np.frombuffer(ids, np.int64) if ids else np.empty(0, np.int64)
    if len(codes) < n:
        return Runs(np.empty(0, np.uint64), np.empty(0, np.int64))
    ends = np.concatenate([[0], np.cumsum(codes == 0)])
    inside = ends[n:] == ends[:-n]
    found, owner = windows(codes, n)[inside], np.repeat(np.arange(len(batch)), records)[: len(codes) - n + 1][inside]
    order = np.lexsort((found, owner))
    found, owner = found[order], owner[order]
    new = np.ones(len(found), bool)
    new[1:] = (found[1:] != found[:-1]) | (owner[1:] != owner[:-1])
    return Runs(found[new], owner[new])


@dataclass
class Index:
    """Where each run of the evaluation sets stands: 12 bytes a run.

    A text of at least 2 n words is a piece by itself, so that a question is found without its answer; what is shorter goes
    together as one piece of its record.
    """

    n: int
    _numbers: _More = field(default_factory=lambda: _More())
    _wholes: dict[int, int] = field(default_factory=dict)  # of pieces without a run
    _runs: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    _pieces: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))  # of each run
    _sizes: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # runs of each piece
    _owners: array[int] = field(default_factory=lambda: array("i"))  # evaluation record of each piece

    @classmethod
    def of(cls, records: Iterable[Texts], n: int) -> Index:
        made, runs, at, wholes, count = cls(n), list[np.ndarray](), list[np.ndarray](), list[int](), 0
        for batch in _batches(records):
            pieces = list[list[list[str]]]()
            for texts in batch:
                own = _pieces([units(text) for text in texts], n)
                made._owners.extend([count] * len(own))
                pieces += own
                count += 1
            found = runs_of(pieces, made._numbers.__getitem__, n)
            runs.append(found.runs)
            at.append((found.records + len(wholes)).astype(np.int32))
            wholes += map(whole, pieces)
        made._settle(runs, at, wholes)
        return made

    def _settle(self, runs: list[np.ndarray], pieces: list[np.ndarray], wholes: list[int]) -> None:
        """Sort the runs, leave out the common ones; pieces that have none left are found where they are the whole text."""
        if runs:
            joined = np.concatenate(runs)
            order = np.argsort(joined, kind="stable")
            _, of_each, counts = np.unique(joined[order], return_inverse=True, return_counts=True)
            rare = counts[of_each] <= COMMON
            self._runs, self._pieces = joined[order][rare], np.concatenate(pieces)[order][rare]
        self._sizes = np.bincount(self._pieces, minlength=len(wholes))
        for piece in np.flatnonzero(self._sizes == 0).tolist():
            self._wholes.setdefault(wholes[piece], self._owners[piece])

    def find(self, batch: Sequence[Texts]) -> list[Hit | None]:
        """For each record the evaluation record that it shares most with; None where nothing is shared."""
        words, known = [[units(text) for text in texts] for texts in batch], self._numbers.get
        more = _More(len(self._numbers) + 1)  # for words of no evaluation set, forgotten after the batch
        found = runs_of(words, lambda word: known(word) or more[word], self.n)
        hits: list[Hit | None] = [None] * len(batch)
        for record, hit in self._best(found, len(batch)):
            hits[record] = hit
        for record, parts in enumerate(words):
            if self._wholes and any(parts) and (owner := self._wholes.get(whole(parts))) is not None:
                hits[record] = Hit(owner, 1.0)
        return hits

    def _best(self, found: Runs, records: int) -> Iterator[tuple[int, Hit]]:
        """(record, its best hit) of those that share a run."""
        first, last = (np.searchsorted(self._runs, found.runs, side) for side in ("left", "right"))
        counts = last - first
        at = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
        met = np.repeat(found.records, counts) * max(1, len(self._sizes)) + self._pieces[at]
        pairs, shared = np.unique(met, return_counts=True)
        record, piece = np.divmod(pairs, max(1, len(self._sizes)))
        own = np.bincount(found.records, minlength=records)
        share = shared / np.minimum(own[record], self._sizes[piece])
        order = np.lexsort((piece, -share, record))
        _, lead = np.unique(record[order], return_index=True)
        for best in order[lead]:
            yield int(record[best]), Hit(self._owners[int(piece[best])], float(share[best]))


def _pieces(parts: list[list[str]], n: int) -> list[list[list[str]]]:
    """The texts of one record as pieces; none where there are no words."""
    long, short = [part for part in parts if len(part) >= 2 * n], [part for part in parts if 0 < len(part) < 2 * n]
    together = short and (not long or any(len(part) >= n for part in short))
    return [[part] for part in long] + ([short] if together else [])


class _More(dict[str, int]):
    """Numbers for words as they come, from `start` on."""

    def __init__(self, start: int = 1):
        super().__init__()
        self._start = start

    def __missing__(self, word: str) -> int:
        self[word] = number = self._start + len(self)
        return number


def _batches(records: Iterable[Texts], size: int = 512) -> Iterator[list[Texts]]:
    stream = iter(records)
    while batch := list(itertools.islice(stream, size)):
        yield batch
