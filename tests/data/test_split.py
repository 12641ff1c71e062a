"""Splits: nothing equal, and no group, on both sides; the same records held out however the files are ordered."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.data.formats import read
from seektune.data.options import Input, Valid
from seektune.data.split import duplicates, leaks, split
from seektune.data.store import Records
from seektune.errors import DataError


def texts(*names: Any) -> Records:
    return Records.of([{"text": str(name)} for name in names])


def contents(records: Records) -> list[str]:
    return [record["text"] for record in records]


rows = st.lists(
    st.fixed_dictionaries(
        {"text": st.integers(0, 30).map(str)}, optional={"group": st.integers(0, 12) | st.sampled_from(["a", None])}
    ),
    min_size=2,
    max_size=60,
)


def components(rows: list[dict[str, Any]], group: str | None) -> list[set[int]]:
    """Which rows belong together, by joining sets until nothing changes."""
    sets = [{i} for i in range(len(rows))]
    changed = True
    while changed:
        changed = False
        for a in sets:
            for b in sets:
                if a is not b and any(_together(rows[i], rows[j], group) for i in a for j in b):
                    a |= b
                    sets.remove(b)
                    changed = True
                    break
            if changed:
                break
    return sets


def _together(a: dict[str, Any], b: dict[str, Any], group: str | None) -> bool:
    same_group = group is not None and a.get(group) is not None and a.get(group) == b.get(group)
    return a["text"] == b["text"] or same_group


@settings(max_examples=60, deadline=None)
@given(rows, st.floats(0.02, 0.9), st.integers(0, 5), st.booleans())
def test_parts_keep_together_what_belongs_together(
    rows: list[dict[str, Any]], fraction: float, seed: int, grouped: bool
) -> None:
    group = "group" if grouped and any(row.get("group") is not None for row in rows) else None
    rows = [row | {"id": i} for i, row in enumerate(rows)]
    sets = components(rows, group)
    valid = Valid(fraction=fraction, group=group)
    if len(sets) < 2:
        with pytest.raises(DataError):
            split(Records.of(rows), valid, seed)
        return
    train, held_out = ([record["id"] for record in part] for part in split(Records.of(rows), valid, seed))
    assert sorted(train + held_out) == list(range(len(rows)))
    assert train == sorted(train)
    assert train
    assert held_out
    assert all(one <= set(train) or one <= set(held_out) for one in sets)
    target, sizes = max(1, round(fraction * len(rows))), sorted(len(one) for one in sets)
    assert len(held_out) <= max(target, sizes[0])
    assert len(held_out) >= min(target - sizes[-1] + 1, len(rows) - sizes[-1])


@settings(max_examples=40, deadline=None)
@given(rows, st.randoms(use_true_random=False), st.integers(0, 3))
def test_order_of_the_files_does_not_matter(rows: list[dict[str, Any]], shuffler: random.Random, seed: int) -> None:
    if len({row["text"] for row in rows}) < 2:
        return
    valid = Valid(fraction=0.3)
    shuffled = shuffler.sample(rows, len(rows))
    first, second = (split(Records.of(order), valid, seed)[1] for order in (rows, shuffled))
    assert Counter(contents(first)) == Counter(contents(second))


def test_fraction_is_met_and_seed_decides() -> None:
    records = texts(*range(1000))
    held_out = [frozenset(contents(split(records, Valid(fraction=0.05), seed)[1])) for seed in range(20)]
    assert {len(one) for one in held_out} == {50}
    assert len(set(held_out)) == 20
    assert frozenset(contents(split(records, Valid(fraction=0.05), 3)[1])) == held_out[3]
    # drawn at random: of 20 × 50 draws no record is far above its share of 1
    assert max(Counter(text for one in held_out for text in one).values()) <= 7


def test_more_records_leave_most_sides_as_they_were() -> None:
    before = set(contents(split(texts(*range(1000)), Valid(fraction=0.1), 1)[1]))
    after = set(contents(split(texts(*range(1100)), Valid(fraction=0.1), 1)[1]))
    assert len(before & after) > 85


def test_columns_beside_do_not_make_records_different() -> None:
    records = Records.of([{"text": "a", "id": i} for i in range(50)] + [{"text": "b", "id": 50}])
    train, held_out = split(records, Valid(fraction=0.5), 0)
    assert sorted([len(train), len(held_out)]) == [1, 50]


def test_group_that_no_record_has() -> None:
    records = Records.of([{"text": str(i), "conversation": i} for i in range(4)])
    with pytest.raises(DataError) as caught:
        split(records, Valid(fraction=0.5, group="conversatoin"), 0)
    assert caught.value.problems == [
        "data.valid.group: no record has a field 'conversatoin'; did you mean 'conversation'?"
    ]


@pytest.mark.parametrize("group", [None, "g"])
def test_all_in_one(group: str | None) -> None:
    records = Records.of([{"text": "same" if group is None else str(i), "g": 1} for i in range(5)])
    with pytest.raises(DataError, match=r"data\.valid: all 5 records are "):
        split(records, Valid(fraction=0.5, group=group), 0)


def test_leaks_and_duplicates() -> None:
    train, valid = texts("a", "b", "a", "c"), texts("x", "c", "a", "a")
    assert leaks(train, valid) == [(3, 1), (0, 2), (0, 3)]
    assert leaks(train, texts("y")) == []
    assert leaks(texts(), valid) == []
    assert duplicates(valid) == [(2, 3)]
    assert duplicates(train) == [(0, 2)]
    assert duplicates(texts()) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)))
def test_leaks_and_duplicates_agree_with_a_plain_search(a: list[int], b: list[int]) -> None:
    assert leaks(texts(*a), texts(*b)) == [(a.index(one), j) for j, one in enumerate(b) if one in a]
    assert duplicates(texts(*a)) == [(a.index(one), j) for j, one in enumerate(a) if one in a[:j]]
    parts = texts(*a, *b)
    if len({*a, *b}) > 1:
        assert leaks(*split(parts, Valid(fraction=0.4), 1)) == []


def test_real_leaks(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of reviews that is known to repeat itself."""
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path))
    paths = [shared_data / "cls_chnsenticorp" / f"{name}.jsonl" for name in ("train", "test")]
    train, valid = (read([Input(path=str(path))], 0.0, "classifier") for path in paths)
    seen, asked = (
        [(row["text"], str(row["label"])) for row in map(json.loads, path.read_text("utf-8").splitlines())]
        for path in paths
    )
    assert len(leaks(train, valid)) == sum(one in set(seen) for one in asked) > 100
    assert len(duplicates(train)) == len(seen) - len(set(seen)) > 100
    assert leaks(*split(train, Valid(fraction=0.1), 0)) == []
