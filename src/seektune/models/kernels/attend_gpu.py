"""Attention within each document of a packed row on a CUDA GPU: one call for all documents, whatever their lengths.

torch carries two kernels that take the ends of documents: FlashAttention-2 (https://arxiv.org/abs/2307.08691) for 16 bits,
and the memory-efficient one (https://arxiv.org/abs/2112.05682) for float32 and older GPUs. No further package is needed.
The second one leaves out other weights in backward than it did in forward when there are several documents (torch 2.11).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from .arithmetic import arithmetic

LARGE = (
    (8, 0),
    (9, 0),
    (10, 0),
)  # cards whose memory beside a processor holds backward's heads of 256 numbers; others 192
EIGHTH = 8  # the width of a head must be a multiple of this
CAUSAL = 1  # of the memory-efficient kernel's masks: by position, counted from the first


class Ends(NamedTuple):
    """Where the documents of a row begin and end."""

    places: torch.Tensor  # (documents + 1,) int32, on the GPU
    longest: int

    @classmethod
    def of(cls, lengths: tuple[int, ...], device: torch.device) -> Ends:
        places = torch.tensor((0, *lengths), dtype=torch.int32).cumsum(0, dtype=torch.int32)
        return cls(places.to(device, non_blocking=True), max(lengths))


def attend_documents(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    ends: Ends,
    scaling: float,
    causal: bool = True,
    dropout: float = 0.0,
) -> torch.Tensor:
    """q (heads, time, dim), k and v (kv heads, time, dim or dim of values) -> (time, heads, dim of values).

    Each token sees its own document: up to itself (`causal`), or the whole of it. `dropout` of the attention weights.
    """
    dtype, width = arithmetic(q), v.shape[-1]
    flash = _takes_flash(q, dtype)
    q, k, v = (_filled(x.to(dtype).transpose(0, 1)) for x in (q, k, v))  # (time, heads, dim)
    if flash:
        return Flash.apply(*_alike(q, k, v), ends, scaling, causal, dropout)[..., :width]
    shared = q.shape[1] // k.shape[1]
    if shared > 1:
        k, v = (x.repeat_interleave(shared, 1) for x in (k, v))
    return Efficient.apply(q, k, v, ends, scaling, causal)[..., :width]


def takes(q: torch.Tensor, dropout: float) -> bool:
    """Whether there is a kernel for these queries, in the type that they have or that autocast gives them."""
    dtype = arithmetic(q)
    known = q.is_cuda and dtype in (torch.float32, torch.bfloat16, torch.float16)
    return known and (not dropout or (dropout < 1 and _takes_flash(q, dtype)))


def _takes_flash(q: torch.Tensor, dtype: torch.dtype) -> bool:
    return dtype != torch.float32 and q.shape[-1] <= _widest(q.device)


@functools.cache
def _widest(device: torch.device) -> int:
    """Numbers of a head that FlashAttention takes on a card, forward and back; 0 where it does not run."""
    if not torch.backends.cuda.is_flash_attention_available():
        return 0
    card = torch.cuda.get_device_capability(device)
    return 0 if card < (8, 0) else 256 if card in LARGE else 192


def _filled(x: torch.Tensor, width: int = 0) -> torch.Tensor:
    """With zeros behind each head, which change neither a score nor a value: up to `width`, or to one that the kernels take."""
    width = width or -(-x.shape[-1] // EIGHTH) * EIGHTH
    return F.pad(x, (0, width - x.shape[-1])) if x.shape[-1] < width else x


def _alike(*parts: torch.Tensor) -> tuple[torch.Tensor, ...]:
    width = max(x.shape[-1] for x in parts)
    return tuple(_filled(x, width) for x in parts)


class Flash(torch.autograd.Function):
    """q, k, v (time, heads, dim) of one width; as many heads of keys as divide those of queries."""

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        ends: Ends,
        scaling: float,
        causal: bool,
        dropout: float,
    ) -> torch.Tensor:
        at, longest = ends
        out, sums, *random, _ = torch.ops.aten._flash_attention_forward(
            q, k, v, at, at, longest, longest, dropout, causal, False, scale=scaling
        )
        ctx.save_for_backward(q, k, v, out, sums, at, *random)
        ctx.rest = longest, scaling, causal, dropout
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        q, k, v, out, sums, at, *random = ctx.saved_tensors
        longest, scaling, causal, dropout = ctx.rest
        found = torch.ops.aten._flash_attention_backward(
            grads[0].contiguous(), q, k, v, out, sums, at, at, longest, longest, dropout, causal, *random, scale=scaling
        )
        return (*found, None, None, None, None)


class Efficient(torch.autograd.Function):
    """q, k (time, heads, dim), v (time, heads, dim of values)."""

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        ends: Ends,
        scaling: float,
        causal: bool,
    ) -> torch.Tensor:
        at, longest = ends
        q, k, v = (x.unsqueeze(0).contiguous() for x in (q, k, v))
        out, sums, *random, _, _ = torch.ops.aten._efficient_attention_forward(
            q, k, v, None, at, at, longest, longest, 0.0, CAUSAL if causal else 0, True, scale=scaling
        )
        ctx.save_for_backward(q, k, v, out, sums, at, *random)
        ctx.rest = longest, scaling, causal
        return out[0]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        q, k, v, out, sums, at, *random = ctx.saved_tensors
        longest, scaling, causal = ctx.rest
        found = torch.ops.aten._efficient_attention_backward(
            grads[0].unsqueeze(0).contiguous(), q, k, v, None, out, at, at, longest, longest, sums, 0.0, *random,
            CAUSAL if causal else 0, False, scale=scaling,
        )  # fmt: skip
        return (*(x[0] for x in found[:3]), None, None, None)
