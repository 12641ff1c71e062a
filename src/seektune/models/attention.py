"""Attention that keeps packed documents apart, for every model that takes its attention from transformers' interface.

`register()` adds the implementation "seektune": a mask function and an attention function that know how the row is laid
out (`laid_out`). Where a model's own mask is plain causal, or sees everything, inside a document, documents of like
length are computed together, apart from all others; where more binds (a window, a chunk), one dense mask joins both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from .kernels import attend, attend_gpu

if TYPE_CHECKING:
    from .trees import Trees

NAME = "seektune"


SLACK = 1.2  # documents share one attention call while the longest is at most this many times the shortest (and 8 more)
ASKED = 512  # queries of a document about which a mask is asked
SHORT = 256  # tokens up to which batched products beat the fused kernel on a CPU


@dataclass(frozen=True)
class Groups:
    """Documents of like length, padded on the right to the longest of their group: shapes and the way there and back."""

    shapes: tuple[tuple[int, int], ...]  # (documents, length) of each group
    lengths: torch.Tensor  # (documents,)
    spread: torch.Tensor | None  # (padded time,) index into the row; None where nothing is padded
    compact: torch.Tensor | None  # (time,) index into the padded row

    @classmethod
    def of(cls, lengths: tuple[int, ...], device: torch.device) -> Groups:
        """`lengths` rise (data/pack.py sorts them)."""
        shapes, members = [], list[int]()
        spread, compact, at, padded = [], [], 0, 0
        for i, length in enumerate(lengths):
            members.append(length)
            if i + 1 < len(lengths) and lengths[i + 1] <= members[0] * SLACK + 8 and lengths[i + 1] >= length:
                continue
            shapes.append((len(members), length))
            for member in members:
                spread.append(torch.arange(at, at + length).clamp_(max=at + member - 1))
                compact.append(torch.arange(padded, padded + member))
                at, padded = at + member, padded + length
            members = []
        exact = at == padded
        index = lambda parts: None if exact else torch.cat(parts).to(device)  # noqa: E731
        return cls(tuple(shapes), torch.tensor(lengths, device=device), index(spread), index(compact))


class Layout:
    """How the row that is being computed is laid out. Kept until the next forward, for recomputation in backward."""

    lengths: tuple[int, ...] | None = None  # of the documents of a packed row; None: the model's own mask is enough
    segments: torch.Tensor | None = None  # (1, time)
    groups: Groups | None = None  # found when they are asked for
    ends: attend_gpu.Ends | None = None  # likewise
    trees: Trees | None = (
        None  # where documents share prefixes; `lengths` and `groups` are then of what stands before the branches
    )
    rows: tuple[int, ...] | None = None  # of rows that hold one document each; the mask is the model's own


current = Layout()


class Spread(torch.autograd.Function):
    """(1, heads, time, dim) -> padded time. Padding repeats a document's last token and gets no gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, spread: torch.Tensor, compact: torch.Tensor) -> torch.Tensor:
        ctx.compact = compact
        return x.index_select(2, spread)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        return grads[0].index_select(2, ctx.compact), None, None


class Compact(torch.autograd.Function):
    """(padded time, heads, dim) -> time; the gradient of padding is zero."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, compact: torch.Tensor) -> torch.Tensor:
        ctx.compact, ctx.size = compact, x.shape[0]
        return x.index_select(0, compact)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        whole = grads[0].new_zeros(ctx.size, *grads[0].shape[1:])
        return whole.index_copy_(0, ctx.compact, grads[0]), None


@contextlib.contextmanager
def laid_out(
    lengths: tuple[int, ...] | None, segments: torch.Tensor | None, trees: Trees | None = None
) -> Iterator[None]:
    """Tell the attention function where documents end. Deliberately not undone on leaving: see `Layout`."""
    lengths = trees.roots if trees is not None else lengths
    if lengths != current.lengths or segments is None or segments.device != _device():
        current.groups = current.ends = None
    current.lengths, current.segments, current.trees, current.rows = lengths, segments, trees, None
    yield


def clear(rows: tuple[int, ...] | None = None) -> None:
    """From here on the model's own mask is enough; `rows`: lengths of the documents, one a row, where that is known."""
    current.lengths = current.segments = current.groups = current.ends = current.trees = None
    current.rows = rows


