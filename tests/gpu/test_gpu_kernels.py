"""Each piece on a GPU against the same arithmetic in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models.kernels import gpu_cases
from models.kernels.gpu_cases import BARS, near

from seektune.models.kernels import attend_gpu, experts_gpu, native
from seektune.models.kernels import experts as by_hand
from seektune.models.kernels.mlp import activated, gated
from seektune.models.kernels.norm import rms_norm

LENGTHS = (1, 2, 5, 31, 64, 65, 200)


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, device="cuda").to(dtype).requires_grad_()


def doubled(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [x.detach().double().requires_grad_() for x in tensors]


def alike(ours: torch.Tensor, given: Any, theirs: torch.Tensor, exact: Any, bar: float) -> None:
    """The results, and their gradients for what was `given`, and for the same in float64."""
    grad = torch.randn_like(ours)
    near(ours, theirs, bar)
    found, expected = (torch.autograd.grad(y, x, grad.to(y.dtype)) for y, x in ((ours, given), (theirs, exact)))
    for one, other in zip(found, expected, strict=True):
        near(one, other, bar)


def test_the_compiled_pieces_are_in_use() -> None:
    assert native.why_not("cuda") == ""


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize("act", ["silu", "gelu_pytorch_tanh"])
def test_gates(dtype: torch.dtype, act) -> None:
    torch.manual_seed(0)
    gpu_cases.gates(native, "cuda", dtype, act)
    gate, up = (drawn(3, 1001, dtype=dtype) for _ in range(2))
    exact = doubled(gate, up)
    alike(gated(gate, up, act), (gate, up), activated(exact[0], act) * exact[1], exact, BARS[dtype])


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize(("rows", "width"), [(1, 8), (700, 896), (3, 16384)])
def test_norms(dtype: torch.dtype, rows: int, width: int) -> None:
    torch.manual_seed(0)
    gpu_cases.norms(native, "cuda", dtype, rows, width)
    x, weight = drawn(rows, width, dtype=dtype), drawn(width, dtype=dtype)
    exact = doubled(x, weight)
    theirs = exact[1] * exact[0] * (exact[0].square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    alike(rms_norm(x, weight, 1e-6), (x, weight), theirs, exact, BARS[dtype])


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize(("tokens", "heads", "width"), [(1, 1, 2), (7, 3, 24), (300, 28, 128)])
def test_rotary_embedding(dtype: torch.dtype, tokens: int, heads: int, width: int) -> None:
    torch.manual_seed(0)
    gpu_cases.turns(native, "cuda", dtype, tokens, heads, width)


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize("vocabulary", [2, 50, 20_000, 151_936])
def test_cross_entropy(dtype: torch.dtype, vocabulary: int) -> None:
    torch.manual_seed(0)
    gpu_cases.losses(native, "cuda", dtype, vocabulary)


def test_a_target_that_is_none() -> None:
    gpu_cases.no_target(native, "cuda")


def alone(q, k, v, causal: bool) -> torch.Tensor:
    """Document by document, in the type of what is given."""
    shared, parts, start = q.shape[0] // k.shape[0], [], 0
    k, v = (x.repeat_interleave(shared, 0) for x in (k, v))
    for length in LENGTHS:
        a, b, c = (x[:, start : start + length] for x in (q, k, v))
        scores = a @ b.transpose(1, 2) * q.shape[-1] ** -0.5
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf"))
        parts.append((scores.softmax(-1) @ c).transpose(0, 1))
        start += length
    return torch.cat(parts)


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("heads", [(4, 4), (6, 2)])
@pytest.mark.parametrize("widths", [(64, 64), (192, 128), (36, 20), (320, 64)])
def test_attention_within_documents(
    dtype: torch.dtype, causal: bool, heads: tuple[int, int], widths: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    time = sum(LENGTHS)
    # as models give them: (time, heads, dim), seen the other way around
    q, k, v = (
        drawn(time, n, w, dtype=dtype)
        for n, w in zip((heads[0], heads[1], heads[1]), (*widths[:1], *widths), strict=True)
    )
    exact = doubled(q, k, v)
    ends = attend_gpu.Ends.of(LENGTHS, q.device)
    ours = attend_gpu.attend_documents(*(x.transpose(0, 1) for x in (q, k, v)), ends, widths[0] ** -0.5, causal)
    theirs = alone(*(x.transpose(0, 1) for x in exact), causal)
    alike(ours, (q, k, v), theirs, exact, BARS[dtype])


def test_dropout_of_attention() -> None:
    """On average what is there without; backward leaves out the same weights as forward did."""
    torch.manual_seed(0)
    lengths, width = (64, 128), 32
    q, k, v = (drawn(4, sum(lengths), width, dtype=torch.bfloat16) for _ in range(3))
    assert attend_gpu.takes(q, 0.2) and not attend_gpu.takes(q.float(), 0.2)
    ends = attend_gpu.Ends.of(lengths, q.device)
    whole = attend_gpu.attend_documents(q, k, v, ends, width**-0.5)
    draws = [attend_gpu.attend_documents(q, k, v, ends, width**-0.5, dropout=0.2) for _ in range(200)]
    near(torch.stack([d.detach().float() for d in draws]).mean(0), whole, 0.1)
    assert not torch.equal(draws[0], draws[1])
    # the output is linear in v: <out, g> = <v, gradient of v> holds for one mask only
    grad = torch.randn_like(draws[0])
    (found,) = torch.autograd.grad(draws[0], v, grad)
    one, other = ((a.detach().double() * b.double()).sum() for a, b in ((draws[0], grad), (v, found)))
    assert float(one) == pytest.approx(float(other), rel=2e-2, abs=2e-2 * float(grad.double().norm()))


@pytest.mark.parametrize("trained", [True, False])
def test_grouped_experts(trained: bool) -> None:
    torch.manual_seed(0)
    tokens, width, inner, count, choices = 300, 64, 48, 8, 2
    hidden = drawn(tokens, width, dtype=torch.bfloat16)
    gate_up = (drawn(count, 2 * inner, width) * 0.1).detach().bfloat16().requires_grad_(trained)
    down = (drawn(count, width, inner) * 0.1).detach().bfloat16().requires_grad_(trained)
    weights = torch.rand(tokens, choices, device="cuda", requires_grad=True)
    index = torch.rand(tokens, count - 1, device="cuda").topk(choices).indices  # the last expert gets nothing
    assert experts_gpu.takes(torch.bfloat16, gate_up, down)
    ours = by_hand.experts(hidden, gate_up, down, index, weights)
    given = [hidden, weights, *([gate_up, down] if trained else [])]
    one, two, three, four = doubled(hidden, gate_up, down, weights)
    theirs = by_hand.Experts.apply(one, two, three, four, index, "silu")
    exact = [one, four, *([two, three] if trained else [])]
    grad = torch.randn_like(ours)
    near(ours, theirs, 1e-2)
    found, expected = (torch.autograd.grad(y, x, grad.to(y.dtype)) for y, x in ((ours, given), (theirs, exact)))
    for a, b in zip(found, expected, strict=True):
        near(a, b, 1.5e-2)
