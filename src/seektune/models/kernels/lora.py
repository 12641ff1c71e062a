"""Linear layers with a low-rank update as one step of autograd: the input and its product with A are all that is kept.

The functions below take several updates of one input (gate and up): their A lie side by side, so that the input, which is far
larger than they are, is passed over once for all of them, and its gradient is one sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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


class Adapters(NamedTuple):
    """A and B of some updates in the type of the arithmetic: forward turns them once, backward uses what it made."""

    a: torch.Tensor  # (sum of the ranks, in)
    b: tuple[torch.Tensor, ...]


def lora_linear(x: torch.Tensor, update: Update) -> torch.Tensor:
    """x (…, in) -> (…, out), in the type of the arithmetic."""
    return LoRALinear.apply(x, (update,), update.a, update.b)


class LoRALinear(torch.autograd.Function):
    """See `Update`; gradients for x, A and B."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, updates: tuple[Update], *adapters: torch.Tensor) -> torch.Tensor:
        dtype = arithmetic(x)
        rows, count = rows_of(x, dtype, updates)
        held = adapters_of(updates, dtype)
        (y,), low = ahead(rows, updates, held)
        ctx.save_for_backward(rows, low, held.a, *held.b)
        ctx.updates, ctx.shape, ctx.dtype = updates, x.shape, x.dtype
        return y[:count].view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        rows, low, a, b = ctx.saved_tensors
        updates, held = ctx.updates, Adapters(a, (b,))
        grad, count = rows_of(grads[0], rows.dtype, updates)
        found, grad_low = back_low([grad], rows, low, updates, held)
        wanted = ctx.needs_input_grad[0]
        x = back([grad], grad_low, updates, held)[:count].view(ctx.shape).to(ctx.dtype) if wanted else None
        return x, None, *found


def rows_of(x: torch.Tensor, dtype: torch.dtype, updates: Sequence[Update]) -> tuple[torch.Tensor, int]:
    """(x (…, width) as rows (tokens, width), how many they are): behind these, rows of zeros where every matrix is small."""
    rows = x.detach().reshape(-1, x.shape[-1]).to(dtype)
    largest = max(update.weight.shape[0] * update.weight.shape[1] for update in updates)
    return products.filled(rows, largest), len(rows)


def adapters_of(updates: Sequence[Update], dtype: torch.dtype) -> Adapters:
    a = [u.a.detach().to(dtype) for u in updates]
    return Adapters(a[0] if len(a) == 1 else torch.cat(a), tuple(u.b.detach().to(dtype) for u in updates))


def ahead(rows: torch.Tensor, updates: Sequence[Update], held: Adapters) -> tuple[list[torch.Tensor], torch.Tensor]:
    """(y (tokens, out) of each, x A^T of all (tokens, sum of the ranks)) of `rows` (tokens, in)."""
    ys = [times(rows, u.weight, u.bias) for u in updates]
    low = rows @ held.a.t()
    for y, u, b, part in zip(ys, updates, held.b, _parts(low, held), strict=True):
        y.addmm_(part, b.t(), alpha=u.scale)
    return ys, low


def back_low(
    grads: Sequence[torch.Tensor], rows: torch.Tensor, low: torch.Tensor, updates: Sequence[Update], held: Adapters
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """(the gradients of A and B of each, one behind the other; that of x A^T) for `grads` (tokens, out) of each."""
    lows = [(grad @ b).mul_(u.scale) for grad, b, u in zip(grads, held.b, updates, strict=True)]
    grad_low = lows[0] if len(lows) == 1 else torch.cat(lows, 1)
    found = []
    to_a = _parts((grad_low.t() @ rows).t(), held)
    for u, grad, a, part in zip(updates, grads, to_a, _parts(low, held), strict=True):
        found += [a.t().to(u.a.dtype), (grad.t() @ part).to(u.b.dtype).mul_(u.scale)]
    return found, grad_low


def back(
    grads: Sequence[torch.Tensor], grad_low: torch.Tensor, updates: Sequence[Update], held: Adapters
) -> torch.Tensor:
    """The gradient of x (tokens, in)."""
    whole: torch.Tensor | None = None
    for grad, u in zip(grads, updates, strict=True):
        whole = _add_through(whole, grad, u.weight)
    assert whole is not None
    return whole.addmm_(grad_low, held.a)


def _add_through(onto: torch.Tensor | None, grad: torch.Tensor, weight: Matrix) -> torch.Tensor:
    """grad W (tokens, in); added to `onto`, in place, where that is given."""
    if isinstance(weight, Int8):
        return weight.back(grad) if onto is None else onto.add_(weight.back(grad))
    weight = weight.detach().to(grad.dtype)
    return products.times(grad, weight) if onto is None else products.add_times(onto, grad, weight)


def _parts(low: torch.Tensor, held: Adapters) -> Sequence[torch.Tensor]:
    """What belongs to each update, of the columns."""
    return low.split([b.shape[1] for b in held.b], 1)


def times(rows: torch.Tensor, weight: Matrix, bias: torch.Tensor | None) -> torch.Tensor:
    """rows W^T + bias, of `rows` (tokens, in)."""
    if isinstance(weight, Int8):
        y = weight.times(rows)
        return y if bias is None else y.add_(bias.detach().to(rows.dtype))
    weight = weight.detach().to(rows.dtype)
    if bias is None:
        return products.times(rows, weight.t())
    return torch.nn.functional.linear(rows, weight, bias.detach().to(rows.dtype))
