"""Gated feed-forward layers, act(x G^T) * (x U^T): what backward can compute again from gate and up is not kept."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F

from .arithmetic import arithmetic
from .lora import Update, ahead, back, back_low

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
        return activated(gate, act).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        gate, up = ctx.saved_tensors
        grad_gate, grad_up = gated_back(grads[0], gate, up, ctx.act)
        return grad_gate, grad_up, None


def activated(gate: torch.Tensor, act: Act) -> torch.Tensor:
    return F.silu(gate) if act == "silu" else F.gelu(gate, approximate="tanh")


def gated_back(grad: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, act: Act) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of gate and up."""
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
        rows = x.detach().reshape(-1, x.shape[-1]).to(arithmetic(x))
        gated, gate_low = ahead(rows, gate)
        upped, up_low = ahead(rows, up)
        y, down_low = ahead(activated(gated, act).mul_(upped), down)
        ctx.save_for_backward(rows, gated, upped, gate_low, up_low, down_low)
        ctx.updates, ctx.act, ctx.shape, ctx.dtype = (gate, up, down), act, x.shape, x.dtype
        return y.view(x.shape[:-1] + y.shape[-1:])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        rows, gated, upped, gate_low, up_low, down_low = ctx.saved_tensors
        gate, up, down = ctx.updates
        grad = grads[0].reshape(-1, grads[0].shape[-1]).to(rows.dtype)
        inner = activated(gated, ctx.act)
        down_a, down_b, low = back_low(grad, inner * upped, down_low, down)
        grad = back(grad, low, down)
        grad_up = inner.mul_(grad)
        grad_gate = _through(grad.mul_(upped), gated, ctx.act)
        gate_a, gate_b, low_gate = back_low(grad_gate, rows, gate_low, gate)
        up_a, up_b, low_up = back_low(grad_up, rows, up_low, up)
        x = None
        if ctx.needs_input_grad[0]:
            x = back(grad_up, low_up, up, back(grad_gate, low_gate, gate)).view(ctx.shape).to(ctx.dtype)
        return x, None, None, None, None, gate_a, gate_b, up_a, up_b, down_a, down_b


def _through(grad: torch.Tensor, gate: torch.Tensor, act: Act) -> torch.Tensor:
    """The gradient of act's input."""
    if act == "silu":
        return torch.ops.aten.silu_backward(grad, gate)
    return torch.ops.aten.gelu_backward(grad, gate, approximate="tanh")
