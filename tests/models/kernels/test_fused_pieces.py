"""LoRA layers, gated feed-forward layers and norms as one step of autograd, against the plain operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seektune.models.kernels import int8
from seektune.models.kernels.lora import Update, lora_linear
from seektune.models.kernels.mlp import gated, lora_mlp
from seektune.models.kernels.norm import rms_norm


def update(out: int, width: int, rank: int = 3, bias: bool = False) -> Update:
    make = lambda *shape: torch.randn(*shape, dtype=torch.float64)  # noqa: E731
    return Update(
        make(out, width),
        make(out) if bias else None,
        make(rank, width).requires_grad_(),
        make(out, rank).requires_grad_(),
        0.7,
    )


def plain(x: torch.Tensor, u: Update) -> torch.Tensor:
    return F.linear(x, u.weight, u.bias) + F.linear(F.linear(x, u.a), u.b) * u.scale  # type: ignore[arg-type]


def same(ours: torch.Tensor, theirs: torch.Tensor, wanted: list[torch.Tensor]) -> None:
    torch.testing.assert_close(ours, theirs)
    grad = torch.randn_like(theirs)
    for one, other in zip(*(torch.autograd.grad(y, wanted, grad) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("bias", [True, False])
def test_lora_linear(bias: bool) -> None:
    torch.manual_seed(0)
    u, x = update(8, 5, bias=bias), torch.randn(2, 7, 5, dtype=torch.float64).requires_grad_()
    same(lora_linear(x, u), plain(x, u), [x, u.a, u.b])


def test_lora_linear_gives_its_input_no_gradient_that_nobody_wants() -> None:
    u, x = update(8, 5), torch.randn(7, 5, dtype=torch.float64)
    lora_linear(x, u).sum().backward()
    assert x.grad is None
    assert u.a.grad is not None


@pytest.mark.parametrize("act", ["silu", "gelu_pytorch_tanh"])
def test_lora_mlp(act: str) -> None:
    torch.manual_seed(0)
    gate, up, down = update(9, 5), update(9, 5), update(5, 9)
    x = torch.randn(2, 7, 5, dtype=torch.float64).requires_grad_()
    function = F.silu if act == "silu" else lambda t: F.gelu(t, approximate="tanh")
    expected = plain(function(plain(x, gate)) * plain(x, up), down)
    same(lora_mlp(x, gate, up, down, act), expected, [x, gate.a, gate.b, up.a, up.b, down.a, down.b])  # type: ignore[arg-type]


@pytest.mark.parametrize("act", ["silu", "gelu_pytorch_tanh"])
def test_gated(act: str) -> None:
    gate, up = (torch.randn(4, 6, dtype=torch.float64).requires_grad_() for _ in range(2))
    function = F.silu if act == "silu" else lambda t: F.gelu(t, approximate="tanh")
    same(gated(gate, up, act), function(gate) * up, [gate, up])  # type: ignore[arg-type]


@pytest.mark.parametrize("together", [1, 13, 1 << 18])
def test_rms_norm(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from seektune.models.kernels import norm

    monkeypatch.setattr(norm, "TOGETHER", together)
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 6).requires_grad_(), torch.randn(6).requires_grad_()
    expected = weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5))
    same(rms_norm(x, weight, 1e-5), expected, [x, weight])
    with torch.no_grad():
        held = x.detach().clone()
        rms_norm(held, weight, 1e-5)
        assert torch.equal(held, x), "the input was overwritten"


def test_an_update_over_an_int8_matrix() -> None:
    """The low-rank part is as exact as ever; the base part is that of the rounded matrix."""
    torch.manual_seed(0)
    weight = torch.randn(32, 48)
    u = Update(
        int8.quantise(weight), None, torch.randn(4, 48).requires_grad_(), torch.randn(32, 4).requires_grad_(), 0.5
    )
    x = torch.randn(20, 48).requires_grad_()
    found, expected = lora_linear(x, u), x @ weight.t() + (x @ u.a.t()) @ u.b.t() * 0.5
    grads = torch.autograd.grad(found.sum(), (x, u.a, u.b)), torch.autograd.grad(expected.sum(), (x, u.a, u.b))
    assert float((found - expected).detach().norm() / expected.norm().detach()) < 0.02
    for one, other, bar in zip(*grads, (0.02, 1e-5, 1e-5), strict=True):
        assert float((one - other).norm() / other.norm()) < bar
