"""The pieces for a GPU, run by Triton's interpreter on a CPU: TRITON_INTERPRET=1 python triton_interpreted.py"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from seektune.models.kernels import gpu
from seektune.models.kernels.mlp import activated

BARS = {torch.float32: 1e-5, torch.bfloat16: 1.5e-2}


def near(found: torch.Tensor, expected: torch.Tensor, bar: float) -> None:
    assert float((found.double() - expected.detach()).norm()) <= bar * float(expected.detach().norm())


def gates(dtype: torch.dtype, act) -> None:
    gate, up, grad = (3 * torch.randn(3, 700).to(dtype) for _ in range(3))
    exact = [x.double().requires_grad_() for x in (gate, up)]
    expected = activated(exact[0], act) * exact[1]
    near(gpu.gated(gate, up, act), expected, BARS[dtype])
    found = torch.empty_like(up)
    grads = torch.autograd.grad(expected, exact, grad.double())
    gpu.gated_back(grad, gate, up, act, grad, found)
    for one, other in zip((grad, found), grads, strict=True):
        near(one, other, BARS[dtype])


def norms(dtype: torch.dtype) -> None:
    rows, grad, weight = (torch.randn(shape).to(dtype) for shape in ((9, 300), (9, 300), (300,)))
    exact = [x.double().requires_grad_() for x in (rows, weight)]
    expected = exact[1] * exact[0] * (exact[0].square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    y, inverse = gpu.norm(rows, weight, 1e-6)
    near(y, expected, BARS[dtype])
    grads = torch.autograd.grad(expected, exact, grad.double())
    for one, other in zip(gpu.norm_back(rows, grad, weight, inverse, True), grads, strict=True):
        near(one, other, BARS[dtype])
    alone, none = gpu.norm_back(rows, grad, weight, inverse, False)
    near(alone, grads[0], BARS[dtype])
    assert none is None


def turns(dtype: torch.dtype) -> None:
    rows, grad = (torch.randn(7, 3, 24).to(dtype) for _ in range(2))
    cos, sin = (torch.randn(7, 24).to(dtype) for _ in range(2))
    exact = rows.double().requires_grad_()
    other = torch.cat([-exact[..., 12:], exact[..., :12]], -1)
    expected = exact * cos.double()[:, None] + other * sin.double()[:, None]
    near(gpu.rotate(rows, cos, sin, False), expected, BARS[dtype])
    near(gpu.rotate(grad, cos, sin, True), torch.autograd.grad(expected, exact, grad.double())[0], BARS[dtype])


def losses(dtype: torch.dtype, vocabulary: int) -> None:
    logits, targets = (4 * torch.randn(5, vocabulary)).to(dtype), torch.randint(vocabulary, (5,))
    exact = logits.double()
    expected = F.cross_entropy(exact, targets, reduction="none")
    near(gpu.cross_entropy(logits, targets, False), expected, 1e-5)
    assert torch.equal(logits.double(), exact)
    near(gpu.cross_entropy(logits, targets, True), expected, 1e-5)
    near(logits, exact.softmax(-1) - F.one_hot(targets, vocabulary), BARS[dtype])
    assert bool(gpu.cross_entropy(logits, targets + vocabulary, False).isnan().all())


if __name__ == "__main__":
    torch.manual_seed(0)
    for dtype in BARS:
        for act in ("silu", "gelu_pytorch_tanh"):
            gates(dtype, act)
        norms(dtype)
        turns(dtype)
        for vocabulary in (50, 10_000):
            losses(dtype, vocabulary)
    print("all near")
