"""What is kept of each record to find its repetitions: a digest of its text, its length, its bands; made on several processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..data.store import Records
from ..data.workers import Pool
from ._each import WORTH_PROCESSES
from ._shingles import Bands, Shingles, Signatures, banded, normalised, text_digest
from ._texts import text_of
from ._work import Work

BATCH = 512  # records of one piece of work


@dataclass
class Sketches:
    """Some 30 bytes of each record, and 8 for each band."""

    digests: np.ndarray  # (records, 2) uint64 of normalised texts
    lengths: np.ndarray  # (records,) int32 characters; 0: no text
    bands: np.ndarray  # (bands, records) uint64; no rows where only equal texts are looked for


@dataclass(frozen=True)
class Sketcher:
    """Reads its part of the records by itself, so that only numbers travel between processes."""

    held: Records
    column: str | None
    shingles: Shingles
    signatures: Signatures
    bands: Bands | None

    def text(self, number: int) -> str:
        return normalised(text_of(self.held[number], self.column))

    def __call__(self, part: tuple[int, int]) -> Sketches:
        texts = [self.text(number) for number in range(*part)]
        lengths = np.array([len(text) for text in texts], np.int32)
        made = np.zeros((self.bands.count if self.bands else 0, len(texts)), np.uint64)
        if self.bands:
            made[:, lengths > 0] = banded([text for text in texts if text], self.shingles, self.signatures, self.bands)
        digests = np.frombuffer(b"".join(map(text_digest, texts)), "<u8").reshape(-1, 2)
        return Sketches(digests, lengths, made)


def sketched(sketcher: Sketcher, work: Work) -> Sketches:
    """Of all records, in order."""
    count = len(sketcher.held)
    rows = sketcher.bands.count if sketcher.bands else 0
    made = Sketches(np.empty((count, 2), np.uint64), np.empty(count, np.int32), np.empty((rows, count), np.uint64))
    show, at = work.show("sketching texts"), 0
    processes = work.processes if work.processes > 1 and count >= WORTH_PROCESSES else 0
    with Pool(sketcher, processes) as pool:
        for part in pool.map(_parts(count)):
            end = at + len(part.lengths)
            made.digests[at:end], made.lengths[at:end], made.bands[:, at:end] = part.digests, part.lengths, part.bands
            at = end
            show(at, count)
    return made


def _parts(count: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + BATCH, count)) for start in range(0, count, BATCH))
