"""Linear layers with a low-rank update as one step of autograd: the input and its product with A are all that is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from . import products
from .arithmetic import arithmetic
from .int8 import Int8

Matrix = torch.Tensor | Int8


@dataclass(frozen=True)
class Update:
    """y = x W^T + bias + scale · (x A^T) B^T, with W frozen. Shapes: W (out, in), A (rank, in), B (out, rank)."""

    weight: Matrix
    bias: torch.Tensor | None
    a: torch.Tensor
    b: torch.Tensor
    scale: float
    learnt: torch.dtype | None = None  # of the gradients of A and B, where these are `cast`

    def cast(self, dtype: torch.dtype) -> Update:
        """With A and B in the type of the arithmetic: forward turns them once, backward uses what it made (`holding`)."""
        return self.holding(self.a.detach().to(dtype), self.b.detach().to(dtype))

    def holding(self, a: torch.Tensor, b: torch.Tensor) -> Update:
        return Update(self.weight, self.bias, a, b, self.scale, self.a.dtype)


def lora_linear(x: torch.Tensor, update: Update) -> torch.Tensor:
    """x (…, in) -> (…, out), in the type of the arithmetic."""
    return LoRALinear.apply(x, update, update.a, update.b)


class LoRALinear(torch.autograd.Function):
    """See `Update`; gradients for x, A and B."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, update: Update, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        dtype = arithmetic(x)
        cast = update.cast(dtype)
        rows, count = rows_of(x, dtype, cast)
        y, low = ahead(rows, cast)
        ctx.save_for_backward(rows, low, cast.a, cast.b)
        ctx.update, ctx.shape, ctx.dtype = update, x.shape, x.dtype
        return y[:count].view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        rows, low, a, b = ctx.saved_tensors
        update = ctx.update.holding(a, b)
        grad, count = rows_of(grads[0], rows.dtype, update)
        grad_a, grad_b, grad_low = back_low(grad, rows, low, update)
        wanted = ctx.needs_input_grad[0]
        x = back(grad, grad_low, update)[:count].view(ctx.shape).to(ctx.dtype) if wanted else None
        return x, None, grad_a, grad_b


def rows_of(x: torch.Tensor, dtype: torch.dtype, *updates: Update) -> tuple[torch.Tensor, int]:
    """(x (…, width) as rows (tokens, width), how many they are): behind these, rows of zeros where every matrix is small."""
    rows = x.detach().reshape(-1, x.shape[-1]).to(dtype)
    largest = max(update.weight.shape[0] * update.weight.shape[1] for update in updates)
    return products.filled(rows, largest), len(rows)


def ahead(rows: torch.Tensor, update: Update) -> tuple[torch.Tensor, torch.Tensor]:
    """(y (tokens, out), x A^T (tokens, rank)) of `rows` (tokens, in), with an update that is `cast`."""
    y = times(rows, update.weight, update.bias)
    low = rows @ update.a.t()
    return y.addmm_(low, update.b.t(), alpha=update.scale), low


def back_low(
    grad: torch.Tensor, rows: torch.Tensor, low: torch.Tensor, update: Update
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(gradient of A, of B, of x A^T) for `grad` (tokens, out)."""
    learnt = update.learnt
    assert learnt is not None
    grad_low = (grad @ update.b).mul_(update.scale)
    grad_b = (grad.t() @ low).to(learnt).mul_(update.scale)
    return (grad_low.t() @ rows).to(learnt), grad_b, grad_low


def back(grad: torch.Tensor, grad_low: torch.Tensor, update: Update, onto: torch.Tensor | None = None) -> torch.Tensor:
    """The gradient of x (tokens, in); added to `onto`, in place, where that is given."""
    weight = update.weight
    if isinstance(weight, Int8):
        whole = weight.back(grad) if onto is None else onto.add_(weight.back(grad))
    else:
        weight = weight.detach().to(grad.dtype)
        whole = products.times(grad, weight) if onto is None else products.add_times(onto, grad, weight)
    return whole.addmm_(grad_low, update.a)


def times(rows: torch.Tensor, weight: Matrix, bias: torch.Tensor | None) -> torch.Tensor:
    """rows W^T + bias, of `rows` (tokens, in)."""
    if isinstance(weight, Int8):
        y = weight.times(rows)
        return y if bias is None else y.add_(bias.detach().to(rows.dtype))
    weight = weight.detach().to(rows.dtype)
    if bias is None:
        return products.times(rows, weight.t())
    return torch.nn.functional.linear(rows, weight, bias.detach().to(rows.dtype))
