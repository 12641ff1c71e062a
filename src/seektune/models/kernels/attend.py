"""Attention within each document of a packed row: no padding, no mask, and no scores are kept for backward.

Both ways are compiled (attend.c) where that can be had. Elsewhere forward is torch's fused kernel (with dropout, batched products),
a group of documents of one length at a time. Its backward is slow where documents have
some hundred tokens, so backward is batched products over blocks of queries. They make the weights again as exp(scores - l),
l being the logarithm of a row's sum of exponentials, which forward found (FlashAttention-2, https://arxiv.org/abs/2307.08691,
algorithm 2). Neither l nor what softmax's gradient takes off costs a pass over the scores: both are one more column of the
left operand, which meets a column of ones of the right one.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from . import native
from .arithmetic import arithmetic
from .products import has_tiles

QUERIES = 128  # of a document that are computed at once, at most
SCORES = 1 << 20  # scores that exist at once, about: they and their gradient stay near the processor
SLACK = 1.2  # small documents share products with others that have up to so many times (and 8 more) tokens
SMALL = 1 << 22  # multiplications of a document's scores up to which more calls cost more than filling it up
LONG = 640  # tokens from which on torch's backward is faster, where the processor multiplies tiles
UNEVEN = 1.5  # times an even share of the threads that one head of one document may be, if attention is to be compiled
AHEAD: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
BACK: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward", None)


def attend_documents(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    lengths: Sequence[int],
    scaling: float,
    causal: bool = True,
    dropout: float = 0.0,
) -> torch.Tensor:
    """q (heads, time, dim), k and v (kv heads, time, dim or dim of values) -> (time, heads, dim of values). On a CPU.

    Each token sees its own document, of which `lengths` tell the ends: up to itself (`causal`), or the whole of it. A share
    `dropout` of the attention weights is left out and the rest scaled up; which, is kept for backward: a byte a weight.
    """
    dtype = arithmetic(q)
    return Documents.apply(q.to(dtype), k.to(dtype), v.to(dtype), tuple(lengths), scaling, causal, dropout)


@dataclass(frozen=True)
class How:
    """What is the same for all groups of a call."""

    scaling: float
    causal: bool
    dropout: float
    heads: int  # of keys
    shared: int  # heads of queries to each of them
    dim: int  # of queries and keys


@dataclass(frozen=True)
class Group:
    """Some kv heads of documents that follow each other, of which the first begins at `start`; all are as long as the last.

    Shorter ones are filled up by repeating their last token: no token that counts sees it (`causal`), and it gets no gradient.
    """

    start: int
    lengths: tuple[int, ...]  # as they are, rising
    heads: slice

    @property
    def count(self) -> int:
        return len(self.lengths)

    @property
    def length(self) -> int:
        return self.lengths[-1]

    @property
    def rows(self) -> slice:
        return slice(self.start, self.start + sum(self.lengths))

    # In numpy, as groups are kept: a tensor made while only shapes are computed (models/blueprint.py) would be none.

    @functools.cached_property
    def spread(self) -> np.ndarray | None:
        """(documents × length,) of which row; None where nothing is filled up."""
        if self.lengths[0] == self.length:
            return None
        ends = np.cumsum(self.lengths)[:, None]
        starts = ends - np.array(self.lengths)[:, None]
        return (self.start + np.minimum(starts + np.arange(self.length), ends - 1)).ravel()

    @functools.cached_property
    def unreal(self) -> np.ndarray:
        """(documents, length), where it was filled up."""
        return np.arange(self.length) >= np.array(self.lengths)[:, None]

    @functools.cached_property
    def compact(self) -> np.ndarray:
        """The way back from `spread`."""
        return np.flatnonzero(~self.unreal)

    def blocks(self, how: How) -> list[tuple[int, int, int]]:
        """(first query, end of the queries, end of the keys that they see), the same in each document."""
        rows = self.count * (self.heads.stop - self.heads.start) * how.shared
        queries = min(QUERIES, max(16, SCORES // (rows * self.length)))
        count = -(-self.length // queries)
        ends = [block * self.length // count for block in range(count + 1)]
        return [(a, b, b if how.causal else self.length) for a, b in itertools.pairwise(ends)]

    def part(self, x: torch.Tensor, how: How) -> torch.Tensor:
        """x (time, heads, dim) -> (documents, length, kv heads, heads of queries to each, dim); a view where nothing is filled up."""
        rows = x[self.rows] if self.spread is None else x.index_select(0, torch.from_numpy(self.spread))
        return rows.unflatten(0, (self.count, self.length)).unflatten(2, (how.heads, -1))[:, :, self.heads]

    def put(self, part: torch.Tensor, into: torch.Tensor, how: How) -> None:
        """The reverse of `part`, of a copy that was filled up; of a view there is nothing to do."""
        if self.spread is not None:
            some = part.flatten(0, 1).index_select(0, torch.from_numpy(self.compact))
            into[self.rows].unflatten(1, (how.heads, -1))[:, self.heads] = some


@functools.lru_cache(maxsize=8)  # the layers of a model ask one after another, forward and back
def groups(lengths: tuple[int, ...], how: How) -> tuple[Group, ...]:
    """Cuts a row: as many documents of like length as have `SCORES`, or the heads of one document in parts."""
    found, start, at = list[Group](), 0, 0
    while at < len(lengths):
        least = lengths[at]
        small = how.causal and least * least * how.heads * how.shared * how.dim <= SMALL
        longest = least * SLACK + 8 if small else least
        end = at + 1
        while end < len(lengths) and lengths[end - 1] <= lengths[end] <= longest and \
                (end + 1 - at) * how.heads * _scores_of_head(lengths[end], how) <= SCORES:  # fmt: skip
            end += 1
        some = tuple(lengths[at:end])
        part = max(1, SCORES // (len(some) * _scores_of_head(some[-1], how)))
        for first in range(0, how.heads, part):
            found.append(Group(start, some, slice(first, min(first + part, how.heads))))
        start, at = start + sum(some), end
    return tuple(found)


def _scores_of_head(length: int, how: How) -> int:
    return how.shared * length * min(length, QUERIES)


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
        how = How(scaling, causal, dropout, k.shape[1], q.shape[1] // k.shape[1], q.shape[2])
        ctx.lengths, ctx.how = lengths, how
        if _compiled(lengths, how, q, k, v):
            out, sums = native.attend(q, k, v, lengths, scaling, causal)
            ctx.save_for_backward(q, k, v, out, sums)
            return out
        out = q.new_empty(*q.shape[:2], v.shape[-1])
        sums = torch.empty(*q.shape[:2], 1, dtype=_exact(q))
        kept: list[torch.Tensor] = []
        for group in groups(lengths, how):
            parts = [group.part(x, how) for x in (q, k, v, out, sums)]
            if dropout or AHEAD is None:
                kept += _ahead(parts, group, how)
            else:
                _ahead_fused(parts, how)
            for part, whole in zip(parts[3:], (out, sums), strict=True):
                group.put(part, whole, how)
        ctx.save_for_backward(q, k, v, out, sums, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        q, k, v, out, sums, *kept = ctx.saved_tensors
        how, masks = ctx.how, iter(kept)
        grad = grads[0] if grads[0].stride(-1) == 1 else grads[0].contiguous()
        if _compiled(ctx.lengths, how, q, k, v, grad):
            found = native.attend_back(grad, q, k, v, out, sums, ctx.lengths, how.scaling, how.causal)
            return (*(x.transpose(0, 1) for x in found), None, None, None, None)
        found = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v)]
        cut = groups(ctx.lengths, how)
        scratch = sums.new_empty(2, max((_scores(group, how) for group in cut), default=0))
        for group in cut:
            parts = [group.part(x, how) for x in (q, k, v, out, sums, grad, *found)]
            if group.length >= LONG and q.shape == out.shape and not how.dropout and _has_tiles(q):
                _back_fused(parts, how)
            else:
                _back(parts, group, how, scratch, masks)
            for part, whole in zip(parts[6:], found, strict=True):
                group.put(part, whole, how)
        return (*(x.transpose(0, 1) for x in found), None, None, None, None)


def _compiled(lengths: tuple[int, ...], how: How, *tensors: torch.Tensor) -> bool:
    """Whether attend.c takes these. Its threads share documents and heads of keys, so one long document may leave some idle."""
    if how.dropout or not lengths or not native.attends(*tensors):
        return False
    if sum(lengths) != len(tensors[0]) or tensors[1].shape[1] != tensors[2].shape[1]:
        return False  # what is no layout of these rows is refused by the other way; C would write past their end
    scores = [length * length for length in lengths]
    return max(scores) * torch.get_num_threads() <= UNEVEN * how.heads * sum(scores)


# By torch's fused kernel. All parts are (documents, length, kv heads, heads of queries, dim)


def _ahead_fused(parts: list[torch.Tensor], how: How) -> None:
    q, k, v, out, sums = parts
    width = max(q.shape[-1], v.shape[-1])  # the kernel wants one: zeros change neither a score nor a value
    wide = (torch.nn.functional.pad(x, (0, width - x.shape[-1])) if x.shape[-1] < width else x for x in (q, k, v))
    found, logs = AHEAD(*_operands(*wide), 0.0, how.causal, scale=how.scaling)
    _put(out, found[..., : v.shape[-1]])
    _put(sums, logs.unsqueeze(-1))


def _back_fused(parts: list[torch.Tensor], how: How) -> None:
    q, k, v, out, sums, grad, grad_q, grad_k, grad_v = parts
    logs = _batch(sums).squeeze(-1)
    found = BACK(_batch(grad), *_operands(q, k, v), _batch(out), logs, 0.0, how.causal, scale=how.scaling)
    _put(grad_q, found[0])
    for into, one in zip((grad_k, grad_v), found[1:], strict=True):
        _put(into, one.sum(1, keepdim=True))


def _operands(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (_batch(q), *(_batch(x).expand(-1, q.shape[3], -1, -1) for x in (k, v)))


def _batch(x: torch.Tensor) -> torch.Tensor:
    """(documents × kv heads, heads of queries, length, dim)."""
    return x.permute(0, 2, 3, 1, 4).flatten(0, 1)


def _put(into: torch.Tensor, found: torch.Tensor) -> None:
    """The reverse of `_batch`."""
    into.permute(0, 2, 3, 1, 4).copy_(found.unflatten(0, (into.shape[0], into.shape[2])))


# By batched products, a block of queries at a time


def _ahead(parts: list[torch.Tensor], group: Group, how: How) -> list[torch.Tensor]:
    """Fills `out` and `sums`; returns which weights were kept, one mask a block, where there is dropout."""
    q, k, v, out, sums = parts
    keys, values, kept = _rows(k, 0), _rows(v, 0), []
    for first, last, seen in group.blocks(how):
        scores = torch.bmm(_rows(q[:, first:last], 0).mul_(how.scaling), keys[:, :seen].transpose(1, 2))
        _hide(scores, first, last, how, float("-inf"))
        weights = scores.softmax(-1)
        logs = scores.amax(-1, keepdim=True) - weights.amax(-1, keepdim=True).log_()
        _put_rows(sums[:, first:last], logs)
        if how.dropout:
            kept.append(torch.empty(weights.shape, dtype=torch.bool).bernoulli_(1 - how.dropout))
            weights.mul_(kept[-1]).mul_(1 / (1 - how.dropout))
        _put_rows(out[:, first:last], torch.bmm(weights, values[:, :seen]))
    return kept


def _back(
    parts: list[torch.Tensor], group: Group, how: How, scratch: torch.Tensor, masks: Iterator[torch.Tensor]
) -> None:
    """Fills the three gradients; `scratch` (2, at least `_scores(group)`) holds the weights and their gradient."""
    q, k, v, out, sums, grad, grad_q, grad_k, grad_v = parts
    keys, values = _rows(k, 1), _rows(v, 1)
    keys[..., -1] = values[..., -1] = 1
    to_keys, to_values = torch.zeros_like(keys[..., :-1]), torch.zeros_like(values[..., :-1])
    for first, last, seen in group.blocks(how):
        queries, outer = _rows(q[:, first:last], 1), _rows(grad[:, first:last], 1)
        queries[..., :-1].mul_(how.scaling)
        torch.neg(_rows(sums[:, first:last], 0), out=queries[..., -1:])
        taken = -torch.linalg.vecdot(outer[..., :-1], _rows(out[:, first:last], 0)).unsqueeze(-1)
        outer[..., -1:] = 0 if how.dropout else taken
        if group.spread is not None:
            unreal = torch.from_numpy(group.unreal)[:, None, first:last, None, None]
            outer.unflatten(0, (group.count, -1)).unflatten(2, (last - first, -1)).masked_fill_(unreal, 0)
        shape = (queries.shape[0], queries.shape[1], seen)
        weights, slopes = (flat[: queries.shape[0] * queries.shape[1] * seen].view(shape) for flat in scratch)
        torch.bmm(queries, keys[:, :seen].transpose(1, 2), out=weights).exp_()
        _hide(weights, first, last, how, 0.0)
        torch.bmm(outer, values[:, :seen].transpose(1, 2), out=slopes)
        used = weights
        if how.dropout:
            kept = next(masks) * (1 / (1 - how.dropout))
            used, slopes = weights * kept, slopes.mul_(kept).add_(taken)
        to_values[:, :seen].baddbmm_(used.transpose(1, 2), outer[..., :-1])
        slopes.mul_(weights)
        to_keys[:, :seen].baddbmm_(slopes.transpose(1, 2), queries[..., :-1])
        _put_rows(grad_q[:, first:last], torch.bmm(slopes, keys[:, :seen, :-1]).mul_(how.scaling))
    _put_rows(grad_k, to_keys)
    _put_rows(grad_v, to_values)


def _rows(x: torch.Tensor, more: int) -> torch.Tensor:
    """A copy (documents × kv heads, length × heads of queries, dim + `more`) in the exact type; what is more is not set."""
    some = x.transpose(1, 2)
    rows = torch.empty(*some.shape[:-1], x.shape[-1] + more, dtype=_exact(x))
    rows[..., : x.shape[-1]] = some
    return rows.flatten(2, 3).flatten(0, 1)


def _put_rows(into: torch.Tensor, found: torch.Tensor) -> None:
    """The reverse of `_rows`."""
    some = into.transpose(1, 2)
    some.copy_(found.view(some.shape))


def _hide(scores: torch.Tensor, first: int, last: int, how: How, value: float) -> None:
    """Where a query would see a later token of its own block."""
    if how.causal and last > first + 1:
        count = last - first
        later = torch.ones(count, count, dtype=torch.bool).triu_(1)
        scores.unflatten(1, (count, -1))[..., first:last].masked_fill_(later[:, None], value)


def _scores(group: Group, how: How) -> int:
    """The most that a block has."""
    rows = group.count * (group.heads.stop - group.heads.start) * how.shared
    return rows * max((last - first) * seen for first, last, seen in group.blocks(how))


def _exact(x: torch.Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _has_tiles(x: torch.Tensor) -> bool:
    """Whether the processor multiplies 16-bit tiles (AMX), and x is of such numbers."""
    return BACK is not None and x.dtype == torch.bfloat16 and has_tiles()
