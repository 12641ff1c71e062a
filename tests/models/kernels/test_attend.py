"""Attention within documents against torch's own, document by document: values and gradients, all shapes."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.models.kernels import attend, native
from seektune.runtime import cpu_features

compiled = pytest.mark.skipif(bool(native.why_not()), reason=native.why_not())


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Groups are kept; constants are changed here."""
    attend.groups.cache_clear()
    yield
    attend.groups.cache_clear()


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
    if attend.SCORES == 64:
        attend.groups.cache_clear()  # made with other constants
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


@pytest.mark.parametrize("causal", [True, False])
def test_every_query_of_every_head_stands_in_one_block_and_sees_all_its_keys(causal: bool) -> None:
    lengths, how = (5, 5, 6, 200, 3001), attend.How(0.3, causal, 0.0, heads=8, shared=4, dim=16)
    found: list[tuple[int, int]] = []
    for group in attend.groups(lengths, how):
        rows = torch.arange(sum(lengths))[group.rows] if group.spread is None else torch.from_numpy(group.spread)
        for document, length in zip(rows.view(group.count, -1), group.lengths, strict=True):
            for first, last, seen in group.blocks(how):
                assert seen == (last if causal else group.length)
                queries = document[first : min(last, length)].tolist()
                found += [(query, head) for query in queries for head in range(8)[group.heads]]
    assert sorted(found) == [(query, head) for query in range(sum(lengths)) for head in range(8)]


def test_documents_of_like_length_share_their_products() -> None:
    how = attend.How(0.3, True, 0.0, heads=4, shared=1, dim=16)
    assert [group.lengths for group in attend.groups((20, 21, 30, 90, 91, 400), how)] == [
        (20, 21, 30), (90, 91), (400,)
    ]  # fmt: skip
    whole = attend.How(0.3, False, 0.0, heads=4, shared=1, dim=16)  # filled up, each would see what is no token
    assert [group.lengths for group in attend.groups((20, 20, 21), whole)] == [(20, 20), (21,)]


def test_what_is_kept_grows_with_the_length_and_not_with_its_square() -> None:
    qkv = made((60, 60), 4, 4, 8, 8)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        attend.attend_documents(*qkv, (60, 60), 0.3)
    each = qkv[0].numel()
    assert sorted(kept) == [
        each // 8,
        each,
        each,
        each,
        each,
    ]  # and a number a row, queries, keys, values, what came out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_long_documents_go_back_through_torch_where_that_is_faster(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "library", lambda dtype: None)
    lengths = (30, 80, 80)
    qkv = [x.detach().to(dtype).requires_grad_() for x in made(lengths, 4, 2, 16, 16)]
    grad = torch.randn(sum(lengths), 4, 16).to(dtype)
    ours = torch.autograd.grad(attend.attend_documents(*qkv, lengths, 0.3), qkv, grad)
    monkeypatch.setattr(attend, "LONG", 80)
    monkeypatch.setattr(attend, "_has_tiles", lambda x: True)
    theirs = torch.autograd.grad(attend.attend_documents(*qkv, lengths, 0.3), qkv, grad)
    for one, other in zip(ours, theirs, strict=True):
        assert float((one - other).norm() / one.norm()) < (1e-5 if dtype == torch.float32 else 1e-2)


def test_without_the_fused_kernel_the_products_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = (3, 17, 17, 140)
    qkv = made(lengths, 4, 2, 6, 5)
    fused = attend.attend_documents(*qkv, lengths, 0.3)
    monkeypatch.setattr(attend, "AHEAD", None)
    torch.testing.assert_close(attend.attend_documents(*qkv, lengths, 0.3), fused)
    compare(lengths, 4, 2, causal=True)


def test_groups_that_were_made_while_only_shapes_were_computed_still_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    monkeypatch.setattr(native, "library", lambda dtype: None)
    lengths = (20, 21, 23)
    with FakeTensorMode():
        shape = attend.attend_documents(*(torch.randn(4, 64, 8) for _ in range(3)), lengths, 0.3).shape
    assert tuple(shape) == (64, 4, 8)
    compare(lengths, 4, 2, causal=True)


