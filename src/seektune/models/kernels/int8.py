"""Frozen matrices held once in int8: a scale per output row of the weight, a scale per token of what is multiplied with it.

Both ways are integer products (`torch._int_mm`: exact, and on a CPU twice as fast as bfloat16): forward quantises the
tokens, backward the gradients, after the weight's scales have been folded into these. On a GPU, or where that is not asked
for, the matrix is turned into the type of the arithmetic for the moment of the product.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch

from ...runtime import cpu_features
from . import native
from .arithmetic import arithmetic

LARGEST = 127.0
SUMS = 1 << 21  # sums that exist at once, at most: 8 MiB. Written to memory, they take as long as the product
TOGETHER = 1 << 17  # numbers that are quantised or scaled at once, so that they stay in the cache in between


@dataclass
class Int8:
    """W (out, in) ≈ scales[:, None] * values."""

    values: torch.Tensor  # (out, in) int8
    scales: torch.Tensor  # (out,) float32
    integer: bool = True  # multiply integers; else in the type of the arithmetic

    @property
    def shape(self) -> torch.Size:
        return self.values.shape

    def restored(self, dtype: torch.dtype) -> torch.Tensor:
        return (self.values.float() * self.scales[:, None]).to(dtype)

    def times(self, rows: torch.Tensor) -> torch.Tensor:
        """rows (tokens, in) -> rows W^T (tokens, out)."""
        if not self.integer:
            return (rows @ self.values.to(rows.dtype).t()).mul_(self.scales.to(rows.dtype))
        small, factors = quantise_rows(rows)
        return _multiplied(small, self.values.t(), factors, self.scales, rows.dtype)

    def back(self, grad: torch.Tensor) -> torch.Tensor:
        """grad (tokens, out) -> grad W (tokens, in)."""
        if not self.integer:
            return (grad * self.scales.to(grad.dtype)) @ self.values.to(grad.dtype)
        small, factors = quantise_rows(grad, self.scales)
        return _multiplied(small, self.values, factors, None, grad.dtype)


def quantise(weight: torch.Tensor) -> Int8:
    """Symmetric, to the nearest of 255 values, the largest of each row exactly."""
    weight = weight.detach().float()
    scales = weight.abs().amax(1).div_(LARGEST).clamp_(min=torch.finfo(torch.float32).tiny)
    return Int8(weight.div(scales[:, None]).round_().to(torch.int8), scales)


def quantise_rows(rows: torch.Tensor, columns: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """(int8 (tokens, width), scale of each token (tokens, 1) float32) of `rows`, or of rows * columns."""
    if not rows.is_cuda and native.ready(rows):
        return native.quantise(rows, columns)
    small = torch.empty(rows.shape, dtype=torch.int8, device=rows.device)
    scales = torch.empty(len(rows), 1, dtype=torch.float32, device=rows.device)
    for part in _parts(rows):
        some = rows[part].float() if columns is None else rows[part] * columns
        largest = torch.amax(some.abs(), 1, keepdim=True).div_(LARGEST).clamp_(min=torch.finfo(torch.float32).tiny)
        scales[part] = largest
        small[part] = (some / largest).round_()  # not in place: of float32, `some` is the input itself
    return small, scales


def _multiplied(
    small: torch.Tensor, matrix: torch.Tensor, factors: torch.Tensor, scales: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """small (tokens, inner) int8 times matrix (inner, out) int8, times a factor per token, and a scale per column."""
    y = torch.empty(len(small), matrix.shape[1], dtype=dtype, device=small.device)
    compiled = not y.is_cuda and native.ready(y)
    for columns in _columns(y):
        into, some = y[:, columns], scales[columns] if scales is not None else None
        sums = torch._int_mm(small, matrix[:, columns])
        if compiled:
            native.rescale(sums, factors, some, into)
        else:
            for part in _parts(sums):
                scaled = sums[part].float().mul_(factors[part])
                into[part] = scaled if some is None else scaled.mul_(some)
    return y


def _columns(y: torch.Tensor) -> list[slice]:
    """Of equal number, and few enough that their sums stay near the processor."""
    count = -(-y.numel() // SUMS)
    ends = [16 * round(y.shape[1] * at / count / 16) for at in range(count)] + [y.shape[1]]
    return [slice(first, last) for first, last in itertools.pairwise(ends) if last > first]


def _parts(rows: torch.Tensor) -> list[slice]:
    size = max(1, TOGETHER // rows.shape[1])
    return [slice(start, start + size) for start in range(0, len(rows), size)]


_reason: str | None = None


def why_not() -> str:
    """ "" where this machine multiplies int8 in hardware and torch can; else what is missing."""
    global _reason
    if _reason is None:
        _reason = _look()
    return _reason


def _look() -> str:
    if not {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"} & set(cpu_features()):
        return "this processor has no int8 products (AVX512-VNNI, AVX-VNNI, AMX or i8mm)"
    try:
        torch._int_mm(torch.ones(32, 32, dtype=torch.int8), torch.ones(32, 32, dtype=torch.int8))
    except (RuntimeError, AttributeError) as error:
        return f"this torch has no int8 products on the CPU ({type(error).__name__})"
    return ""


class Int8Linear(torch.nn.Linear):
    """A frozen linear layer whose weight is held in int8, beside its `scales`."""

    def __init__(self, linear: torch.nn.Linear, integer: bool = True):
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features, self.integer = linear.in_features, linear.out_features, integer
        matrix = quantise(linear.weight)
        self.weight = torch.nn.Parameter(matrix.values, requires_grad=False)
        self.register_buffer("scales", matrix.scales, persistent=False)
        self.bias = linear.bias

    @property
    def matrix(self) -> Int8:
        return Int8(self.weight, self.get_buffer("scales"), self.integer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Product.apply(x, self.matrix, self.bias)


class Product(torch.autograd.Function):
    """x W^T + bias with W in int8; nothing is kept but the matrix that is there anyway."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, matrix: Int8, bias: torch.Tensor | None) -> torch.Tensor:
        dtype = arithmetic(x)
        rows = x.detach().reshape(-1, x.shape[-1]).to(dtype)
        y = matrix.times(rows)
        if bias is not None:
            y.add_(bias.detach().to(dtype))
        ctx.matrix, ctx.shape, ctx.dtype = matrix, x.shape, x.dtype
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        grad = grads[0].reshape(-1, grads[0].shape[-1])
        bias = grad.float().sum(0) if ctx.needs_input_grad[2] else None
        x = ctx.matrix.back(grad).view(ctx.shape).to(ctx.dtype) if ctx.needs_input_grad[0] else None
        return x, None, bias