def _device() -> torch.device | None:
    return current.segments.device if current.segments is not None else None


def _groups() -> Groups:
    """Of the row that is being computed."""
    if current.groups is None:
        assert current.lengths is not None and current.segments is not None
        current.groups = Groups.of(current.lengths, current.segments.device)
    return current.groups


def _ends() -> attend_gpu.Ends:
    """Likewise."""
    if current.ends is None:
        assert current.lengths is not None and current.segments is not None
        current.ends = attend_gpu.Ends.of(current.lengths, current.segments.device)
    return current.ends


def register() -> str:
    """Make "seektune" known to transformers; returns the name. Safe to call again."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, document_attention)
    AttentionMaskInterface.register(NAME, document_mask)
    return NAME


def document_mask(
    batch_size: int, q_length: int, kv_length: int, mask_function: Callable | None = None, **rest: Any
) -> torch.Tensor | None:
    """None where `document_attention` can do without a mask, otherwise a bool mask (batch, 1, query, key)."""
    from transformers.masking_utils import causal_mask_function, sdpa_mask

    mask_function = mask_function or causal_mask_function
    arguments = dict(rest, batch_size=batch_size, q_length=q_length, kv_length=kv_length, mask_function=mask_function)
    if current.lengths is None or current.segments is None or kv_length != current.segments.shape[-1]:
        return sdpa_mask(**arguments)
    inside = current.lengths if current.trees is None else (current.trees.longest,)
    if not rest.get("use_vmap") and plain_inside(mask_function, inside, current.segments.device):
        return None
    arguments |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    if current.trees is not None:
        return current.trees.mask(**arguments)
    dense = sdpa_mask(**arguments)
    same = current.segments[:, None, :, None] == current.segments[:, None, None, :]
    return same if dense is None else dense & same


def plain_inside(mask_function: Callable, lengths: tuple[int, ...], device: torch.device) -> bool:
    """Whether the mask is plain causal, or all ones, within the longest document (the last one: they are sorted).

    Of a long document some queries are asked, each about every key: first and last ones, where a window, a chunk or a
    prefix shows, and others spread between.
    """
    longest, end = max(lengths), sum(lengths)
    index = torch.arange(end - longest, end, device=device)
    asked = index if longest <= ASKED else index[_spread(longest).to(device)]
    zero = torch.zeros((), dtype=torch.long, device=device)
    grid = mask_function(zero, zero, asked[:, None], index[None, :])
    if not isinstance(grid, torch.Tensor):
        return False
    causal = asked[:, None] >= index[None, :]
    grid = grid.expand_as(causal)
    return bool(torch.equal(grid, causal) or grid.all())


def _spread(longest: int) -> torch.Tensor:
    """`ASKED` of so many positions, in order: an eighth at each end, the rest spread evenly."""
    ends, rest = ASKED // 8, ASKED - ASKED // 4
    between = torch.linspace(ends, longest - ends - 1, rest).long()
    return torch.cat([torch.arange(ends), between, torch.arange(longest - ends, longest)])


def document_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """query (batch, heads, time, dim), key and value (batch, kv heads, time, dim) -> (batch, time, heads, dim)."""
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    softcap, sinks = rest.get("softcap"), rest.get("s_aux")
    plain = softcap is None and sinks is None and rest.get("position_bias") is None

    def one(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        way = _attend if plain else _attend_by_hand
        return way(q, k, v, mask, causal and mask is None and q.shape[2] > 1, dropout, scaling, rest)

    segments = current.segments if current.lengths else None
    if attention_mask is not None or segments is None or query.shape[2] != segments.shape[-1]:
        return one(query, *_repeated(query, key, value), attention_mask).transpose(1, 2).contiguous(), None
    branches = None
    if current.trees is not None:
        if not causal:
            raise ValueError("documents share a prefix only where attention is causal")
        query, key, value, branches = current.trees.attend(query, *_repeated(query, key, value), one)
    how = (_scale(query, scaling), causal, dropout)
    if plain and dropout < 1 and query.device.type == "cpu":
        whole = attend.attend_documents(query[0], key[0], value[0], current.lengths or (), *how)
    elif plain and attend_gpu.takes(query, dropout):
        whole = attend_gpu.attend_documents(query[0], key[0], value[0], _ends(), *how)
    else:
        whole = _by_groups(query, *_repeated(query, key, value), _groups(), causal, one)
    return (whole if branches is None else torch.cat([whole, branches])).unsqueeze(0), None


def _scale(query: torch.Tensor, scaling: float | None) -> float:
    return scaling if scaling is not None else query.shape[-1] ** -0.5


def _repeated(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values for as many heads as there are queries of."""
    repeats = query.shape[1] // key.shape[1]
    return (key, value) if repeats == 1 else (key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1))


