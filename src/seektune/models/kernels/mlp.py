"""Gated feed-forward layers, act(x G^T) * (x U^T): what backward can compute again from gate and up is not kept."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F

from . import native
from .arithmetic import arithmetic
from .lora import Update, ahead, back, back_low, rows_of

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
    """down(act(gate(x)) * up(x)) with three updates, x (…, hidden). Keeps x, gate and up, and three products of rank width."""
    adapters = (gate.a, gate.b, up.a, up.b, down.a, down.b)
    return LoRAMLP.apply(x, gate, up, down, act, *adapters)


class LoRAMLP(torch.autograd.Function):
    """See `lora_mlp`; gradients for x and the six adapter matrices."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, gate: Update, up: Update, down: Update, act: Act, *adapters: torch.Tensor
    ) -> torch.Tensor:
        dtype = arithmetic(x)
        ctx.updates = gate, up, down
        gate, up, down = (update.cast(dtype) for update in ctx.updates)
        cast = (gate.a, gate.b, up.a, up.b, down.a, down.b)
        rows, count = rows_of(x, dtype, gate, up, down)
        gated, gate_low = ahead(rows, gate)
        upped, up_low = ahead(rows, up)
        y, down_low = ahead(product(gated, upped, act), down)
        ctx.save_for_backward(rows, gated, upped, gate_low, up_low, down_low, *cast)
        ctx.act, ctx.shape, ctx.dtype = act, x.shape, x.dtype
        return y[:count].view(x.shape[:-1] + y.shape[-1:])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        rows, gated, upped, gate_low, up_low, down_low, *cast = ctx.saved_tensors
        gate, up, down = (u.holding(*cast[2 * i : 2 * i + 2]) for i, u in enumerate(ctx.updates))
        grad, count = rows_of(grads[0], rows.dtype, gate, up, down)
        if native.ready(gated, upped):
            inner = product(gated, upped, ctx.act)
            down_a, down_b, low = back_low(grad, inner, down_low, down)
            grad_gate, grad_up = back(grad, low, down), inner
            native.gated_back(grad_gate, gated, upped, ctx.act, grad_gate, grad_up)
        else:
            inner = activated(gated, ctx.act)
            down_a, down_b, low = back_low(grad, inner * upped, down_low, down)
            grad = back(grad, low, down)
            grad_up = inner.mul_(grad)
            grad_gate = _through(grad.mul_(upped), gated, ctx.act)
        gate_a, gate_b, low_gate = back_low(grad_gate, rows, gate_low, gate)
        up_a, up_b, low_up = back_low(grad_up, rows, up_low, up)
        x = None
        if ctx.needs_input_grad[0]:
            whole = back(grad_up, low_up, up, back(grad_gate, low_gate, gate))
            x = whole[:count].view(ctx.shape).to(ctx.dtype)
        return x, None, None, None, None, gate_a, gate_b, up_a, up_b, down_a, down_b


def _through(grad: torch.Tensor, gate: torch.Tensor, act: Act) -> torch.Tensor:
    """The gradient of act's input."""
    if act == "silu":
        return torch.ops.aten.silu_backward(grad, gate)
    return torch.ops.aten.gelu_backward(grad, gate, approximate="tanh")
