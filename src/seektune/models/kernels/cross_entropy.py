"""-log p of target tokens straight from hidden states: the logits exist for one chunk of tokens only, in forward.

The gradient of a token's loss is found while its logits are there. For hidden states it is exact whatever an objective
does with the losses, since a token's loss is scaled by one number. For a head that learns, the sum over tokens needs these
numbers beforehand: the loss weights are taken for them, and where an objective uses others, the chunks are computed again.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from . import native
from .arithmetic import arithmetic

LOGITS_BYTES = 128 << 20  # of a chunk: with fewer tokens, laying out a large head takes as long as its product
ON_GPU = 512 << 20  # there a chunk has to keep all its processors busy, and the head is read anew for each
# Copies at once: the logits as the head gives them, p in float32, and p in the arithmetic's type, in units of float32. Where they
# become p in place, their room and the hole that it leaves in the heap.
LIVE = 2
LEAST = 1e-30  # of a probability from which -log p is taken


def chunk_of(vocabulary: int, dtype: torch.dtype, in_place: bool, device: str = "cpu") -> tuple[int, int]:
    """(tokens whose logits are there at once, bytes that those of each take at the most). `dtype` of the arithmetic.

    `in_place`: logits become p and their own gradient where they are (`is_in_place`).
    """
    held = dtype.itemsize if in_place else 4
    return max(1, (ON_GPU if device == "cuda" else LOGITS_BYTES) // (held * vocabulary)), held * LIVE * vocabulary


def is_in_place(device: str, dtype: torch.dtype, softcap: float | None) -> bool:
    """Whether a compiled piece takes the logits (kernels/native.py)."""
    planned = device == "cuda" and not torch.cuda.is_available()  # for a GPU elsewhere: Triton comes with torch there
    return softcap is None and (planned or native.takes(device, dtype))


def cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    likely: torch.Tensor,
    softcap: float | None = None,
) -> torch.Tensor:
    """-log p (n,) float32 of `targets` (n,) under the head `weight` (vocabulary, hidden) at `hidden` (n, hidden).

    `likely` (n,): factors by which the losses will probably be multiplied (their weights). `softcap`: logits are
    softcap * tanh(logits / softcap), as in Gemma 2.
    """
    return CrossEntropy.apply(hidden.to(arithmetic(hidden)), weight, bias, targets, likely, softcap)


class CrossEntropy(torch.autograd.Function):
    """See `cross_entropy`. Keeps (n, hidden) for the gradient of the hidden states and (vocabulary, hidden) for a head that learns."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        likely: torch.Tensor,
        softcap: float | None,
    ) -> torch.Tensor:
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        held = weight.detach().to(hidden.dtype)
        losses = hidden.new_empty(len(targets), dtype=torch.float32)
        hidden_grad = torch.empty_like(hidden) if wants_hidden else None
        ctx.head_grads = _Head(weight, bias if wants_bias else None) if wants_weight or wants_bias else None

        wanted = hidden_grad is not None or ctx.head_grads is not None
        cut = _slices(hidden, held.shape[0], softcap)
        # Room for the logits of every chunk in turn: anew, its pages would cost a sixth of the product
        room = hidden.new_empty(cut[0].stop, held.shape[0]) if cut and softcap is None else None

        def take(rows: slice) -> None:  # a function, so that a chunk is gone before the next one comes
            error, losses[rows] = _errors(hidden[rows], held, bias, softcap, targets[rows], wanted, room)
            if hidden_grad is not None:
                torch.mm(error.to(held.dtype), held, out=hidden_grad[rows])
            if ctx.head_grads is not None:
                ctx.head_grads.add(error, hidden[rows], likely[rows])

        for rows in cut:
            take(rows)
        ctx.softcap, ctx.hidden_grad, ctx.likely = softcap, hidden_grad, likely
        if ctx.head_grads is not None:
            ctx.save_for_backward(hidden, weight, bias, targets)
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        factors = grads[0]
        hidden_grad, ctx.hidden_grad = ctx.hidden_grad, None
        if hidden_grad is not None:
            hidden_grad.mul_(factors[:, None].to(hidden_grad.dtype))
        if ctx.head_grads is None:
            return hidden_grad, None, None, None, None, None
        common = _common_factor(factors, ctx.likely)
        found = ctx.head_grads.scaled(common) if common is not None else _again(ctx, factors)
        ctx.head_grads = None
        return hidden_grad, found.weight, found.bias, None, None, None


