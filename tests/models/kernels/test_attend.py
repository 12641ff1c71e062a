"""Attention within documents against torch's own, document by document: values and gradients, all shapes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.models.kernels import attend


def made(lengths: tuple[int, ...], heads: int, groups: int, dim: int, values: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    widths = ((heads, dim), (groups, dim), (groups, values))
    return [torch.randn(sum(lengths), n, d, dtype=torch.float64).transpose(0, 1).requires_grad_() for n, d in widths]


def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: tuple[int, ...], causal: bool) -> torch.Tensor:
    """(time, heads, dim of values), each document by torch's attention."""
    k, v = (x.repeat_interleave(q.shape[0] // x.shape[0], 0) for x in (k, v))
    parts = zip(*(x.split(lengths, 1) for x in (q, k, v)), strict=True)
    return torch.cat(
        [F.scaled_dot_product_attention(*part, is_causal=causal, scale=0.3).transpose(0, 1) for part in parts]
    )


def compare(lengths: tuple[int, ...], heads: int, groups: int, causal: bool, dim: int = 6, values: int = 5) -> None:
    qkv = made(lengths, heads, groups, dim, values)
    ours, theirs = attend.attend_documents(*qkv, lengths, 0.3, causal), plain(*qkv, lengths, causal)
    torch.testing.assert_close(ours, theirs)
    grad = torch.randn_like(theirs)
    for one, other in zip(*(torch.autograd.grad(x, qkv, grad) for x in (ours, theirs)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("causal", [True, False])
def test_equals_torch_for_one_long_and_many_short_documents(causal: bool) -> None:
    compare((1, 1, 3, 7, 7, 7, 40, 129, 300), 4, 2, causal)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=8),
    st.sampled_from([(4, 4), (4, 2), (6, 1)]),
    st.integers(1, 9),
    st.booleans(),
)
def test_equals_torch_however_it_is_cut(lengths: list[int], heads: tuple[int, int], queries: int, causal: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attend, "QUERIES", queries)
        patch.setattr(attend, "SCORES", 64)
        compare(tuple(lengths), *heads, causal)


@pytest.mark.parametrize("causal", [True, False])
def test_dropout_leaves_out_a_share_of_the_weights_and_its_gradients_are_those_of_autograd(causal: bool) -> None:
    """One head and values that are unit vectors: what comes out are the weights themselves."""
    length = 40
    q, k = (torch.randn(1, length, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    v = torch.eye(length, dtype=torch.float64)[None].requires_grad_()
    torch.manual_seed(5)
    found = attend.attend_documents(q, k, v, (length,), 0.3, causal, 0.25)[:, 0]
    scores = 0.3 * q[0] @ k[0].t()
    hidden = torch.ones(length, length).triu(1).bool() if causal else torch.zeros(length, length).bool()
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    kept = (found != 0) & ~hidden
    assert abs(float(kept.sum() / (~hidden).sum()) - 0.75) < 0.05
    expected = weights * kept / 0.75 @ v[0]
    torch.testing.assert_close(found, expected)
    grad = torch.randn_like(found)
    for one, other in zip(*(torch.autograd.grad(x, (q, k, v), grad) for x in (found, expected)), strict=True):
        torch.testing.assert_close(one, other)
    torch.manual_seed(5)
    assert torch.equal(attend.attend_documents(q, k, v, (length,), 0.3, causal, 0.25)[:, 0], found)


def test_every_query_stands_in_one_piece_and_sees_all_its_keys() -> None:
    lengths = (5, 5, 5, 200, 301)
    queries = set()
    for piece in attend.pieces(lengths, 8, causal=True):
        for document in range(piece.count):
            start = piece.start + document * piece.length
            queries |= {(start + i, start) for i in range(piece.first, piece.last)}
            assert piece.keys == piece.last
    assert len(queries) == sum(lengths)


def test_nothing_is_kept_but_queries_keys_and_values() -> None:
    qkv = made((60, 60), 4, 4, 8, 8)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        attend.attend_documents(*qkv, (60, 60), 0.3)
    assert sorted(kept) == [x.numel() for x in qkv]
