"""Rotary position embedding (Su et al. 2021, https://arxiv.org/abs/2104.09864) of queries and keys in one pass over each.

Transformers' models compute it in five passes, two of which copy. The halves of a head are turned against each other, as in
Llama; models that turn neighbours, or a part of a head, keep their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from . import native

Pair = tuple[torch.Tensor, torch.Tensor]


def instead_of(own: Callable[..., Pair]) -> Callable[..., Pair]:
    """A function that turns queries and keys as `own`, a model's `apply_rotary_pos_emb`, and calls that where no piece is compiled."""

    def apply_rotary_pos_emb(
        q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *more: Any, **named: Any
    ) -> Pair:
        plain = not more and not named and not cos.requires_grad and q.ndim == 4 and cos.ndim == 3
        if not plain or q.shape[-1] != cos.shape[-1] or cos.shape != sin.shape:
            return own(q, k, cos, sin, *more, **named)
        rows = (q.shape[0], *cos.shape[1:])
        angles = [x.expand(rows).contiguous() for x in (cos, sin)]
        if not native.ready(q.transpose(1, 2), k.transpose(1, 2), *angles):
            return own(q, k, cos, sin)
        return Rotate.apply(q, *angles), Rotate.apply(k, *angles)

    return apply_rotary_pos_emb


class Rotate(torch.autograd.Function):
    """x (batch, heads, time, width), laid out as (batch, time, heads, width); cos and sin (batch, time, width). Gradient for x."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x.detach(), cos, sin, False)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        cos, sin = ctx.saved_tensors
        return _rotated(grads[0], cos, sin, True), None, None


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, reverse: bool) -> torch.Tensor:
    rows = x.transpose(1, 2).contiguous()
    return native.rotate(rows.flatten(0, 1), cos, sin, reverse).view(rows.shape).transpose(1, 2)
