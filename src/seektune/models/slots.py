"""One block's frozen weights on the device: what they are made of, where they lie between visits, and how they get there.

On a CPU the mapped pages are used where they are, if their type is that of the arithmetic; otherwise, and on a GPU, a block's
weights are written into a slot, from pinned memory and beside the computation.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from . import mapped
from .mapped import Files, Piece

ALIGNED = 256  # bytes between the beginnings of weights in a slot


@dataclass(eq=False)
class Weight:
    """A frozen parameter of a block. What `fill` writes is what the block computes with: the one place to decode from."""

    name: str
    parameter: torch.nn.Parameter
    pieces: tuple[Piece, ...]
    files: Files
    held: torch.dtype  # in which a model that is not streamed would hold it when opened
    dtype: torch.dtype  # of the arithmetic

    @property
    def stored(self) -> torch.dtype:
        return self.files.dtype(self.pieces[0].name)

    @property
    def is_view(self) -> bool:
        """Whether the mapped pages can be used as they are, on a CPU."""
        return len(self.pieces) == 1 and not self.pieces[0].at and self.stored == self.dtype == self.held

    @property
    def nbytes(self) -> int:
        """On the device."""
        return self.parameter.numel() * self.dtype.itemsize

    @functools.cached_property
    def views(self) -> list[torch.Tensor]:
        """The stored tensors, where they are mapped."""
        return [self.files.view(piece.name) for piece in self.pieces]

    def at_rest(self) -> torch.Tensor:
        """What the parameter holds between visits: the mapped pages, or nothing but a shape (NaN, so that use shows)."""
        if self.is_view:
            return self.views[0]
        return placeholder(self.parameter.shape, self.dtype)

    def fill(self, target: torch.Tensor) -> None:
        """Write the values into `target`, rounded as opening the model and preparing its types would round them."""
        for piece, view in zip(self.pieces, self.views, strict=True):
            target[piece.at].copy_(view if self.held in (self.stored, self.dtype) else view.to(self.held))


def placeholder(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """A shape without memory; NaN, so that a use of it shows."""
    return torch.full((), float("nan"), dtype=dtype).expand(*shape)


class Slot:
    """Room on the device for one block's weights. On a CPU, weights that can be used where they are mapped need no room."""

    def __init__(self, device: torch.device, size: int):
        self.device, self.block = device, -1
        self.values: list[torch.Tensor] = []
        self.room = torch.empty(size, dtype=torch.uint8, device=device)
        self.cuda = device.type == "cuda"
        if self.cuda:
            self.pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)
            self.arrived, self.free = torch.cuda.Event(), torch.cuda.Event()

    def load(self, block: int, weights: Sequence[Weight], before: Sequence[Weight], side: Any) -> None:
        """Bring the weights of a block; those that were here before may go. Runs beside the computation of another block."""
        mapped.advise((v for w in weights for v in w.views), mapped.WANTED)
        mapped.advise((v for w in before for v in w.views), mapped.DONE_WITH)
        if self.cuda:
            self.arrived.synchronize()  # the pinned memory is being read until then
        values, at = [], 0
        for weight in weights:
            if not needs_room(weight, self.device):
                values.append(weight.views[0])
                continue
            weight.fill(_part(self.pinned if self.cuda else self.room, at, weight))
            values.append(_part(self.room, at, weight))
            at += aligned(weight.nbytes)
        if self.cuda:
            with torch.cuda.stream(side):
                side.wait_event(self.free)  # what was here is still being computed with until then
                self.room[:at].copy_(self.pinned[:at], non_blocking=True)
                self.arrived.record(side)
            mapped.advise((v for w in weights for v in w.views), mapped.DONE_WITH)
        self.values, self.block = values, block


def needs_room(weight: Weight, device: torch.device) -> bool:
    return device.type != "cpu" or not weight.is_view


def aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def _part(room: torch.Tensor, at: int, weight: Weight) -> torch.Tensor:
    return room[at : at + weight.nbytes].view(weight.dtype).view(weight.parameter.shape)
