"""Which records are alike: the same, the same but for case and spaces, nearly the same, or part of a repeated frame.

Equal ones are found among all records by a hash each. Near ones are found in a sample only, by MinHash over character
shingles (Broder 1997) with banding (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3); the stage
`deduplicate` does that for all.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

SHINGLE = 5  # characters
HASHES, BANDS = 64, 16
NEAR = 0.8  # estimated share of common shingles
COVERED = 1500  # characters of a text that are compared
SHOWN = 12  # clusters


def groups(hashes: np.ndarray) -> list[np.ndarray]:
    """Rows of the same hash, where there are several: largest first, then in the order of the file. (n,) uint64."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    edges = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1], True])
    found = [order[a:b] for a, b in itertools.pairwise(edges) if b - a > 1]
    return sorted(found, key=lambda rows: (-len(rows), rows[0]))


def signatures(texts: Sequence[str]) -> np.ndarray:
    """(texts, HASHES) uint64: the smallest value of each hash function over the shingles of a text."""
    random = np.random.default_rng(17)
    factors = random.integers(1, 1 << 62, HASHES, dtype=np.uint64) | np.uint64(1)
    made = np.empty((len(texts), HASHES), np.uint64)
    for i, text in enumerate(texts):
        made[i] = (_shingles(text)[:, None] * factors).min(axis=0)
    return made


def _shingles(text: str) -> np.ndarray:
    """(shingles,) uint64, one of each that occurs."""
    codes = np.frombuffer(text[:COVERED].encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
    if len(codes) < SHINGLE:
        codes = np.pad(codes, (0, SHINGLE - len(codes)))
    mixed = np.zeros(len(codes) - SHINGLE + 1, np.uint64)
    for step in range(SHINGLE):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + codes[step : len(codes) - SHINGLE + 1 + step]
    mixed ^= mixed >> np.uint64(31)
    return np.unique(mixed * np.uint64(0xBF58476D1CE4E5B9))


def near_clusters(texts: Sequence[str], least: float = NEAR) -> list[list[int]]:
    """Indices of texts that are near each other by way of neighbours: largest cluster first."""
    signed = signatures(texts)
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    rows = HASHES // BANDS
    for band in range(BANDS):
        buckets: dict[bytes, int] = {}
        for i in range(len(texts)):
            first = buckets.setdefault(signed[i, band * rows : (band + 1) * rows].tobytes(), i)
            a, b = root(first), root(i)
            if a != b and (signed[first] == signed[i]).mean() >= least:
                parent[max(a, b)] = min(a, b)
    members: dict[int, list[int]] = defaultdict(list)
    for i in range(len(texts)):
        members[root(i)].append(i)
    return sorted((found for found in members.values() if len(found) > 1), key=lambda found: (-len(found), found[0]))


def frames(texts: Sequence[str], share: float = 0.01, least: int = 5) -> list[dict[str, Any]]:
    """Lines and beginnings that stand in many different texts: signatures, disclaimers, "as an AI language model"."""
    lines, starts = Counter[str](), Counter[str]()
    first: dict[str, int] = {}
    for i, text in enumerate(texts):
        found = {line.strip() for line in text.split("\n") if len(line.strip()) >= 20}
        lines.update(found)
        start = text.strip()[:30]
        starts.update([start] if len(text.strip()) > 60 else [])
        for one in [*found, start]:
            first.setdefault(one, i)
    bar = max(least, share * len(texts))
    told: list[dict[str, Any]] = [
        {"text": text, "count": count, "as": "line", "index": first[text]}
        for text, count in lines.items()
        if count >= bar
    ]
    told += [{"text": text, "count": count, "as": "beginning", "index": first[text]} for text, count in starts.items()
             if count >= bar and not any(one["text"].startswith(text) for one in told)]  # fmt: skip
    return sorted(told, key=lambda one: (-one["count"], one["index"]))[:SHOWN]
