"""Attention within each document of a packed row, as batched products: nothing is kept for backward but q, k and v.

Documents of one length that follow each other are computed together, long ones a block of queries at a time, with the keys
up to there. Scores exist for one such piece only; backward makes them again. On a CPU this is several times faster than
torch's fused kernel, whose backward is slow, and needs no padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .arithmetic import arithmetic

QUERIES = 128  # of a document that are computed at once
SMALL = 1e8  # FLOPs of a product up to which compiling it for its shape takes longer than float32, which is not compiled, is slower
SCORES = 1 << 20  # scores of a piece, about; more documents than that are computed one after another


def attend_documents(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    lengths: Sequence[int],
    scaling: float,
    causal: bool = True,
    dropout: float = 0.0,
) -> torch.Tensor:
    """q (heads, time, dim), k and v (kv heads, time, dim or dim of values) -> (time, heads, dim of values).

    Each token sees its own document, of which `lengths` tell the ends: up to itself (`causal`), or the whole of it. A share
    `dropout` of the attention weights is left out and the rest scaled up; which, is kept for backward: a byte a weight.
    """
    dtype = arithmetic(q)
    return Documents.apply(q.to(dtype), k.to(dtype), v.to(dtype), tuple(lengths), scaling, causal, dropout)


@dataclass(frozen=True)
class Piece:
    """Queries first … last of `count` documents of one length, of which the first begins at `start`; they see `keys` keys."""

    start: int
    count: int
    length: int
    first: int
    last: int
    keys: int


def pieces(lengths: Sequence[int], heads: int, causal: bool) -> Iterator[Piece]:
    """Cuts a row into pieces."""
    start = at = 0
    while at < len(lengths):
        length = lengths[at]
        blocks = -(-length // QUERIES)
        most = max(1, SCORES // (heads * length * -(-length // blocks)))
        count = 1
        while at + count < len(lengths) and lengths[at + count] == length and count < most:
            count += 1
        for block in range(blocks):
            first, last = block * length // blocks, (block + 1) * length // blocks
            yield Piece(start, count, length, first, last, last if causal else length)
        start, at = start + count * length, at + count


class Documents(torch.autograd.Function):
    """See `attend_documents`."""

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        lengths: tuple[int, ...],
        scaling: float,
        causal: bool,
        dropout: float,
    ) -> torch.Tensor:
        q, k, v = (x.detach().transpose(0, 1) for x in (q, k, v))  # (time, heads, dim)
        out = q.new_empty(q.shape[0], q.shape[1], v.shape[-1])
        kept: list[torch.Tensor] = []
        for piece in pieces(lengths, q.shape[1], causal):
            queries, keys, values = (x.to(_type(piece, q)) for x in _operands(q, k, v, piece))
            weights = _weights(queries, keys, piece, scaling, causal)
            if dropout:
                kept.append(torch.empty(weights.shape, dtype=torch.bool, device=q.device).bernoulli_(1 - dropout))
                weights = weights.mul_(kept[-1]).mul_(1 / (1 - dropout))
            _put(out, piece, torch.bmm(weights, values))
        ctx.save_for_backward(q, k, v, *kept)
        ctx.lengths, ctx.scaling, ctx.causal, ctx.dropout = lengths, scaling, causal, dropout
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        q, k, v, *kept = ctx.saved_tensors
        grad_q, grad_k, grad_v = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
        groups, scale = k.shape[1], 1 / (1 - ctx.dropout)
        for number, piece in enumerate(pieces(ctx.lengths, q.shape[1], ctx.causal)):
            queries, keys, values = (x.to(_type(piece, q)) for x in _operands(q, k, v, piece))
            grad = _queries(grads[0], piece, groups).to(queries.dtype)
            weights = _weights(queries, keys, piece, ctx.scaling, ctx.causal)
            seen = weights * kept[number] * scale if kept else weights
            _add(grad_v, piece, torch.bmm(seen.transpose(1, 2), grad), ctx.causal)
            slopes = torch.bmm(grad, values.transpose(1, 2))
            if kept:
                slopes = slopes.mul_(kept[number]).mul_(scale)
            slopes = torch._softmax_backward_data(slopes, weights, -1, weights.dtype).mul_(ctx.scaling)
            _put(grad_q, piece, torch.bmm(slopes, keys))
            _add(grad_k, piece, torch.bmm(slopes.transpose(1, 2), queries), ctx.causal)
        return (*(x.transpose(0, 1) for x in (grad_q, grad_k, grad_v)), None, None, None, None)


def _weights(queries: torch.Tensor, keys: torch.Tensor, piece: Piece, scaling: float, causal: bool) -> torch.Tensor:
    """Softmax of the scores (documents × kv heads, heads of a group × queries, keys)."""
    scores = torch.bmm(queries, keys.transpose(1, 2)).mul_(scaling)
    if causal:
        count = piece.last - piece.first
        hidden = torch.full((count, count), float("-inf"), dtype=scores.dtype, device=scores.device).triu(1)
        scores.unflatten(1, (-1, count))[..., piece.first :].add_(hidden)
    return scores.softmax(-1)


def _type(piece: Piece, q: torch.Tensor) -> torch.dtype:
    """Of the arithmetic. On a CPU oneDNN compiles every shape of a 16-bit product anew, and documents have many lengths."""
    work = 2.0 * piece.count * q.shape[1] * (piece.last - piece.first) * piece.keys * q.shape[-1]
    return torch.float32 if q.device.type == "cpu" and q.dtype.itemsize == 2 and work < SMALL else q.dtype


def _operands(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, piece: Piece
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return _queries(q, piece, k.shape[1]), _keys(k, piece), _keys(v, piece)


def _span(x: torch.Tensor, piece: Piece) -> torch.Tensor:
    """(documents, heads, length, dim) of x (time, heads, dim), a view."""
    rows = x[piece.start : piece.start + piece.count * piece.length]
    return rows.unflatten(0, (piece.count, piece.length)).transpose(1, 2)


def _queries(x: torch.Tensor, piece: Piece, groups: int) -> torch.Tensor:
    """(documents × kv heads, heads of a group × queries, dim)."""
    some = _span(x, piece)[:, :, piece.first : piece.last]
    return some.reshape(piece.count * groups, -1, x.shape[-1])


def _keys(x: torch.Tensor, piece: Piece) -> torch.Tensor:
    """(documents × kv heads, keys, dim)."""
    return _span(x, piece)[:, :, : piece.keys].reshape(piece.count * x.shape[1], piece.keys, x.shape[-1])


def _put(into: torch.Tensor, piece: Piece, found: torch.Tensor) -> None:
    """The reverse of `_queries`."""
    count = piece.last - piece.first
    _span(into, piece)[:, :, piece.first : piece.last] = found.view(piece.count, -1, count, into.shape[-1])


def _add(into: torch.Tensor, piece: Piece, found: torch.Tensor, causal: bool) -> None:
    """The reverse of `_keys`: keys that an earlier block has seen are added to, others written."""
    part = found.view(piece.count, -1, piece.keys, into.shape[-1])
    seen = piece.first if causal else (piece.keys if piece.first else 0)
    span = _span(into, piece)
    span[:, :, :seen] += part[:, :, :seen]
    span[:, :, seen : piece.keys] = part[:, :, seen:]
