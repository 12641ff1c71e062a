"""What the pieces for a GPU have to give: tried on a GPU (tests/gpu) and by Triton's interpreter (triton_interpreted.py).

`pieces`: kernels/gpu.py, or native.py, which takes its functions from there on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from seektune.models.kernels.mlp import activated

BARS = {torch.float32: 1e-5, torch.bfloat16: 1.5e-2, torch.float16: 2e-3}  # of the norm of the difference


def near(found: torch.Tensor, expected: torch.Tensor, bar: float) -> None:
    found, expected = found.detach().double(), expected.detach().double()
    assert float((found - expected).norm()) <= bar * float(expected.norm())


def gates(pieces: Any, device: str, dtype: torch.dtype, act: Any) -> None:
    gate, up, grad = (3 * torch.randn(3, 700, device=device).to(dtype) for _ in range(3))
    exact = [x.double().requires_grad_() for x in (gate, up)]
    expected = activated(exact[0], act) * exact[1]
    near(pieces.gated(gate, up, act), expected, BARS[dtype])
    found = torch.empty_like(up)
    grads = torch.autograd.grad(expected, exact, grad.double())
    pieces.gated_back(grad, gate, up, act, grad, found)
    for one, other in zip((grad, found), grads, strict=True):
        near(one, other, BARS[dtype])


def norms(pieces: Any, device: str, dtype: torch.dtype, rows: int, width: int) -> None:
    x, grad, weight = (
        torch.randn(shape, device=device).to(dtype) for shape in ((rows, width), (rows, width), (width,))
    )
    exact = [x.double().requires_grad_() for x in (x, weight)]
    expected = exact[1] * exact[0] * (exact[0].square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    y, inverse = pieces.norm(x, weight, 1e-6)
    near(y, expected, BARS[dtype])
    grads = torch.autograd.grad(expected, exact, grad.double())
    for one, other in zip(pieces.norm_back(x, grad, weight, inverse, True), grads, strict=True):
        near(one, other, BARS[dtype])
    alone, none = pieces.norm_back(x, grad, weight, inverse, False)
    near(alone, grads[0], BARS[dtype])
    assert none is None


def turns(pieces: Any, device: str, dtype: torch.dtype, tokens: int, heads: int, width: int) -> None:
    """Rotary embedding with angles that are alike in no two places, and back."""
    half = width // 2
    rows, grad = (torch.randn(tokens, heads, width, device=device).to(dtype) for _ in range(2))
    cos, sin = (torch.randn(tokens, width, device=device).to(dtype) for _ in range(2))
    exact = rows.double().requires_grad_()
    other = torch.cat([-exact[..., half:], exact[..., :half]], -1)
    expected = exact * cos.double()[:, None] + other * sin.double()[:, None]
    near(pieces.rotate(rows, cos, sin, False), expected, BARS[dtype])
    near(pieces.rotate(grad, cos, sin, True), torch.autograd.grad(expected, exact, grad.double())[0], BARS[dtype])


def losses(pieces: Any, device: str, dtype: torch.dtype, vocabulary: int) -> None:
    logits = (4 * torch.randn(9, vocabulary, device=device)).to(dtype)
    targets = torch.randint(vocabulary, (9,), device=device)
    exact = logits.double()
    expected = F.cross_entropy(exact, targets, reduction="none")
    near(pieces.cross_entropy(logits, targets, False), expected, 1e-5)
    assert torch.equal(logits.double(), exact)
    near(pieces.cross_entropy(logits, targets, True), expected, 1e-5)
    near(logits, exact.softmax(-1) - F.one_hot(targets, vocabulary), BARS[dtype])


def no_target(pieces: Any, device: str) -> None:
    """A target outside of the vocabulary has a loss that is no number; its neighbours keep theirs."""
    found = pieces.cross_entropy(torch.randn(2, 50, device=device), torch.tensor([3, 50], device=device), True)
    assert bool(found[0].isfinite()) and bool(found[1].isnan())