# Compiled


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("lengths", "heads", "groups", "dim", "values"),
    [
        ((1, 1, 3, 7, 7, 40, 47, 48, 49, 129), 4, 2, 64, 64),
        ((300, 511, 512, 513, 1100), 4, 2, 6, 5),  # more keys than a block holds, and widths that fill no register
        ((17, 64, 65, 130), 3, 3, 192, 128),  # latent attention
        ((20, 90), 14, 2, 48, 32),
    ],
)
def test_the_types_of_training_equal_torch_in_float64(
    dtype: torch.dtype, causal: bool, lengths: tuple[int, ...], heads: int, groups: int, dim: int, values: int,
    both_ways: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # else the longest document may be too long to be compiled
    exact = [x.detach() / dim**0.25 for x in made(lengths, heads, groups, dim, values)]
    given = [x.to(dtype).requires_grad_() for x in exact]
    how = attend.How(0.3, causal, 0.0, groups, heads // groups, dim)
    rows = [x.detach().transpose(0, 1) for x in given]
    assert attend._compiled(lengths, how, *rows) == (both_ways == "compiled")
    exact = [x.detach().double().requires_grad_() for x in given]
    theirs = plain(*exact, lengths, causal)
    ours = attend.attend_documents(*given, lengths, 0.3, causal)
    grad = torch.randn_like(theirs).to(dtype)
    pairs = zip(
        [ours.detach(), *torch.autograd.grad(ours, given, grad)],
        [theirs.detach(), *torch.autograd.grad(theirs, exact, grad.double())],
        strict=True,
    )
    for one, other in pairs:
        assert float((one.double() - other).norm() / other.norm()) < (3e-6 if dtype == torch.float32 else 6e-3)


@compiled
def test_compiled_attention_takes_rows_as_they_lie_and_any_number_of_threads() -> None:
    """Queries, keys and values side by side in one tensor, a gradient that is one number for all, and one that is part of more."""
    lengths, threads = (5, 70, 71), torch.get_num_threads()
    whole = torch.randn(1, sum(lengths), 8 * 16)
    grads = [torch.ones(1).expand(sum(lengths), 4, 16), torch.randn(sum(lengths), 9, 40)[:, 2:6, 7:23]]
    results = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        try:
            leaf = whole.clone().requires_grad_()
            q, k, v = (x.unflatten(-1, (-1, 16)).transpose(1, 2)[0] for x in leaf.split((64, 32, 32), -1))
            ours = attend.attend_documents(q, k, v, lengths, 0.3)
            results.append([ours.detach(), *(torch.autograd.grad(ours, leaf, g, retain_graph=True)[0] for g in grads)])
        finally:
            torch.set_num_threads(threads)
    exact = whole.double().requires_grad_()
    q, k, v = (x.unflatten(-1, (-1, 16)).transpose(1, 2)[0] for x in exact.split((64, 32, 32), -1))
    theirs = plain(q, k, v, lengths, True)
    torch.testing.assert_close(results[0][0].double(), theirs, rtol=1e-5, atol=1e-5)
    for found, grad in zip(results[0][1:], grads, strict=True):
        (expected,) = torch.autograd.grad(theirs, exact, grad.double(), retain_graph=True)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(x, y) for found in results[1:] for x, y in zip(found, results[0], strict=True))


@compiled
def test_a_part_that_would_keep_one_thread_busy_alone_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (torch.randn(10, heads, 16) for heads in (8, 2, 2))
    how = attend.How(0.3, True, 0.0, 2, 4, 16)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert attend._compiled((10,), how, q, k, v) and attend._compiled((2, 8), how, q, k, v)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    assert not attend._compiled((10,), how, q, k, v)
    assert attend._compiled((1,) * 10, how, q, k, v)
    assert not attend._compiled((1,) * 10, attend.How(0.3, True, 0.1, 2, 4, 16), q, k, v)
    assert not attend._compiled((1,) * 10, how, q.double(), k.double(), v.double())
    assert not attend._compiled((1,) * 11, how, q, k, v)
    with pytest.raises((RuntimeError, IndexError)):
        attend.attend_documents(*(x.transpose(0, 1) for x in (q, k, v)), (5, 6), 0.3)


@compiled
def test_scores_that_are_no_numbers_stay_within_their_document() -> None:
    qkv = [torch.randn(4, 60, 16) for _ in range(3)]
    qkv[0][:, 5] = float("nan")
    found = attend.attend_documents(*qkv, (20, 40), 0.3)
    assert found[5].isnan().all() and not found[20:].isnan().any() and not found[:5].isnan().any()


@compiled
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of that family")
@pytest.mark.parametrize("processor", ["x86-64", "haswell"])
def test_narrower_registers_give_the_same(processor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four numbers and eight at once, where this processor may have sixteen."""
    if processor == "haswell" and "avx2" not in cpu_features():
        pytest.skip("this processor has no AVX2")
    compiler, file = shutil.which("gcc") or "cc", tmp_path / "narrow.so"
    flags = [flag for flag in native.FLAGS if not flag.startswith("-march")]
    subprocess.run(
        [compiler, *flags, f"-march={processor}", *map(str, native.SOURCES), "-o", str(file), "-lm"],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    lengths = (1, 9, 49, 140, 600)
    qkv = [x.detach().float().requires_grad_() for x in made(lengths, 4, 2, 24, 17)]
    grad = torch.randn(sum(lengths), 4, 17)

    def both() -> list[torch.Tensor]:
        out = attend.attend_documents(*qkv, lengths, 0.3)
        return [out.detach(), *torch.autograd.grad(out, qkv, grad)]

    here = both()
    library = ctypes.CDLL(str(file))
    monkeypatch.setattr(native, "library", lambda dtype: library)
    for one, other in zip(both(), here, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
