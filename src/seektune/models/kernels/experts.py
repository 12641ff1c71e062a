"""Stacked experts on sorted tokens: each expert's tokens lie together, only experts that were chosen are computed, and what
backward can compute again from gate and up is not kept.

On a CPU in 16 bits an expert's rows are filled up to a multiple of 64: oneDNN compiles every shape of a product anew, and
experts get another number of tokens each time. What was filled up has weight zero and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from . import experts_gpu
from .arithmetic import arithmetic
from .mlp import Act, activated, gated_back

FILLED = 64  # rows; 8 where experts get few


@dataclass(frozen=True)
class Sorted:
    """The chosen pairs of token and expert, by expert. Filled rows repeat token 0 with weight 0."""

    tokens: torch.Tensor  # (rows,)
    pairs: torch.Tensor  # (pairs,) place of each pair, in the order (token, choice), among the rows
    bounds: tuple[tuple[int, int, int], ...]  # (expert, first row, last row) of each expert that was chosen


def sort_pairs(index: torch.Tensor, experts: int, step: int) -> Sorted:
    """`index` (tokens, choices): experts of each token. Each expert's rows are filled up to a multiple of `step`."""
    flat = index.reshape(-1)
    order = torch.argsort(flat, stable=True)
    counts = torch.bincount(flat, minlength=experts).tolist() if not flat.is_meta else _even(len(flat), experts)
    bounds, places, row, at = [], [], 0, 0
    for expert, count in enumerate(counts[:experts]):
        if count:
            last = row + -(-count // step) * step
            bounds.append((expert, row, last))
            places.append(torch.arange(row, row + count, device=flat.device))
            row, at = last, at + count
    place = torch.cat(places) if places else flat.new_empty(0)
    tokens = torch.zeros(row, dtype=torch.long, device=flat.device)
    tokens[place] = order[:at] // index.shape[1]
    pairs = torch.empty_like(place)
    pairs[order[:at]] = place
    return Sorted(tokens, pairs, tuple(bounds))


def _even(count: int, experts: int) -> list[int]:
    """Where nothing is computed: as if all experts were chosen alike."""
    return [count // experts + (i < count % experts) for i in range(experts)]


def experts(
    hidden: torch.Tensor,
    gate_up: torch.Tensor,
    down: torch.Tensor,
    index: torch.Tensor,
    weights: torch.Tensor,
    act: Act = "silu",
) -> torch.Tensor:
    """Sum over a token's choices of weight · down(act(gate) * up).

    hidden (tokens, width), gate_up (experts, 2 · inner, width) with the gates first, down (experts, width, inner), index and
    weights (tokens, choices) -> (tokens, width).
    """
    if experts_gpu.takes(dtype := arithmetic(hidden), gate_up, down):
        return experts_gpu.Grouped.apply(hidden, gate_up, down, weights, index, act, dtype)
    return Experts.apply(hidden, gate_up, down, weights, index, act)


class Experts(torch.autograd.Function):
    """See `experts`; gradients for hidden states, both weights and the choices' weights."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        gate_up: torch.Tensor,
        down: torch.Tensor,
        weights: torch.Tensor,
        index: torch.Tensor,
        act: Act,
    ) -> torch.Tensor:
        dtype = arithmetic(hidden)
        few = index.numel() < FILLED * len(gate_up)
        step = 1 if hidden.device.type != "cpu" or dtype.itemsize > 2 else 8 if few else FILLED
        sorted_ = sort_pairs(index, len(gate_up), step)
        rows = hidden.detach().to(dtype)
        both = rows.new_empty(len(sorted_.tokens), gate_up.shape[1])
        out = hidden.new_zeros(hidden.shape, dtype=torch.float32)
        share = _spread(weights.detach(), sorted_)
        for expert, part in _parts(sorted_):
            tokens = sorted_.tokens[part]
            torch.mm(rows[tokens], gate_up[expert].detach().to(dtype).t(), out=both[part])
            gate, up = both[part].chunk(2, -1)
            y = activated(gate, act).mul_(up) @ down[expert].detach().to(dtype).t()
            out.index_add_(0, tokens, y.float().mul_(share[part, None]))
        ctx.save_for_backward(rows, gate_up, down, weights, both, sorted_.tokens, sorted_.pairs)
        ctx.bounds, ctx.act, ctx.dtype = sorted_.bounds, act, hidden.dtype
        return out.to(hidden.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        rows, gate_up, down, weights, both, tokens, pairs = ctx.saved_tensors
        sorted_ = Sorted(tokens, pairs, ctx.bounds)
        wants_rows, wants_both, wants_down, wants_weights = ctx.needs_input_grad[:4]
        back = grads[0].to(rows.dtype)
        grad_rows = torch.zeros(rows.shape, dtype=torch.float32, device=rows.device) if wants_rows else None
        grad_both = torch.zeros_like(gate_up) if wants_both else None
        grad_down = torch.zeros_like(down) if wants_down else None
        grad_share = torch.empty(len(tokens), dtype=torch.float32, device=rows.device)
        share = _spread(weights.detach(), sorted_)
        for expert, part in _parts(sorted_):
            held, factor = tokens[part], share[part, None].to(rows.dtype)
            gate, up = both[part].chunk(2, -1)
            grad = back[held]
            inner = activated(gate, ctx.act).mul_(up)
            grad_inner = grad @ down[expert].detach().to(rows.dtype)
            grad_share[part] = (grad_inner * inner).sum(-1, dtype=torch.float32)
            if grad_down is not None:
                grad_down[expert] = grad.mul_(factor).t() @ inner
            if grad_rows is None and grad_both is None:
                continue
            grad_gate_up = torch.cat(gated_back(grad_inner.mul_(factor), gate, up, ctx.act), -1)
            if grad_both is not None:
                grad_both[expert] = grad_gate_up.t() @ rows[held]
            if grad_rows is not None:
                grad_rows.index_add_(0, held, (grad_gate_up @ gate_up[expert].detach().to(rows.dtype)).float())
        found = grad_rows.to(ctx.dtype) if grad_rows is not None else None
        shares = grad_share[pairs].view(weights.shape).to(weights.dtype) if wants_weights else None
        return found, grad_both, grad_down, shares, None, None


def _spread(weights: torch.Tensor, sorted_: Sorted) -> torch.Tensor:
    """(rows,) float32: the weight of each row's choice, 0 where it was filled up."""
    share = torch.zeros(len(sorted_.tokens), dtype=torch.float32, device=weights.device)
    share[sorted_.pairs] = weights.reshape(-1).float()
    return share


def _parts(sorted_: Sorted) -> Iterator[tuple[int, slice]]:
    return ((expert, slice(first, last)) for expert, first, last in sorted_.bounds)
