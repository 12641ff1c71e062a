"""What recomputing blocks keep lies elsewhere than in the device's memory between forward and backward.

Of a GPU it is fetched into pinned memory of the host; on a CPU it goes to a temporary file, which is read and written and
not mapped, so that it does not count as held by this process. The bytes come back as they were.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

SMALLEST = 1 << 16  # bytes of a tensor that is worth the way


class Shelf:
    """Takes tensors and gives them back with the same bits. `folder`: where the file of a CPU run lies; it has no name there."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.file = -1  # its descriptor
        self.end = self.live = self.most = 0  # bytes of the file in use, tensors in it, the largest `end` so far

    def __del__(self) -> None:
        if self.file >= 0:
            os.close(self.file)

    def opened(self) -> int:
        """The descriptor of the file, which loses its name at once: whatever ends this process, nothing is left."""
        if self.file < 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file, name = tempfile.mkstemp(dir=self.folder)
            os.unlink(name)
        return self.file

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """What autograd saves inside lies on the shelf."""
        with torch.autograd.graph.saved_tensors_hooks(self.put, lambda kept: kept()):
            yield

    def put(self, tensor: torch.Tensor) -> Any:
        """Something that gives the tensor back when it is called."""
        if tensor.nbytes < SMALLEST or isinstance(tensor, torch.nn.Parameter):
            return lambda: tensor
        return Pinned(tensor) if tensor.device.type == "cuda" else Filed(self, tensor)


class Pinned:
    """A tensor of a GPU in memory of the host that the GPU reaches by itself: both ways run beside the computation."""

    def __init__(self, tensor: torch.Tensor):
        self.device = tensor.device
        self.held = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self.held.copy_(tensor, non_blocking=True)

    def __call__(self) -> torch.Tensor:
        return self.held.to(self.device, non_blocking=True)


class Filed:
    """A tensor of the CPU in the shelf's file; its place is free when nobody can ask for it any more."""

    def __init__(self, shelf: Shelf, tensor: torch.Tensor):
        self.shelf, self.shape, self.dtype, self.start = shelf, tensor.shape, tensor.dtype, shelf.end
        shelf.live += 1
        shelf.end += tensor.nbytes
        shelf.most = max(shelf.most, shelf.end)
        _write(shelf.opened(), _bytes(tensor.contiguous()), self.start)

    def __call__(self) -> torch.Tensor:
        tensor = torch.empty(self.shape, dtype=self.dtype)
        _read(self.shelf.file, _bytes(tensor), self.start)
        return tensor

    def __del__(self) -> None:
        self.shelf.live -= 1
        self.shelf.end = self.shelf.end if self.shelf.live else 0  # after each backward the file begins anew


def _bytes(tensor: torch.Tensor) -> memoryview:
    flat: Any = tensor.detach().view(-1).view(torch.uint8).numpy()
    return memoryview(flat)


def _write(number: int, data: memoryview, at: int) -> None:
    """All of it: a single call may write less. OSError where the disk is full."""
    while data:
        count = os.pwrite(number, data, at)
        data, at = data[count:], at + count


def _read(number: int, data: memoryview, at: int) -> None:
    while data:
        count = os.preadv(number, [data], at)
        assert count, "the file of activations is shorter than what was written to it"
        data, at = data[count:], at + count
