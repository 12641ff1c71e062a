"""RMSNorm (Zhang & Sennrich 2019) with a backward by hand: the input and one number per token are all that is kept."""

from __future__ import annotations

from typing import Any

import torch

from . import native

TOGETHER = 1 << 18  # numbers that are computed at once, so that what lies between stays in the cache
ON_GPU = 1 << 26  # there each part costs ten launches


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """weight * (x / sqrt(mean(x²) + eps)), x (…, width); the quotient is rounded to x's type first, as transformers does."""
    return RMSNorm.apply(x, weight, eps)


class RMSNorm(torch.autograd.Function):
    """See `rms_norm`; gradients for x and weight."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        rows, held = x.detach().reshape(-1, x.shape[-1]), weight.detach()
        y, inverse = native.norm(rows, held, eps) if native.ready(rows, held) else _norm(rows, held, eps)
        ctx.save_for_backward(rows, weight, inverse)
        ctx.shape = x.shape
        return y.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        rows, weight, inverse = ctx.saved_tensors
        grad = grads[0].reshape(rows.shape)
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        if wants_x and (rows.is_cuda or not wants_weight) and native.ready(rows, grad, weight):
            found, summed = native.norm_back(rows, grad, weight.detach(), inverse, wants_weight)
            return found.view(ctx.shape), summed, None
        grad_x = torch.empty_like(rows) if wants_x else None
        grad_weight = torch.zeros(rows.shape[1], dtype=torch.float32, device=rows.device) if wants_weight else None
        factors = weight.detach().float()
        for part in _parts(rows):
            unit, back = rows[part] * inverse[part], grad[part].float()
            if grad_weight is not None:
                grad_weight.add_((back * unit.to(rows.dtype)).sum(0))
            if grad_x is not None:
                back = back * factors
                mean = (back * unit).mean(1, keepdim=True)
                grad_x[part] = back.addcmul_(unit, mean, value=-1).mul_(inverse[part])
        x = grad_x.view(ctx.shape) if grad_x is not None else None
        return x, grad_weight.to(weight.dtype) if grad_weight is not None else None, None


def _norm(rows: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(the norm of rows (tokens, width), the inverse of each row's root (tokens, 1) float32)."""
    y = torch.empty(rows.shape, dtype=torch.promote_types(rows.dtype, weight.dtype), device=rows.device)
    inverse = torch.empty(len(rows), 1, dtype=torch.float32, device=rows.device)
    for part in _parts(rows):
        some = rows[part].float()
        inverse[part] = (some * some).mean(1, keepdim=True).add_(eps).rsqrt_()
        unit = some * inverse[part] if rows.dtype == torch.float32 else some.mul_(inverse[part])
        torch.mul(unit.to(rows.dtype), weight, out=y[part])
    return y, inverse


def _parts(rows: torch.Tensor) -> list[slice]:
    size = max(1, (ON_GPU if rows.is_cuda else TOGETHER) // rows.shape[1])
    return [slice(start, start + size) for start in range(0, len(rows), size)]