def _by_groups(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, groups: Groups, causal: bool, one: Callable
) -> torch.Tensor:
    """(1, heads, time, dim) -> (time, heads, dim): one call of `one` for all documents of like length."""
    if groups.spread is not None and groups.compact is not None:
        query, key, value = (Spread.apply(x, groups.spread, groups.compact) for x in (query, key, value))
    heads, parts, first = query.shape[1], [], 0
    sizes = [count * length for count, length in groups.shapes]
    for (count, length), *qkv in zip(groups.shapes, *(x.split(sizes, 2) for x in (query, key, value)), strict=True):
        q, k, v = (x[0].unflatten(1, (count, length)).transpose(0, 1) for x in qkv)
        mask = None if causal else _own_keys(groups.lengths[first : first + count], length)
        parts.append(one(q, k, v, mask).transpose(1, 2).reshape(count * length, heads, -1))
        first += count
    whole = torch.cat(parts)
    return whole if groups.compact is None else Compact.apply(whole, groups.compact)


def _own_keys(lengths: torch.Tensor, longest: int) -> torch.Tensor | None:
    """Where every token sees its whole document: hide the padding. (documents, 1, 1, longest); None without padding."""
    if bool((lengths == longest).all()):
        return None
    return (torch.arange(longest, device=lengths.device) < lengths[:, None])[:, None, None]


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    causal: bool,
    dropout: float,
    scaling: float | None,
    rest: dict,
) -> torch.Tensor:
    short = q.device.type == "cpu" and q.shape[2] <= SHORT and not dropout
    if short and causal and q.shape[2] == k.shape[2]:
        return _attend_short(q, k, v, scaling if scaling is not None else q.shape[-1] ** -0.5)
    if short and mask is not None and mask.ndim == 2 and q.dtype == torch.bfloat16 and k.shape[2] <= 2 * SHORT:
        return _attend_short(q, k, v, scaling if scaling is not None else q.shape[-1] ** -0.5)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal, scale=scaling)


def _attend_short(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scaling: float) -> torch.Tensor:
    """Causal attention as batched products: for short documents torch's fused CPU kernel is 2.7 times slower (bf16, length 96).

    Keys that stand before the queries (a shared prefix) are seen by all of them.
    """
    (batch, heads, time, _), keys = q.shape, k.shape[2]
    hidden = torch.full((time, keys), float("-inf"), dtype=q.dtype).triu(1 + keys - time)
    hidden = hidden.expand(batch * heads, time, keys)
    q, k, v = (x.reshape(batch * heads, x.shape[2], x.shape[-1]) for x in (q, k, v))
    scores = torch.baddbmm(hidden, q, k.transpose(1, 2), alpha=scaling)
    return torch.bmm(scores.softmax(-1), v).view(batch, heads, time, -1)


def _attend_by_hand(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    causal: bool,
    dropout: float,
    scaling: float | None,
    rest: dict,
) -> torch.Tensor:
    """Soft cap (Gemma 2), sinks (gpt-oss: one more logit a head that takes probability away) and position bias (T5)."""
    scores = (q @ k.transpose(-1, -2)) * (scaling if scaling is not None else q.shape[-1] ** -0.5)
    if (bias := rest.get("position_bias")) is not None:
        scores = scores + bias
    if (cap := rest.get("softcap")) is not None:
        scores = torch.tanh(scores / cap) * cap
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    scores = scores.float()
    if (sinks := rest.get("s_aux")) is not None:
        extra = sinks.float().reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        weights = torch.cat([scores, extra], -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    return F.dropout(weights.to(v.dtype), dropout, training=dropout > 0) @ v
