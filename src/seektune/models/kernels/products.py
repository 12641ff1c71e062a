"""Products of rows with a matrix, in sizes that the library likes.

oneDNN makes code for every size of a 16-bit product and keeps it for a while: 0.3 ms with AVX-512, 1 to 4 ms where the
processor multiplies tiles (AMX). Packed rows have a new length at each step, so for small matrices that is a good part of
the time. Hence rows that meet only such are filled up to a multiple of `FILL`.
"""

from __future__ import annotations

import functools

import torch

FILL = 64
SMALL = 1 << 18  # numbers of a matrix up to which rows are filled up: with larger ones, that costs more than it saves
SLOW = range(1000, 1400)  # rows in tiles whose product with a long matrix runs at half the rate, unless it is halved
LONG = 2048  # numbers of a row from which on that was seen


def filled(rows: torch.Tensor, numbers: int) -> torch.Tensor:
    """`rows` (tokens, width), with rows of zeros behind them where they meet no matrix of more than so many `numbers`."""
    more = -len(rows) % FILL
    if not more or numbers > SMALL or len(rows) < FILL or not _in_16_bit(rows):
        return rows
    return torch.cat([rows, rows.new_zeros(more, rows.shape[1])])


def times(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a (tokens, inner) b (inner, out)."""
    if not _is_slow(a):
        return a @ b
    out = a.new_empty(len(a), b.shape[1])
    for some, into in zip(a.chunk(2), out.chunk(2), strict=True):
        torch.mm(some, b, out=into)
    return out


def add_times(onto: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """onto + a b, in place."""
    if not _is_slow(a):
        return onto.addmm_(a, b)
    for some, into in zip(a.chunk(2), onto.chunk(2), strict=True):
        into.addmm_(some, b)
    return onto


def _is_slow(a: torch.Tensor) -> bool:
    return len(a) in SLOW and a.shape[1] >= LONG and _in_16_bit(a) and has_tiles()


def _in_16_bit(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype.itemsize == 2


@functools.cache
def has_tiles() -> bool:
    """Whether the processor multiplies 16-bit tiles (AMX)."""
    asked = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return asked is not None and bool(asked())
