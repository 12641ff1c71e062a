"""Gated feed-forward layers, act(x G^T) * (x U^T): what backward can compute again from gate and up is not kept."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F

from . import native
from .arithmetic import arithmetic
from .lora import Adapters, Update, adapters_of, ahead, back, back_low, rows_of

Act = Literal["silu", "gelu_pytorch_tanh"]


def gated(gate: torch.Tensor, up: torch.Tensor, act: Act = "silu") -> torch.Tensor:
    """act(gate) * up, elementwise. Keeps its two inputs only."""
    return Gated.apply(gate, up, act)


class Gated(torch.autograd.Function):
    """See `gated`."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor, act: Act) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        ctx.act = act
        return product(gate, up, act)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        gate, up = ctx.saved_tensors
        grad_gate, grad_up = gated_back(grads[0], gate, up, ctx.act)
        return grad_gate, grad_up, None


def activated(gate: torch.Tensor, act: Act) -> torch.Tensor:
    return F.silu(gate) if act == "silu" else F.gelu(gate, approximate="tanh")


def product(gate: torch.Tensor, up: torch.Tensor, act: Act) -> torch.Tensor:
    """act(gate) * up, without autograd."""
    return native.gated(gate, up, act) if native.ready(gate, up) else activated(gate, act).mul_(up)


def gated_back(grad: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, act: Act) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of gate and up."""
    if native.ready(grad, gate, up):
        grad_gate, grad_up = torch.empty_like(gate), torch.empty_like(up)
        native.gated_back(grad, gate, up, act, grad_gate, grad_up)
        return grad_gate, grad_up
    return _through(grad * up, gate, act), activated(gate, act).mul_(grad)


def lora_mlp(x: torch.Tensor, gate: Update, up: Update, down: Update, act: Act = "silu") -> torch.Tensor:
    """down(act(gate(x)) * up(x)) with three updates, x (…, hidden). Keeps x, gate and up, A of these side by side, and what x A^T gave."""
    adapters = (gate.a, gate.b, up.a, up.b, down.a, down.b)
    return LoRAMLP.apply(x, (gate, up), (down,), act, *adapters)


class LoRAMLP(torch.autograd.Function):
    """See `lora_mlp`; gradients for x and the six adapter matrices."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, wide: tuple[Update, Update], down: tuple[Update], act: Act, *adapters: torch.Tensor
    ) -> torch.Tensor:
        dtype = arithmetic(x)
        rows, count = rows_of(x, dtype, (*wide, *down))
        held, held_down = adapters_of(wide, dtype), adapters_of(down, dtype)
        (gated, upped), low = ahead(rows, wide, held)
        (y,), down_low = ahead(product(gated, upped, act), down, held_down)
        ctx.save_for_backward(rows, gated, upped, low, down_low, held.a, *held.b, held_down.a, *held_down.b)
        ctx.wide, ctx.down, ctx.act, ctx.shape, ctx.dtype = wide, down, act, x.shape, x.dtype
        return y[:count].view(x.shape[:-1] + y.shape[-1:])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        rows, gated, upped, low, down_low, a, gate_b, up_b, down_a, down_b = ctx.saved_tensors
        wide, down, act = ctx.wide, ctx.down, ctx.act
        held, held_down = Adapters(a, (gate_b, up_b)), Adapters(down_a, (down_b,))
        grad, count = rows_of(grads[0], rows.dtype, (*wide, *down))
        if native.ready(gated, upped):
            inner = product(gated, upped, act)
            of_down, grad_low = back_low([grad], inner, down_low, down, held_down)
            grad_gate, grad_up = back([grad], grad_low, down, held_down), inner
            native.gated_back(grad_gate, gated, upped, act, grad_gate, grad_up)
        else:
            inner = activated(gated, act)
            of_down, grad_low = back_low([grad], inner * upped, down_low, down, held_down)
            grad = back([grad], grad_low, down, held_down)
            grad_up = inner.mul_(grad)
            grad_gate = _through(grad.mul_(upped), gated, act)
        of_wide, grad_low = back_low([grad_gate, grad_up], rows, low, wide, held)
        x = None
        if ctx.needs_input_grad[0]:
            x = back([grad_gate, grad_up], grad_low, wide, held)[:count].view(ctx.shape).to(ctx.dtype)
        return x, None, None, None, *of_wide, *of_down


def _through(grad: torch.Tensor, gate: torch.Tensor, act: Act) -> torch.Tensor:
    """The gradient of act's input."""
    if act == "silu":
        return torch.ops.aten.silu_backward(grad, gate)
    return torch.ops.aten.gelu_backward(grad, gate, approximate="tanh")
