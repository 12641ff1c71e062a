"""Held-out records: a split by hash that never parts equal records or groups, and the search for leaks and duplicates.

Which side a record falls on depends on its content, its group and the seed, not on where it stands in the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np

from ..contracts import Record
from ..errors import DataError, nearest, problem
from .options import Valid
from .store import Records


def split(records: Records, valid: Valid, seed: int) -> tuple[Records, Records]:
    """(train, valid): `valid.fraction` of the records, never more unless a single group is, short by less than a group.

    Records that are equal, or share the value of the field `valid.group`, are on one side. Records without that field
    are groups of their own. Raises DataError where the two sides cannot both have records.
    """
    assert valid.fraction is not None, "split() makes the validation records; those of `path` are read"
    sets = _numbered(records.digests)
    if valid.group is not None:
        sets = _joined(sets, _groups(records, valid.group))
    sizes = np.bincount(sets)
    if len(sizes) < 2:
        what = f"in one group (`{valid.group}`, or equal)" if valid.group else "equal"
        raise DataError(
            problem(
                "data.valid",
                f"all {len(records):,} records are {what}",
                "at least two that differ",
                "or give valid.path",
            )
        )
    order = np.argsort(_keys(records.digests, sets, seed), kind="stable")
    held_out = np.isin(sets, _taken(order, sizes, max(1, round(valid.fraction * len(records)))))
    return records.select(np.flatnonzero(~held_out)), records.select(np.flatnonzero(held_out))


def leaks(train: Records, valid: Records) -> list[tuple[int, int]]:
    """(index in train, index in valid) of each validation record that is a training record too; the first such one."""
    numbers = _numbered(np.concatenate([train.digests, valid.digests]))
    ours, theirs = numbers[: len(train)], numbers[len(train) :]
    first = np.full(numbers.max(initial=-1) + 1, -1, dtype=np.int64)
    first[ours[::-1]] = np.arange(len(ours))[::-1]
    found = np.flatnonzero(first[theirs] >= 0)
    return [(int(first[theirs[j]]), int(j)) for j in found]


def duplicates(records: Records) -> list[tuple[int, int]]:
    """(first index, later index) of each record that has stood before."""
    numbers = _numbered(records.digests)
    first = np.full(numbers.max(initial=-1) + 1, -1, dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    again = np.flatnonzero(first[numbers] != np.arange(len(numbers)))
    return [(int(first[numbers[j]]), int(j)) for j in again]


def _numbered(digests: np.ndarray) -> np.ndarray:
    """(records,) numbers from 0, equal where the digests are."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    new = np.ones(len(order), dtype=np.int64)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = np.cumsum(new) - 1
    return numbers


def _groups(records: Iterable[Record], name: str) -> np.ndarray:
    """(records,) number of each record's group, -1 where it names none."""
    known: dict[str, int] = {}
    fields: dict[str, None] = {}
    numbers = []
    for record in records:
        value = record.get(name)
        if value is None:
            numbers.append(-1)
            fields.update(dict.fromkeys(record))
        else:
            numbers.append(known.setdefault(json.dumps(value, sort_keys=True, default=str), len(known)))
    if not known:
        raise DataError(problem("data.valid.group", f"no record has a field {name!r}", fix=nearest(name, fields)))
    return np.array(numbers, dtype=np.int64)


def _joined(sets: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Numbers of the sets that arise where equal records and equal groups are joined (union-find over the sets)."""
    parent = list(range(int(sets.max()) + 1))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    first: dict[int, int] = {}
    for number, group in zip(sets.tolist(), groups.tolist(), strict=True):
        if group >= 0:
            parent[root(number)] = root(first.setdefault(group, number))
    roots = np.array([root(number) for number in range(len(parent))])
    return np.unique(roots[sets], return_inverse=True)[1]


def _keys(digests: np.ndarray, sets: np.ndarray, seed: int) -> np.ndarray:
    """(sets,) uint64, random in the seed: the least among the mixed digests of each set's records."""
    start = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    mixed = digests[:, 0] ^ start[0]
    for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):  # the finaliser of splitmix64
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(factor)
    mixed ^= (digests[:, 1] + start[1]) ^ (mixed >> np.uint64(31))
    keys = np.full(int(sets.max()) + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(keys, sets, mixed)
    return keys


def _taken(order: np.ndarray, sizes: np.ndarray, target: int) -> list[int]:
    """Sets in their random order, each that still fits; the smallest where none does."""
    taken: list[int] = []
    total = 0
    for number in order.tolist():
        if total + sizes[number] <= target and len(taken) < len(sizes) - 1:
            taken.append(number)
            total += int(sizes[number])
        if total == target:
            break
    return taken or [min(order.tolist(), key=lambda number: sizes[number])]
