"""Pieces that memory bounds, for a GPU: what native.py compiles from C for a processor, in Triton, which comes with torch there.

One pass over memory each, in float32 inside. Imported when a GPU is used; without Triton torch's operations serve. Numbers
of rows are not specialised: each kind of them would be compiled anew in the middle of a run.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

SUMMED = 512  # programs that share the rows where the gradient of a norm's weight is summed
LOGITS = 8192  # of a row that are read at once


@triton.jit
def _activated(gate, GELU: tl.constexpr):
    """(act(gate), its derivative); GELU in tanh's approximation, as transformers computes it."""
    if GELU:
        cubic = 0.7978845608028654 * (gate + 0.044715 * gate * gate * gate)
        upper = tl.sigmoid(2 * cubic)  # (1 + tanh(cubic)) / 2
        slope = 0.7978845608028654 * (1 + 3 * 0.044715 * gate * gate)
        return gate * upper, upper + gate * 2 * upper * (1 - upper) * slope
    upper = tl.sigmoid(gate)
    return gate * upper, upper * (1 + gate * (1 - upper))


@triton.jit(do_not_specialize=["count"])
def _gated_ahead(gate, up, out, count, GELU: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    value, _ = _activated(tl.load(gate + at, mask=inside, other=0.0).to(tl.float32), GELU)
    value *= tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["count"])
def _gated_back(gate, up, grad, grad_gate, grad_up, count, GELU: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    value, slope = _activated(tl.load(gate + at, mask=inside, other=0.0).to(tl.float32), GELU)
    other = tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    back = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(grad_gate + at, (back * other * slope).to(grad_gate.dtype.element_ty), mask=inside)
    tl.store(grad_up + at, (back * value).to(grad_up.dtype.element_ty), mask=inside)


@triton.jit
def _norm_ahead(rows, weight, out, inverse, width, eps, BLOCK: tl.constexpr):
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    inside = at < width
    x = tl.load(rows + row * width + at, mask=inside, other=0.0).to(tl.float32)
    factor = 1 / tl.sqrt(tl.sum(x * x) / width + eps)
    tl.store(inverse + row, factor)
    unit = (x * factor).to(out.dtype.element_ty)  # rounded before the weight comes, as transformers does
    y = unit.to(tl.float32) * tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * width + at, y.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["count"])
def _norm_back(
    rows, grad, weight, inverse, grad_rows, grad_weight, count, width, WEIGHT: tl.constexpr, BLOCK: tl.constexpr
):
    """A program takes every so many-th row; `grad_weight` (programs, width) float32 gets its share of the sum over rows."""
    at = tl.arange(0, BLOCK)
    inside = at < width
    factors = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    summed = tl.zeros((BLOCK,), tl.float32)
    first, others = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    for step in range(tl.cdiv(count - first, others)):
        row = first + step * others
        start = row * width
        scale = tl.load(inverse + row)
        unit = tl.load(rows + start + at, mask=inside, other=0.0).to(tl.float32) * scale
        back = tl.load(grad + start + at, mask=inside, other=0.0).to(tl.float32)
        if WEIGHT:
            summed += back * unit.to(rows.dtype.element_ty).to(tl.float32)
        back *= factors
        back = (back - unit * (tl.sum(back * unit) / width)) * scale
        tl.store(grad_rows + start + at, back.to(grad_rows.dtype.element_ty), mask=inside)
    if WEIGHT:
        tl.store(grad_weight + tl.program_id(0).to(tl.int64) * width + at, summed, mask=inside)


