"""-log p of target tokens straight from hidden states: the logits exist for one chunk of tokens only, in forward.

The gradient of a token's loss is found while its logits are there. For hidden states it is exact whatever an objective
does with the losses, since a token's loss is scaled by one number. For a head that learns, the sum over tokens needs these
numbers beforehand: the loss weights are taken for them, and where an objective uses others, the chunks are computed again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from .arithmetic import arithmetic

LOGITS_BYTES = (
    128 << 20
)  # of a chunk in float32: with fewer tokens, laying out a large head for a product takes as long as the product
LIVE = 2  # copies of a chunk at once, in units of float32: the logits as the head gives them, p, and p as the arithmetic has it
LEAST = 1e-30  # of a probability from which -log p is taken


def rows_of_chunk(vocabulary: int) -> int:
    """Tokens whose logits are there at once."""
    return max(1, LOGITS_BYTES // (4 * vocabulary))


def live_bytes(vocabulary: int, tokens: int) -> int:
    """Bytes that the logits of `tokens` learnt tokens take at the most."""
    return int(4 * LIVE * vocabulary * min(tokens, rows_of_chunk(vocabulary)))


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

        def take(rows: slice) -> None:  # a function, so that a chunk is gone before the next one comes
            probs, losses[rows], slope = _probs(hidden[rows], held, bias, softcap, targets[rows])
            if hidden_grad is None and ctx.head_grads is None:
                return
            error = _error(probs, targets[rows], slope)
            if hidden_grad is not None:
                torch.mm(error.to(held.dtype), held, out=hidden_grad[rows])
            if ctx.head_grads is not None:
                ctx.head_grads.add(error, hidden[rows], likely[rows])

        for rows in _slices(len(hidden), held.shape[0]):
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
        """`error` (n, vocabulary) float32 of tokens whose losses are multiplied by `factors` (n,). `error` is overwritten."""
        error.mul_(factors[:, None])
        if hidden.dtype == torch.float32:
            self.weight.addmm_(error.t(), hidden)
        else:
            self.weight.add_(error.to(hidden.dtype).t() @ hidden)
        if self.bias is not None:
            self.bias.add_(error.sum(0))

    def scaled(self, factor: float) -> _Head:
        self.weight.mul_(factor)
        if self.bias is not None:
            self.bias.mul_(factor)
        return self


def _slices(count: int, vocabulary: int) -> Iterator[slice]:
    """Of the tokens of one chunk after the other."""
    size = rows_of_chunk(vocabulary)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _probs(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, softcap: float | None, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """(p (rows, vocabulary) float32, -log p of the targets (rows,), slope of the soft cap there).

    Softmax and the logarithm of one number a row: a third of the time of log softmax and its exponential.
    """
    logits, slope = F.linear(hidden, weight, bias.detach().to(hidden.dtype) if bias is not None else None), None
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
    return probs, losses, slope


def _error(probs: torch.Tensor, targets: torch.Tensor, slope: torch.Tensor | None) -> torch.Tensor:
    """Gradient of -log p with respect to the logits: p minus one at the target. Overwrites `probs`."""
    probs[torch.arange(len(targets), device=targets.device), targets] -= 1
    return probs if slope is None else probs.mul_(slope)


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
    for rows in _slices(len(hidden), held.shape[0]):
        probs, _, slope = _probs(hidden[rows], held, bias, ctx.softcap, targets[rows])
        found.add(_error(probs, targets[rows], slope), hidden[rows], factors[rows])
        del probs, slope
    return found
