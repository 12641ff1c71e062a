"""Trees of documents: what is shared, where each token stands, and what is learnt where."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.contracts import Document, Tree
from seektune.data import trees
from seektune.data.pack import collate, cut, last_positions, learnt_positions


def document(ids, weights=None, record=0):
    ids = np.asarray(ids, np.int32)
    made = np.r_[0, np.ones(len(ids) - 1)] if weights is None else np.asarray(weights)
    return Document(ids, made.astype(np.float32), record)


@pytest.fixture
def any_prefix(monkeypatch):
    monkeypatch.setattr(trees, "SHORTEST", 1)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1, 2, 3, 4], [1, 2, 5]], 2),
        ([[1, 2, 3], [1, 2, 3]], 2),  # a token of each is left
        ([[1, 2, 3], [1, 2, 3, 4, 5]], 2),
        ([[1, 2, 3, 9], [1, 2, 3, 8], [1, 7, 3, 9]], 1),
        ([[1, 2], [2, 2]], 0),
        ([[1], [1, 2]], 0),
    ],
)
def test_the_common_prefix_leaves_a_token_of_each(rows, expected):
    assert trees.common_prefix([document(ids) for ids in rows]) == expected


def test_a_pair_is_laid_out_as_prefix_and_branches(any_prefix):
    chosen, rejected = document([5, 6, 7, 8, 9]), document([5, 6, 7, 3])
    alone = [document([1, 2], record=1), document([3, 4, 4], record=1)]
    batch = collate([chosen, rejected, *alone], share=2)
    assert batch.documents == [alone[0], alone[1], rejected, chosen]
    assert batch.trees == (Tree(3, (1, 2)),)
    assert batch.lengths == (2, 3, 4, 5)
    assert batch.ids.tolist() == [[1, 2, 3, 4, 4, 5, 6, 7, 3, 8, 9]]
    assert batch.positions.tolist() == [[0, 1, 0, 1, 2, 0, 1, 2, 3, 3, 4]]
    assert batch.segments.tolist() == [[0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3]]
    assert batch.weights.tolist() == [[0, 1, 0, 1, 1, 0, 2, 2, 1, 1, 1]]  # the prefix is learnt for both
    learnt = learnt_positions(batch)
    assert learnt.targets.tolist() == [2, 4, 4, 6, 7, 3, 6, 7, 8, 9]
    assert learnt.positions.tolist() == [0, 2, 3, 5, 6, 7, 5, 6, 7, 9]  # both branches begin at the end of the prefix
    assert learnt.documents.tolist() == [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    assert last_positions(batch).tolist() == [1, 4, 8, 10]
    assert batch.tokens == 14


def test_nothing_is_shared_unless_asked_for():
    pair = [document([*range(40), 50]), document([*range(40), 60, 61])]
    assert collate(pair).trees == ()
    assert cut(pair, unit=2)[0].trees == ()
    assert cut(pair, unit=2, rows="padded", share=True)[0].trees == ()
    assert cut([*pair, *pair], unit=1, share=True)[0].trees == ()
    assert cut(pair, unit=2, share=True)[0].trees == (Tree(40, (1, 2)),)


def test_a_prefix_too_short_to_pay_is_not_shared():
    below, enough = ([document([*range(n), 90 + i]) for i in (0, 1)] for n in (trees.SHORTEST - 1, trees.SHORTEST))
    assert collate(below, share=2).trees == ()
    assert collate(enough, share=2).trees == (Tree(trees.SHORTEST, (1, 1)),)


def test_a_micro_batch_is_measured_by_the_tokens_of_its_row():
    pairs = [document([*range(100), 200 + i, 1, 1, 1, 1]) for i in range(8)]  # 210 tokens apart, 110 shared
    assert [len(b.documents) for b in cut(pairs, unit=2, tokens=230, share=True)] == [4, 4]
    assert [len(b.documents) for b in cut(pairs, unit=2, tokens=230)] == [2, 2, 2, 2]
    assert all(b.ids.numel() == 220 for b in cut(pairs, unit=2, tokens=230, share=True))


units = st.lists(
    st.tuples(st.integers(0, 6), st.lists(st.integers(1, 5), min_size=3, max_size=3), st.integers(0, 2**31)),
    min_size=1,
    max_size=5,
)


def grown(drawn) -> list[Document]:
    """Units of three documents; where the drawn prefix is 0 they may still begin alike by chance."""
    made = []
    for record, (prefix, rest, seed) in enumerate(drawn):
        random = np.random.default_rng(seed)
        first = random.integers(0, 3, prefix)
        for length in rest:
            ids = np.r_[first, random.integers(0, 3, length)]
            made.append(document(ids, np.r_[0, random.integers(0, 3, len(ids) - 1)], record))
    return made


@settings(deadline=None)
@given(units)
def test_every_document_can_be_read_off_the_row(drawn):
    made = grown(drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "SHORTEST", 1)
        batch = collate(made, share=3)
        assert batch.ids.numel() == sum(trees.row_tokens(made[i : i + 3]) for i in range(0, len(made), 3))
    assert sorted(map(id, batch.documents)) == sorted(map(id, made))
    ids, positions = batch.ids[0].numpy(), batch.positions[0].numpy()
    for one, place in zip(batch.documents, trees.places(batch.lengths, batch.trees), strict=True):
        assert ids[place].tolist() == one.ids.tolist()
        assert positions[place].tolist() == list(range(len(one)))
    assert float(batch.weights.sum()) == sum(float(d.weights.sum()) for d in made)
    learnt = learnt_positions(batch)
    for number, one in enumerate(batch.documents):
        mine = learnt.documents == number
        assert learnt.targets[mine].tolist() == one.ids[one.weights != 0].tolist()
        assert learnt.weights[mine].tolist() == one.weights[one.weights != 0].tolist()
        before = batch.positions.flatten()[learnt.positions[mine]]
        assert (before + 1).tolist() == np.flatnonzero(one.weights).tolist()


def test_what_is_learnt_is_told_alike_for_rows_of_one_document_each():
    made = [document([5, 6, 7], [0, 0, 2]), document([8, 9, 3, 4], [0, 1, 0, 3])]
    for packed in (True, False):
        learnt = learnt_positions(collate(made, packed=packed))
        row = collate(made, packed=packed).ids.flatten()
        assert row[learnt.positions].tolist() == [6, 8, 3]
        assert learnt.targets.tolist() == [7, 9, 4]
        assert learnt.weights.tolist() == [2, 1, 3]
        assert learnt.documents.tolist() == [0, 1, 1]
    assert last_positions(collate(made, packed=False)).tolist() == [2, 7]