class _Head:
    """Gradients of the head, summed over chunks in float32."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None):
        self.weight = torch.zeros_like(weight, dtype=torch.float32)
        self.bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None else None

    def add(self, error: torch.Tensor, hidden: torch.Tensor, factors: torch.Tensor) -> None:
        """`error` (n, vocabulary) of tokens whose losses are multiplied by `factors` (n,)."""
        scaled = hidden * factors[:, None].to(hidden.dtype)
        if hidden.dtype == torch.float32:
            self.weight.addmm_(error.t(), scaled)
        else:
            self.weight.add_(error.to(hidden.dtype).t() @ scaled)
        if self.bias is not None:
            self.bias.add_(factors @ error.float())

    def scaled(self, factor: float) -> _Head:
        self.weight.mul_(factor)
        if self.bias is not None:
            self.bias.mul_(factor)
        return self


def _slices(hidden: torch.Tensor, vocabulary: int, softcap: float | None) -> list[slice]:
    """Of the tokens of one chunk after the other: as few as there can be, and about equal, none larger than the first."""
    device = hidden.device.type
    size, _ = chunk_of(vocabulary, hidden.dtype, is_in_place(device, hidden.dtype, softcap), device)
    even = -(-len(hidden) // max(1, -(-len(hidden) // size)))
    return [slice(start, min(start + even, len(hidden))) for start in range(0, len(hidden), max(1, even))]


def _errors(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    softcap: float | None,
    targets: torch.Tensor,
    wanted: bool,
    room: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(gradient of -log p with respect to what the head gives (rows, vocabulary), -log p of the targets (rows,)).

    The gradient, where it is `wanted`: p minus one at the target. In the type of the arithmetic where a compiled piece makes
    it, else float32: softmax and the logarithm of one number a row, a third of the time of log softmax and its exponential.
    """
    out = room[: len(hidden)] if room is not None else None
    if bias is None:
        logits = torch.mm(hidden, weight.t(), out=out)
    else:
        logits = torch.addmm(bias.detach().to(hidden.dtype), hidden, weight.t(), out=out)
    if softcap is None and native.ready(logits):
        return logits, native.cross_entropy(logits, targets, wanted)
    slope = None
    if softcap is not None:
        flat = torch.tanh(logits / softcap)
        logits, slope = flat * softcap, 1 - flat.float().square()
    probs = torch.softmax(logits, -1, dtype=torch.float32)
    likely = probs.gather(1, targets[:, None])[:, 0]
    losses = likely.log().neg_()
    lost = (likely < LEAST).nonzero()[:, 0]  # far below what float32 holds of a probability
    if len(lost):
        exact = torch.log_softmax(logits[lost], -1, dtype=torch.float32)
        losses[lost] = -exact.gather(1, targets[lost, None])[:, 0]
    probs[torch.arange(len(targets), device=targets.device), targets] -= 1
    return probs if slope is None else probs.mul_(slope), losses


def _common_factor(factors: torch.Tensor, likely: torch.Tensor) -> float | None:
    """The number c with factors = c · likely to rounding, None where there is none."""
    if len(factors) == 0:
        return 0.0
    at = int(likely.abs().argmax())
    if float(likely[at]) == 0:
        return None
    factor = float(factors[at]) / float(likely[at])
    if not math.isfinite(factor):
        return None
    near = torch.allclose(factors, factor * likely, rtol=1e-6, atol=1e-7 * float(factors.abs().max()))
    return factor if near else None


def _again(ctx: Any, factors: torch.Tensor) -> _Head:
    hidden, weight, bias, targets = ctx.saved_tensors
    found = _Head(weight, bias if ctx.head_grads.bias is not None else None)
    held = weight.detach().to(hidden.dtype)
    for rows in _slices(hidden, held.shape[0], ctx.softcap):
        found.add(_errors(hidden[rows], held, bias, ctx.softcap, targets[rows], True)[0], hidden[rows], factors[rows])
    return found
