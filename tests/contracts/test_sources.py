"""What every source promises: each record once an epoch, its documents together, and a position that can be kept."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import every
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune import kinds
from seektune.contracts import Batch, Document

SPECS = every.all_variants("source")
shapes = st.lists(st.integers(1, 3), min_size=1, max_size=17)  # documents of each record
sizes = st.integers(1, 20)


def documents(shape: list[int]) -> list[Document]:
    made = []
    for record, count in enumerate(shape):
        made += [Document(np.array([record, i], np.int32), np.ones(2, np.float32), record) for i in range(count)]
    return made


def opened(spec: dict[str, Any], shape: list[int], size: int, seed: int = 5) -> Any:
    source = kinds.build("source", spec)
    source.open(documents(shape), batch_size=size, unit=1, seed=seed)
    return source


def ids(batches: list[Batch]) -> list[list[list[int]]]:
    return [[d.ids.tolist() for d in batch.documents] for batch in batches]


@pytest.mark.parametrize("spec", SPECS)
@settings(deadline=None)
@given(shape=shapes, size=sizes)
def test_every_record_comes_once_an_epoch(spec: dict[str, Any], shape: list[int], size: int) -> None:
    source = opened(spec, shape, size)
    batches = iter(source)
    for _ in range(3):
        epoch = list(itertools.islice(batches, source.batches_per_epoch()))
        seen = Counter((int(d.ids[0]), int(d.ids[1])) for batch in epoch for d in batch.documents)
        assert seen == Counter((r, i) for r, count in enumerate(shape) for i in range(count))
        assert all(0 < len({d.record for d in batch.documents}) <= size for batch in epoch)


@pytest.mark.parametrize("spec", SPECS)
@settings(deadline=None)
@given(shape=shapes, size=sizes)
def test_documents_of_a_record_stay_together(spec: dict[str, Any], shape: list[int], size: int) -> None:
    for batch in itertools.islice(opened(spec, shape, size), 6):
        runs = [record for record, _ in itertools.groupby(d.record for d in batch.documents)]
        assert len(runs) == len(set(runs))
        assert all(sum(d.record == r for d in batch.documents) == shape[r] for r in runs)


@pytest.mark.parametrize("spec", SPECS)
@settings(deadline=None)
@given(shape=shapes, size=sizes, taken=st.integers(0, 12))
def test_a_kept_position_goes_on_where_it_was(spec: dict[str, Any], shape: list[int], size: int, taken: int) -> None:
    source = opened(spec, shape, size)
    list(itertools.islice(source, taken))
    state = source.state_dict()
    expected = ids(list(itertools.islice(source, 8)))
    again = opened(spec, shape, size)
    again.load_state_dict(state)
    assert ids(list(itertools.islice(again, 8))) == expected


@pytest.mark.parametrize("spec", SPECS)
def test_the_order_follows_from_the_seed(spec: dict[str, Any]) -> None:
    def order(seed: int) -> list[Any]:
        return ids(list(itertools.islice(opened(spec, [1] * 20, 4, seed), 10)))

    assert order(1) == order(1)
    if spec.get("shuffle", True):
        assert order(1) != order(2)


@pytest.mark.parametrize("spec", SPECS)
def test_nothing_to_train_on_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no documents"):
        opened(spec, [], 4)
