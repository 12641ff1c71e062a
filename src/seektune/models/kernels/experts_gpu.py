"""Stacked experts on a GPU: tokens sorted by expert, then one grouped product for all experts instead of a product for each.

How many tokens an expert gets stays on the GPU, so nothing waits for it. Sums over a token's choices are taken in their
order: no atomic additions, the same bits each time.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .mlp import Act, gated_back, product

ALIGNED = 16  # bytes: rows of what is multiplied begin at multiples of it


def takes(dtype: torch.dtype, gate_up: torch.Tensor, down: torch.Tensor) -> bool:
    """Whether grouped products are there for these: on a GPU, of bfloat16."""
    widths = (gate_up.shape[1] // 2, gate_up.shape[2])
    aligned = all(width * dtype.itemsize % ALIGNED == 0 for width in widths)
    return gate_up.is_cuda and down.is_cuda and dtype == torch.bfloat16 and aligned


class Grouped(torch.autograd.Function):
    """As kernels/experts.py `Experts`, with the same arguments and results."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        gate_up: torch.Tensor,
        down: torch.Tensor,
        weights: torch.Tensor,
        index: torch.Tensor,
        act: Act,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        flat = index.reshape(-1)
        by_expert, order = torch.sort(flat, stable=True)
        numbers = torch.arange(len(gate_up), device=flat.device, dtype=flat.dtype)
        ends = torch.searchsorted(by_expert, numbers, right=True).int()
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order), device=order.device)  # of each pair among the sorted ones
        rows = hidden.detach().to(dtype)
        both = F.grouped_mm(rows[order // index.shape[1]], gate_up.detach().to(dtype).transpose(1, 2), offs=ends)
        gate, up = both.chunk(2, -1)
        y = F.grouped_mm(product(gate, up, act), down.detach().to(dtype).transpose(1, 2), offs=ends)
        found = torch.bmm(weights.detach().to(dtype).unsqueeze(1), y[places].view(*index.shape, -1)).squeeze(1)
        kept = rows if ctx.needs_input_grad[1] else None  # experts that do not learn need no rows
        ctx.save_for_backward(kept, gate_up, down, weights, both, order, places, ends)
        ctx.act, ctx.dtype, ctx.arithmetic = act, hidden.dtype, dtype
        return found.to(hidden.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        rows, gate_up, down, weights, both, order, places, ends = ctx.saved_tensors
        wants_rows, wants_both, wants_down, wants_weights = ctx.needs_input_grad[:4]
        choices, dtype, owners = weights.shape[1], ctx.arithmetic, order // weights.shape[1]
        share = weights.detach().reshape(-1)[order, None].to(dtype)
        gate, up = both.chunk(2, -1)
        grad, inner = grads[0].to(dtype)[owners], product(gate, up, ctx.act)
        grad_inner = F.grouped_mm(grad, down.detach().to(dtype), offs=ends)
        grad_share = None
        if wants_weights:
            grad_share = (grad_inner * inner).sum(-1, dtype=torch.float32)[places].view(weights.shape).to(weights.dtype)
        grad_down = F.grouped_mm((grad * share).t(), inner, offs=ends).to(down.dtype) if wants_down else None
        grad_rows = grad_both = None
        if wants_rows or wants_both:
            back = torch.cat(gated_back(grad_inner.mul_(share), gate, up, ctx.act), -1)
            grad_both = F.grouped_mm(back.t(), rows[owners], offs=ends).to(gate_up.dtype) if wants_both else None
            if wants_rows:
                each = F.grouped_mm(back, gate_up.detach().to(dtype), offs=ends)[places]
                grad_rows = each.view(-1, choices, each.shape[1]).sum(1, dtype=torch.float32).to(ctx.dtype)
        return grad_rows, grad_both, grad_down, grad_share, None, None, None
