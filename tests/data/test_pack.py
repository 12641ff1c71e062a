"""Cutting and laying out: nothing lost, nothing doubled, limits kept, units whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.contracts import Document
from seektune.data.pack import collate, cut


def documents(lengths):
    return [
        Document(np.arange(n, dtype=np.int32) + 10, np.r_[0, np.ones(n - 1)].astype(np.float32), i)
        for i, n in enumerate(lengths)
    ]


lengths = st.lists(st.integers(1, 50), min_size=1, max_size=20)


@settings(deadline=None)
@given(lengths, st.integers(1, 5), st.sampled_from(["packed", "padded", "equal"]))
def test_every_document_comes_once_whatever_the_cut(lengths, records, rows):
    made = documents(lengths)
    batches = cut(made, records=records, rows=rows)
    assert sorted(d.record for b in batches for d in b.documents) == list(range(len(made)))
    assert all(len(b.documents) <= records for b in batches)
    for batch in batches:
        for i, document in enumerate(batch.documents):
            here = batch.segments == i
            assert batch.ids[here].tolist() == document.ids.tolist()
            assert batch.positions[here].tolist() == list(range(len(document)))
            assert batch.weights[here].tolist() == document.weights.tolist()


@settings(deadline=None)
@given(lengths, st.integers(1, 120), st.sampled_from(["packed", "padded"]))
def test_tokens_bound_a_batch_unless_one_document_is_longer(lengths, tokens, rows):
    for batch in cut(documents(lengths), tokens=tokens, rows=rows):
        assert batch.ids.numel() <= tokens or len(batch.documents) == 1


def test_packed_rows_have_no_padding():
    assert all((b.segments >= 0).all() for b in cut(documents([5, 9, 30, 1]), tokens=32))


def test_equal_rows_hold_one_length():
    batches = cut(documents([5, 9, 5, 9, 5, 2]), rows="equal")
    assert [b.lengths for b in batches] == [(2,), (5, 5, 5), (9, 9)]


@pytest.mark.parametrize("rows", ["packed", "padded"])
def test_units_stay_together(rows):
    batches = cut(documents([5, 9, 30, 1, 7, 7]), unit=2, records=1, rows=rows)
    assert sorted(tuple(sorted(d.record for d in b.documents)) for b in batches) == [(0, 1), (2, 3), (4, 5)]


def test_a_broken_unit_is_a_bug():
    with pytest.raises(AssertionError, match="whole units"):
        cut(documents([1, 2, 3]), unit=2)


def test_positions_restart_and_padding_is_marked():
    batch = collate(documents([2, 3]), packed=False, pad_id=7)
    assert batch.ids.tolist() == [[10, 11, 7], [10, 11, 12]]
    assert batch.segments.tolist() == [[0, 0, -1], [1, 1, 1]]
