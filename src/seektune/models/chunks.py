"""Chunks of a step: whole documents of a batch that a streamed block takes at once, and their part of every argument."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from . import attention


@dataclass(eq=False)
class Chunk:
    """Whole documents of a batch: rows and time of every tensor that has them, and their layout for the attention."""

    rows: slice
    time: slice
    size: tuple[int, int]  # rows and time of the whole batch
    lengths: tuple[int, ...] | None = None  # of packed documents
    segments: torch.Tensor | None = None
    layout: dict[str, Any] = field(default_factory=dict)

    def of(self, hidden: torch.Tensor) -> torch.Tensor:
        """(rows, time, ...) of this chunk."""
        return hidden[self.rows, self.time]

    def among(self, value: Any) -> Any:
        """The part of an argument of the block that belongs to this chunk: positions, their embeddings, masks."""
        if isinstance(value, torch.Tensor):
            return self._part(value)
        if isinstance(value, tuple | list):
            return type(value)(self.among(item) for item in value)
        return {key: self.among(item) for key, item in value.items()} if isinstance(value, dict) else value

    def _part(self, value: torch.Tensor) -> torch.Tensor:
        rows, time = self.size
        if value.ndim == 1:
            return value[self.time] if len(value) == time else value
        if rows > 1 and value.shape[0] == rows:
            value = value[self.rows]
        along = (2, 3) if value.ndim == 4 and value.shape[3] == time else (1,)  # a mask (batch, heads, query, key)
        for dim in along:
            if value.ndim > dim and value.shape[dim] == time:
                value = value.narrow(dim, self.time.start, self.time.stop - self.time.start)
        return value

    @contextlib.contextmanager
    def laid_out(self) -> Iterator[None]:
        """The attention knows this chunk only; afterwards what it knew before."""
        now = vars(attention.current)
        before = dict(now)
        try:
            if self.layout:
                now.update(self.layout)
            elif self.lengths is not None:
                with attention.laid_out(self.lengths, self.segments):
                    pass
            yield
        finally:
            if self.lengths is not None:
                self.layout = dict(now)  # with what the attention has found out about it
            now.clear()
            now.update(before)


def cut(hidden: torch.Tensor, limits: tuple[int | None, int | None], unit: int) -> list[Chunk]:
    """Chunks of at most so many (units, tokens), as `data.pack.cut` would make micro-batches; [] where there is one."""
    size = (int(hidden.shape[0]), int(hidden.shape[1]))
    now = attention.current
    if limits == (None, None):
        return []
    if now.lengths is not None and now.segments is not None and sum(now.lengths) == size[1] and size[0] == 1:
        chunks, at = [], 0
        for lengths in grouped(now.lengths, limits, unit, packed=True):
            end = at + sum(lengths)
            chunks.append(Chunk(slice(0, 1), slice(at, end), size, tuple(lengths), now.segments[:, at:end]))
            at = end
    elif now.rows is not None and len(now.rows) == size[0]:
        chunks, at = [], 0
        for lengths in grouped(now.rows, limits, unit, packed=False):
            chunks.append(Chunk(slice(at, at + len(lengths)), slice(0, max(lengths)), size))
            at += len(lengths)
    else:
        return []
    return chunks if len(chunks) > 1 else []


def grouped(
    lengths: Sequence[int], limits: tuple[int | None, int | None], unit: int, *, packed: bool
) -> list[list[int]]:
    """Neighbours, as many as the limits allow and at least one unit."""
    records, tokens = limits
    groups: list[list[int]] = []
    for start in range(0, len(lengths), unit):
        new = list(lengths[start : start + unit])
        both = [*(groups[-1] if groups else []), *new]
        area = sum(both) if packed else max(both) * len(both)
        full = len(both) > records * unit if records is not None else tokens is not None and area > tokens
        if groups and not full:
            groups[-1] = both
        else:
            groups.append(new)
    return groups