@triton.jit
def _cross_entropy(logits, targets, losses, width, WANTED: tl.constexpr, BLOCK: tl.constexpr):
    """-log p of a row's target; where WANTED, the row becomes p, less one at the target. A target that is none gives no number."""
    row = tl.program_id(0).to(tl.int64)
    start, target = logits + row * width, tl.load(targets + row)
    known = (target >= 0) & (target < width)
    own = tl.load(start + target, mask=known, other=float("nan")).to(tl.float32)  # before any warp writes to the row
    most, total = float("-inf"), 0.0
    for first in range(0, width, BLOCK):
        at = first + tl.arange(0, BLOCK)
        x = tl.load(start + at, mask=at < width, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(most, tl.max(x))
        total = total * tl.exp(most - higher) + tl.sum(tl.exp(x - higher))
        most = higher
    tl.store(losses + row, tl.log(total) + most - own)
    if WANTED:
        for first in range(0, width, BLOCK):
            at = first + tl.arange(0, BLOCK)
            x = tl.load(start + at, mask=at < width, other=float("-inf")).to(tl.float32)
            p = tl.exp(x - most) / total - tl.where(at == target, 1.0, 0.0)
            tl.store(start + at, p.to(logits.dtype.element_ty), mask=at < width)


@triton.jit(do_not_specialize=["heads"])
def _rotate(rows, cosines, sines, out, heads, half, REVERSE: tl.constexpr, HEADS: tl.constexpr, BLOCK: tl.constexpr):
    """A program turns all heads of a token."""
    token, at = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)[None, :]
    angle, within = token * 2 * half + at, at < half
    low_cos = tl.load(cosines + angle, mask=within, other=0.0).to(tl.float32)
    low_sin = tl.load(sines + angle, mask=within, other=0.0).to(tl.float32)
    high_cos = tl.load(cosines + angle + half, mask=within, other=0.0).to(tl.float32)
    high_sin = tl.load(sines + angle + half, mask=within, other=0.0).to(tl.float32)
    head = tl.arange(0, HEADS)[:, None]
    place, inside = (token * heads + head) * 2 * half + at, (head < heads) & within
    low = tl.load(rows + place, mask=inside, other=0.0).to(tl.float32)
    high = tl.load(rows + place + half, mask=inside, other=0.0).to(tl.float32)
    if REVERSE:
        first, second = low * low_cos + high * high_sin, high * high_cos - low * low_sin
    else:
        first, second = low * low_cos - high * low_sin, high * high_cos + low * high_sin
    tl.store(out + place, first.to(out.dtype.element_ty), mask=inside)
    tl.store(out + place + half, second.to(out.dtype.element_ty), mask=inside)


# As native.py calls them


def gated(gate: torch.Tensor, up: torch.Tensor, act: str) -> torch.Tensor:
    out = torch.empty_like(gate)
    _gated_ahead[_grid(gate)](gate, up, out, gate.numel(), act != "silu", BLOCK=1024)
    return out


def gated_back(
    grad: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, act: str, grad_gate: torch.Tensor, grad_up: torch.Tensor
) -> None:
    _gated_back[_grid(gate)](gate, up, grad, grad_gate, grad_up, gate.numel(), act != "silu", BLOCK=1024)


def norm(rows: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    y, inverse = torch.empty_like(rows), torch.empty(len(rows), 1, dtype=torch.float32, device=rows.device)
    if len(rows):
        _norm_ahead[(len(rows),)](rows, weight, y, inverse, rows.shape[1], eps, **_blocks(rows))
    return y, inverse


def norm_back(
    rows: torch.Tensor, grad: torch.Tensor, weight: torch.Tensor, inverse: torch.Tensor, wants_weight: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    found, programs = torch.empty_like(rows), max(1, min(len(rows), SUMMED))
    shares = torch.empty(programs if wants_weight else 1, rows.shape[1], dtype=torch.float32, device=rows.device)
    grid = (programs if wants_weight else max(1, len(rows)),)
    _norm_back[grid](rows, grad, weight, inverse, found, shares, *rows.shape, wants_weight, **_blocks(rows))
    return found, shares.sum(0).to(weight.dtype) if wants_weight else None


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, wanted: bool) -> torch.Tensor:
    losses = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    if len(logits):
        block = min(LOGITS, triton.next_power_of_2(logits.shape[1]))
        _cross_entropy[(len(logits),)](logits, targets, losses, logits.shape[1], wanted, BLOCK=block, num_warps=16)
    return losses


def rotate(rows: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, reverse: bool) -> torch.Tensor:
    out, (tokens, heads, width) = torch.empty_like(rows), rows.shape
    if tokens:
        blocks = {"HEADS": triton.next_power_of_2(heads), "BLOCK": triton.next_power_of_2(width // 2)}
        _rotate[(tokens,)](rows, cos, sin, out, heads, width // 2, reverse, **blocks)
    return out


def _grid(x: torch.Tensor) -> tuple[int]:
    return (max(1, triton.cdiv(x.numel(), 1024)),)


def _blocks(rows: torch.Tensor) -> dict[str, int]:
    block = triton.next_power_of_2(rows.shape[1])
    return {"BLOCK": block, "num_warps": min(16, max(1, block // 512))}
