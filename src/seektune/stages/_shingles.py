"""Texts as sets of character shingles, their MinHash signatures and the bands in which near texts meet; many texts at once.

MinHash: Broder 1997, "On the resemblance and containment of documents". Bands: Leskovec, Rajaraman, Ullman, "Mining of
Massive Datasets", section 3.4. All in numpy, over blocks of text that fit into a processor's cache; tests compare with
datasketch, which takes one text at a time.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

LONGEST = 1 << 20  # characters of a text that count for being near; equal texts are compared whole
BLOCK = 1 << 17  # characters that are hashed at a time
FOUND = 0.97  # share of pairs exactly at the threshold that should meet in a band

_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # of splitmix64 (Steele, Lea, Flood 2014)


def normalised(text: str) -> str:
    """Full-width forms as plain ones, no capitals, one space between words: texts that differ in nothing else are equal."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_digest(text: str) -> bytes:
    """16 bytes of a normalised text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def mixed(values: np.ndarray) -> np.ndarray:
    """uint64 whose bits all depend on all bits."""
    values = (values ^ (values >> np.uint64(30))) * _MIX[0]
    values = (values ^ (values >> np.uint64(27))) * _MIX[1]
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed


def windows(codes: np.ndarray, length: int) -> np.ndarray:
    """uint64 of each run of `length` numbers: (n - length + 1,)."""
    count = len(codes) - length + 1
    hashes = np.zeros(count, np.uint64)
    wide = codes.astype(np.uint64)
    for at in range(length):
        hashes *= _BASE
        hashes += wide[at : at + count]
    return mixed(hashes)


@dataclass(frozen=True)
class Shingles:
    """Runs of `length` characters; in text that is mostly Chinese of about half as many, as a character says more there."""

    length: int = 5

    def of(self, text: str) -> np.ndarray:
        """The set of a normalised text: sorted uint32."""
        hashes, _ = self.block([text])
        return np.unique(hashes)

    def block(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(hashes of all shingles one text after the other, uint32; where each text's begin). Texts are not empty."""
        parts = [self._codes(text) for text in texts]
        lengths = np.array([self._length_in(codes) for codes in parts])
        parts = [
            codes if len(codes) >= n else np.pad(codes, (0, n - len(codes)))
            for codes, n in zip(parts, lengths, strict=True)
        ]
        sizes = np.array([len(codes) for codes in parts])
        counts = sizes - lengths + 1
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        hashes = np.empty(counts.sum(), np.uint32)
        for length in set(lengths.tolist()):
            self._fill(hashes, parts, starts, length, np.flatnonzero(lengths == length))
        return hashes, starts

    def _fill(
        self, hashes: np.ndarray, parts: list[np.ndarray], starts: np.ndarray, length: int, which: np.ndarray
    ) -> None:
        """Hash the texts of one shingle length end to end, and leave out the runs that lie over a border."""
        found = windows(np.concatenate([parts[i] for i in which]), length) >> np.uint64(32)
        at = 0
        for i in which:
            count = len(parts[i]) - length + 1
            hashes[starts[i] : starts[i] + count] = found[at : at + count]
            at += len(parts[i])

    def _codes(self, text: str) -> np.ndarray:
        return np.frombuffer(text[:LONGEST].encode("utf-32-le", "surrogatepass"), np.uint32)

    def _length_in(self, codes: np.ndarray) -> int:
        chinese = np.count_nonzero((codes >= 0x3400) & (codes <= 0x9FFF))
        return (self.length + 1) // 2 if 2 * chinese > len(codes) else self.length


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """Shared elements of two sorted sets among all of them."""
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / (len(one) + len(other) - both)


@dataclass(frozen=True)
class Signatures:
    """MinHash: the least of a set under each of `permutations` hash functions; equal for two sets with the chance of their Jaccard."""

    permutations: int = 128

    def of(self, hashes: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """(permutations, texts) uint32."""
        made = np.empty((self.permutations, len(starts)), np.uint32)
        work = np.empty_like(hashes)
        for row, (change, factor) in zip(made, _functions(self.permutations), strict=True):
            np.bitwise_xor(hashes, change, out=work)
            np.multiply(work, factor, out=work)
            np.minimum.reduceat(work, starts, out=row)
        return made


@lru_cache
def _functions(count: int) -> list[tuple[np.uint32, np.uint32]]:
    """x -> (x ^ change) * odd factor, modulo 2^32: one-to-one, the same in every process."""
    random = np.random.default_rng(1)
    drawn = random.integers(0, 1 << 32, (count, 2), dtype=np.uint32)
    return [(change, factor | np.uint32(1)) for change, factor in drawn]


@dataclass(frozen=True)
class Bands:
    """A signature cut into `count` bands of `rows`; texts meet where they are equal in a whole band."""

    count: int
    rows: int

    @classmethod
    def at(cls, threshold: float, permutations: int) -> Bands:
        """The longest bands (fewest false meetings) in which pairs at the threshold still meet as surely as `FOUND`."""
        fitting = [cls(permutations // r, r) for r in range(1, permutations + 1)]
        return [bands for bands in fitting if bands.chance(threshold) >= FOUND or bands.rows == 1][-1]

    def chance(self, similarity: float) -> float:
        """That two texts of this Jaccard meet: 1 - (1 - s^rows)^count."""
        return float(1 - (1 - similarity**self.rows) ** self.count)

    def of(self, signatures: np.ndarray) -> np.ndarray:
        """(count, texts) uint64 from (permutations, texts)."""
        made = np.zeros((self.count, signatures.shape[1]), np.uint64)
        for number, row in enumerate(signatures[: self.count * self.rows]):
            band = made[number // self.rows]
            band[:] = mixed(band ^ (row.astype(np.uint64) * _BASE))
        return made


def banded(texts: Sequence[str], shingles: Shingles, signatures: Signatures, bands: Bands) -> np.ndarray:
    """(bands, texts) uint64 of normalised texts, none of them empty."""
    made = [bands.of(signatures.of(*shingles.block(block))) for block in _blocks(texts)]
    return np.concatenate(made, axis=1) if made else np.empty((bands.count, 0), np.uint64)


def _blocks(texts: Sequence[str]) -> Iterator[list[str]]:
    block, size = list[str](), 0
    for text in texts:
        block.append(text)
        size += min(len(text), LONGEST)
        if size >= BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block
