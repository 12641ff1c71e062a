"""Words and their translations, learnt from parallel texts alone: IBM model 1 in both directions, and the links that both see.

Brown et al. 1993 (Computational Linguistics 19:2): each word of one side comes of one word of the other, or of none (NULL), all
places alike; expectation-maximisation over t(f|e) has one optimum. Every pair of words that stand in one record is one entry of
flat arrays, so that a step is four sums over them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

LONGEST = 60  # words of a side; longer texts have too many pairs and tell little
MOST = 8_000_000  # pairs of words in all, some 50 bytes each; records beyond are not learnt from
NULL = 0  # id of no word


@dataclass
class Lexicon:
    """`entries`: word -> [(translation, p)], likeliest first; p is the share of the word's places that link there.

    `agreement`: links seen in both directions among those seen in any.
    """

    entries: dict[str, list[tuple[str, float]]]
    agreement: float
    records: int


def learn(
    pairs: Iterable[tuple[Sequence[str], Sequence[str]]],
    *,
    iterations: int = 5,
    count: int = 2,
    probability: float = 0.3,
) -> Lexicon:
    """From the words of both sides of each record. An entry has at least `count` links, at `probability` of its word's places."""
    left, right, records, room = _Side(), _Side(), 0, MOST
    for a, b in pairs:
        if not 0 < len(a) <= LONGEST or not 0 < len(b) <= LONGEST:
            continue
        if (room := room - (len(a) + 1) * (len(b) + 1)) < 0:
            break
        left.add(a)
        right.add(b)
        records += 1
    if not records:
        return Lexicon({}, 0.0, 0)
    there = _links(align(left.texts, right.texts, iterations))
    back = _links(align(right.texts, left.texts, iterations))
    back = back[:, [0, 2, 1]]  # (record, place on the left, place on the right)
    both = np.intersect1d(_keys(there), _keys(back))
    either = np.union1d(_keys(there), _keys(back))
    entries = _entries(both, left, right, count, probability)
    return Lexicon(entries, len(both) / max(1, len(either)), records)


@dataclass
class Alignment:
    """Pairs (source place, target place) of all records in flat arrays, and how likely the target word came of the source's.

    A source place of -1 is NULL.
    """

    record: np.ndarray  # (pairs,) int32
    source: np.ndarray  # (pairs,) int32: place in the record
    target: np.ndarray  # (pairs,) int32
    token: np.ndarray  # (pairs,) int32: number of the target word among all of them
    posterior: np.ndarray  # (pairs,) float64; sums to 1 over the pairs of one target word
    words: np.ndarray  # (entries, 2) int64: source word and target word of each entry of the table
    t: np.ndarray  # (entries,) float64: t(target | source)
    log_likelihood: list[float]  # before each step; never falls


def align(source: list[np.ndarray], target: list[np.ndarray], iterations: int) -> Alignment:
    """EM from a uniform table. `source`, `target`: word ids (> 0) of each record."""
    record, place, at, token, e, f = _pairs(source, target)
    width = int(f.max()) + 1
    keys, pair = np.unique(e.astype(np.int64) * width + f, return_inverse=True)
    sources = keys // width
    tokens = int(token[-1]) + 1
    options = np.bincount(token, minlength=tokens)  # source words, and NULL, of each target word
    t = np.full(len(keys), 1.0 / (width - 1))
    told, weight = [], np.zeros(0)
    for _ in range(iterations):
        likely = t[pair]
        total = np.bincount(token, likely, tokens)
        told.append(float(np.log(total / options).sum()))
        weight = likely / total[token]
        counts = np.bincount(pair, weight, len(keys))
        t = counts / np.bincount(sources, counts)[sources]
    likely = t[pair]
    weight = likely / np.bincount(token, likely, tokens)[token]
    return Alignment(record, place, at, token, weight, np.stack([sources, keys % width], 1), t, told)


def _pairs(source: list[np.ndarray], target: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """(record, source place, target place, number of the target word, source word, target word), all (pairs,)."""
    columns: list[list[np.ndarray]] = [[] for _ in range(6)]
    before = 0
    for number, (es, fs) in enumerate(zip(source, target, strict=True)):
        m, n = len(es) + 1, len(fs)
        at = np.repeat(np.arange(n), m)
        made = (np.full(m * n, number), np.tile(np.arange(-1, m - 1), n), at, before + at,
                np.tile(np.concatenate([[NULL], es]), n), np.repeat(fs, m))  # fmt: skip
        for column, values in zip(columns, made, strict=True):
            column.append(values.astype(np.int32))
        before += n
    return tuple(np.concatenate(column) for column in columns)


def _links(found: Alignment) -> np.ndarray:
    """(links, 3): record, source place and target place of the likeliest source of each target word; none where that is NULL."""
    place = np.where(found.source < 0, LONGEST, found.source)
    order = np.lexsort((place, -found.posterior, found.token))  # of equals the first place, NULL last
    first = order[np.unique(found.token[order], return_index=True)[1]]
    chosen = first[found.source[first] >= 0]
    return np.stack([found.record[chosen], found.source[chosen], found.target[chosen]], 1)


def _keys(links: np.ndarray) -> np.ndarray:
    """One number for each link."""
    return (links[:, 0].astype(np.int64) * LONGEST + links[:, 1]) * LONGEST + links[:, 2]


class _Side:
    """The words of one side, numbered from 1 as they come."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.texts: list[np.ndarray] = []

    def add(self, words: Sequence[str]) -> None:
        self.texts.append(np.array([self.ids.setdefault(word, len(self.ids) + 1) for word in words], np.int64))

    def names(self) -> list[str]:
        return ["", *self.ids]


def _entries(
    keys: np.ndarray, left: _Side, right: _Side, count: int, probability: float
) -> dict[str, list[tuple[str, float]]]:
    seen: dict[int, Counter[int]] = {}
    for key in keys.tolist():
        number, place = divmod(key, LONGEST * LONGEST)
        a, b = divmod(place, LONGEST)
        seen.setdefault(int(left.texts[number][a]), Counter())[int(right.texts[number][b])] += 1
    places = np.bincount(np.concatenate(left.texts))  # how often each word stands anywhere
    names, others = left.names(), right.names()
    entries: dict[str, list[tuple[str, float]]] = {}
    for word, linked in seen.items():
        whole = int(places[word])
        kept = [(others[to], n / whole) for to, n in linked.most_common() if n >= count and n / whole >= probability]
        if kept:
            entries[names[word]] = kept
    return entries
