"""Records as TF-IDF vectors of unit length, kept on disk batch by batch, so that memory stays flat however many there are.

Words are hashed to columns, so no vocabulary has to be held. A term counts as often as it stands in the record, times
ln((1 + n) / (1 + records that hold it)) + 1, which is scikit-learn's smoothed inverse document frequency.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Record
from ..data.workers import Pool
from ._each import WORTH_PROCESSES
from ._need import need
from ._texts import text_of
from ._words import words
from ._work import Work

COLUMNS = 1 << 18  # two in a thousand words of a vocabulary of 500 share a column; a collision costs a little likeness
BATCH = 1024


def terms(text: str) -> list[str]:
    """The words and numbers of a text in lower case."""
    return [word.lower() for word in words(text)]


@dataclass
class Counted:
    """Batches of texts to sparse counts (texts, COLUMNS) float32; picklable."""

    asked_by: str

    def __call__(self, texts: list[str]) -> Any:
        made = need("sklearn.feature_extraction.text", self.asked_by).HashingVectorizer(
            analyzer=terms, n_features=COLUMNS, norm=None, alternate_sign=False, dtype=np.float32
        )
        return made.transform(texts)


class Vectors:
    """The counts of many records on disk, and how many records hold each term. `weighted` reads them as unit vectors."""

    def __init__(self, records: Iterable[Record], column: str | None, work: Work, asked_by: str):
        self._sparse = need("scipy.sparse", asked_by)
        self._folder = Path(tempfile.mkdtemp(prefix="seektune-tfidf-", dir=work.cache))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._batches = 0
        self.count, self.frequency = 0, np.zeros(COLUMNS, np.int64)
        texts = (text_of(record, column) for record in records)
        first = list(itertools.islice(texts, WORTH_PROCESSES))
        used = work.processes if work.processes > 1 and len(first) == WORTH_PROCESSES else 0
        with Pool(Counted(asked_by), used) as pool:
            for counts in pool.map(_batches(itertools.chain(first, texts))):
                self._keep(counts)

    def _keep(self, counts: Any) -> None:
        self._sparse.save_npz(self._path(self._batches), counts, compressed=False)
        self._batches += 1
        self.count += counts.shape[0]
        self.frequency += np.bincount(counts.indices, minlength=COLUMNS)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.npz"

    def weighted(self, weights: np.ndarray) -> Iterator[Any]:
        """Sparse (records of a batch, COLUMNS) rows of length 1, or 0 where a record has no words."""
        for number in range(self._batches):
            yield unit(self._sparse.load_npz(self._path(number)), weights)


def inverse_frequency(*held: Vectors) -> np.ndarray:
    """(COLUMNS,) float32: the weight of each term over all records of these."""
    count = sum(one.count for one in held)
    frequency = sum(one.frequency for one in held)
    return (np.log((1 + count) / (1 + frequency)) + 1).astype(np.float32)


def unit(counts: Any, weights: np.ndarray) -> Any:
    """Counts times weights, each row scaled to length 1."""
    made = counts.multiply(weights[None]).tocsr()
    return need("sklearn.preprocessing", "TF-IDF").normalize(made, copy=False)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    stream = iter(texts)
    while batch := list(itertools.islice(stream, BATCH)):
        yield batch
