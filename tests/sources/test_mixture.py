"""The mixture: its shares in every window, what happens at the end of an input, and where each epoch of each input stands."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune import recipe
from seektune.contracts import Document
from seektune.data.origins import Origins
from seektune.data.tokens import Tokens
from seektune.errors import DataError, RecipeError
from seektune.sources._shares import turns, whole_numbers
from seektune.sources.mixture import Mixture

sizes = st.lists(st.integers(1, 40), min_size=2, max_size=5)
weights = st.lists(st.sampled_from([0.05, 0.5, 1, 2, 3.3, 7]), min_size=5, max_size=5)
ends = st.sampled_from(["stop", "repeat", "renormalise"])


def tokens(counts: list[int], given: list[float]) -> Tokens:
    """Records of several inputs, one document each."""
    made = [Document(np.array([i, i], np.int32), np.ones(2, np.float32), i) for i in range(sum(counts))]
    held = Tokens.of(made)
    names = tuple(f"input {i}" for i in range(len(counts)))
    held.origins = Origins(np.repeat(np.arange(len(counts)), counts), names, tuple(given[: len(counts)]))
    return held


def opened(counts: list[int], given: list[float], at_end: Any, size: int = 1, seed: int = 3, **options: Any) -> Mixture:
    source = Mixture(at_end=at_end, **options)
    source.open(tokens(counts, given), batch_size=size, unit=1, seed=seed)
    return source


def drawn(source: Mixture, batches: int) -> list[int]:
    return [d.record for batch in itertools.islice(source, batches) for d in batch.documents]


def inputs_of(counts: list[int], records: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)[records]


@pytest.mark.parametrize("given", [[7, 2, 1], [0.5, 0.3, 0.2], [1, 1, 1], [100, 1, 3.7], [0.123456, 3, 0.01]])
@pytest.mark.parametrize("at_end", ["stop", "repeat"])
def test_shares_hold_in_every_window_of_a_thousand(given: list[float], at_end: str) -> None:
    counts = [900, 300, 50]
    source = opened(counts, given, at_end, 32)
    which = inputs_of(counts, drawn(source, 300))
    taken = np.cumsum(np.eye(3)[which], axis=0)
    windows = (taken[1000:] - taken[:-1000]) / 1000
    assert len(windows) > 5000
    assert np.abs(windows - np.array(given) / sum(given)).max() < 0.01


@settings(deadline=None, max_examples=10)
@given(given=st.lists(st.floats(0.001, 1000), min_size=2, max_size=8))
def test_no_input_is_ever_far_behind_its_share(given: list[float]) -> None:
    order = turns(given)
    counts = order.before[1:]
    asked = np.arange(1, len(counts) + 1)[:, None] * np.array(given) / sum(given)
    assert np.abs(counts - asked).max() < 2.5


def test_weights_become_whole_numbers() -> None:
    assert whole_numbers([0.7, 0.2, 0.1]) == [7, 2, 1]
    assert whole_numbers([1e-5, 1]) == [1, 99_999]
    assert whole_numbers([2, 4, 0]) == [1, 2, 0]


@settings(deadline=None, max_examples=30)
@given(counts=sizes, given=weights, at_end=ends, size=st.integers(1, 9))
def test_how_often_a_record_comes_in_an_epoch(counts: list[int], given: list[float], at_end: str, size: int) -> None:
    source = opened(counts, given, at_end, size)
    seen = Counter(drawn(source, source.batches_per_epoch()))
    every_one = set(range(sum(counts)))
    if at_end == "renormalise":
        assert seen == Counter(every_one)
    elif at_end == "repeat":
        assert set(seen) == every_one
        assert min(seen.values()) == 1
    else:
        assert max(seen.values()) == 1
        assert 0 in [
            len(set(np.flatnonzero(np.repeat(np.arange(len(counts)), counts) == i)) - set(seen))
            for i in range(len(counts))
        ]


@settings(deadline=None, max_examples=25)
@given(counts=sizes, given=weights, at_end=ends, size=st.integers(1, 9))
def test_each_input_goes_through_epochs_of_its_own(
    counts: list[int], given: list[float], at_end: str, size: int
) -> None:
    """Whatever an epoch leaves over of an input comes before any of its records comes again."""
    records = drawn(opened(counts, given, at_end, size), 3 * opened(counts, given, at_end, size).batches_per_epoch())
    which = inputs_of(counts, records)
    for i, count in enumerate(counts):
        own = np.array(records)[which == i]
        for start in range(0, len(own) - count + 1, count):
            assert len(set(own[start : start + count].tolist())) == count


@settings(deadline=None, max_examples=25)
@given(counts=sizes, given=weights, at_end=ends, size=st.integers(1, 9), taken=st.integers(0, 30))
def test_goes_on_from_a_kept_position(
    counts: list[int], given: list[float], at_end: str, size: int, taken: int
) -> None:
    source = opened(counts, given, at_end, size)
    drawn(source, taken)
    state = json.loads(json.dumps(source.state_dict()))
    expected = drawn(source, 12)
    again = opened(counts, given, at_end, size)
    again.load_state_dict(state)
    assert drawn(again, 12) == expected


@settings(deadline=None, max_examples=25)
@given(counts=sizes, given=weights, at_end=ends, size=st.integers(1, 9), batches=st.integers(0, 60))
def test_what_is_reported_was_drawn(
    counts: list[int], given: list[float], at_end: str, size: int, batches: int
) -> None:
    source = opened(counts, given, at_end, size)
    told = source.facts(batches)["inputs"]
    found = Counter(inputs_of(counts, drawn(source, batches)).tolist())
    assert [one["drawn"] for one in told] == [found[i] for i in range(len(counts))]
    assert [one["epochs"] for one in told] == [round(found[i] / count, 3) for i, count in enumerate(counts)]


def test_the_order_of_an_input_follows_from_the_seed() -> None:
    one, other = (drawn(opened([30, 20], [1, 1], "repeat", seed=seed), 50) for seed in (1, 2))
    assert one != other
    assert drawn(opened([30, 20], [1, 1], "repeat", seed=1), 50) == one
    assert [r for r in drawn(opened([30, 20], [1, 1], "repeat", shuffle=False), 40) if r < 30] == list(range(20))


def test_an_input_without_documents_is_named() -> None:
    held = tokens([4, 3], [1, 1])
    held.origins = Origins(np.zeros(7, np.int64), ("a.jsonl", "b.jsonl"), (1.0, 1.0))
    with pytest.raises(DataError, match=r"data\.train\.1: no document is left of 'b\.jsonl' to mix"):
        Mixture().open(held, batch_size=2, unit=1, seed=1)


# in recipes

BASE = """
model: {path: model}
data: {train: [{path: a.jsonl, weight: 3}, {path: b.jsonl}]}
tuner: {kind: full}
objective: {kind: sft}
train: {steps: 6, batch_size: 4, device: cpu, precision: float32}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, count in (("a", 9), ("b", 30)):
        rows = [{"instruction": f"{name} {i}", "output": "word " * (1 + i % 3)} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(BASE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_weight_makes_the_source_a_mixture_and_the_run_reports_it(place: Path) -> None:
    zoo.tiny_folder(place / "model")
    read = recipe.load("recipe.yaml")
    assert read.source == Mixture()
    run = read.run()
    told = run.read("report.json")["mixture"]
    assert told == run.read("data.json")["mixture"]
    assert [(one["weight"], one["drawn"], one["epochs"]) for one in told["inputs"]] == [(3.0, 18, 2.0), (1.0, 6, 0.2)]
    assert told["epoch_records"] == 119  # the thirtieth record of b is the third of its four turns


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("data.train.0.weight=0", "expected greater than 0"),
        ("data.train.0.weight=-1", "expected greater than 0"),
        ("source=loader", "has no effect with source 'loader'"),
        ("data.train=[{path: a.jsonl, weight: 2}]", "a mixture of one input"),
    ],
)
def test_what_cannot_be_mixed_is_told(place: Path, argument: str, said: str) -> None:
    zoo.tiny_folder(place / "model")
    with pytest.raises(RecipeError, match=said):
        recipe.load("recipe.yaml", [argument])
