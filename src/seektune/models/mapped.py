"""Weights where they lie: tensors of safetensors files as views of mapped memory, and which of them make up a parameter.

Pages of a mapping come when they are touched and belong to the page cache, not to the process: a model of any size can be
looked at. Stacked experts, which most files hold one by one, are described as pieces of one parameter.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, problem
from . import weights

if TYPE_CHECKING:
    import torch

WANTED, DONE_WITH = 3, 4  # madvise: will need, do not need; the numbers are those of Linux and of macOS
NO_RESERVE = 0x4000 if sys.platform == "linux" else 0  # a private mapping of any size counts against no limit
COPIED = ("MergeModulelist", "Concatenate")  # transformers' operations that only lay tensors side by side


@dataclass(frozen=True)
class Piece:
    """A stored tensor, and where its values stand in the parameter; () is all of it."""

    name: str
    at: tuple[int | slice, ...] = ()


class Files:
    """The tensors of a folder by name, mapped."""

    def __init__(self, folder: Path):
        self.tensors = weights.tensors_of(folder)
        self._maps: dict[Path, Any] = {}

    def dtype(self, name: str) -> torch.dtype:
        """ModelError where it is a type that torch has no plain arithmetic for."""
        import torch

        stored = self.tensors[name].dtype
        if stored not in weights.NAMES:
            known = ", ".join(weights.NAMES.values())
            raise ModelError(problem(f"{self.tensors[name].file}: {name}", f"stored as {stored}", known))
        return getattr(torch, weights.NAMES[stored])

    def view(self, name: str) -> torch.Tensor:
        """The tensor itself; nothing is read before it is touched. Writing to it would change this process only."""
        import torch

        tensor = self.tensors[name]
        flat = torch.frombuffer(self._map(tensor.file), dtype=self.dtype(name), count=tensor.size, offset=tensor.start)
        return flat.view(tensor.shape)

    def _map(self, file: Path) -> Any:
        if file not in self._maps:
            with open(file, "rb") as opened:
                flags = mmap.MAP_PRIVATE | NO_RESERVE
                self._maps[file] = mmap.mmap(opened.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        return self._maps[file]


def advise(views: Iterable[torch.Tensor], advice: int) -> None:
    """Tell the system that the pages under these mapped tensors are `WANTED` soon, or that we are `DONE_WITH` them."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # a system without it: pages come and go unadvised
        call = ctypes.CDLL(None).madvise
        for view in views:
            start = view.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
            call(ctypes.c_void_p(start), ctypes.c_size_t(view.data_ptr() + view.nbytes - start), advice)


def pieces_of(skeleton: Any, tensors: Mapping[str, weights.Tensor]) -> dict[str, tuple[Piece, ...]]:
    """Which stored tensors make up each parameter or buffer of a model (which may stand on the meta device).

    By transformers' own table of names. What stands under no name of the model is left out. ModelError for a tensor that
    transformers computes from what is stored in another way than by laying it side by side.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    entries = get_model_conversion_mapping(skeleton)
    renamings = [entry for entry in entries if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in entries if isinstance(entry, WeightConverter)]
    by_pattern = {pattern: entry for entry in converters for pattern in entry.source_patterns}
    state, prefix = skeleton.state_dict(), skeleton.base_model_prefix
    whole: dict[str, tuple[Piece, ...]] = {}
    parts: dict[str, dict[str, list[str]]] = {}
    for name in sorted(tensors, key=dot_natural_key):
        target, pattern = rename_source_key(name, renamings, converters, prefix, state)
        if target not in state:
            target, pattern = rename_source_key(name, [], [], prefix, state)
        if target not in state:
            continue
        if pattern is None:
            whole[target] = (Piece(name),)
        else:
            parts.setdefault(target, {}).setdefault(pattern, []).append(name)
    for target, sources in parts.items():
        converter = by_pattern[next(iter(sources))]
        _check_operations(target, converter)
        columns = [sources[pattern] for pattern in converter.source_patterns if pattern in sources]
        whole[target] = _stacked(target, columns, tensors, tuple(state[target].shape))
    return whole


def _check_operations(target: str, converter: Any) -> None:
    kinds = [type(operation).__name__ for operation in converter.operations]
    dims = [getattr(operation, "dim", None) for operation in converter.operations]
    if kinds not in ([COPIED[0]], list(COPIED)) or dims != [0, 1][: len(dims)]:
        found = f"is made of the stored tensors by {', '.join(kinds)}"
        fix = "save the model once with transformers' save_pretrained(..., save_original_format=False)"
        raise ModelError(problem(target, found, "a parameter that is stored as it is used", fix))


def _stacked(
    target: str, columns: list[list[str]], tensors: Mapping[str, weights.Tensor], shape: tuple[int, ...]
) -> tuple[Piece, ...]:
    """Experts stacked along the first dimension; several matrices of one expert side by side along the second."""
    pieces, at = [], 0
    for names in columns:
        rows = tensors[names[0]].shape[0]
        pieces += [Piece(name, (expert, slice(at, at + rows))) for expert, name in enumerate(names)]
        at += rows
    elements = sum(tensors[piece.name].size for piece in pieces)
    if at != shape[1] or elements != math.prod(shape):
        found = f"{len(pieces)} stored tensors of {elements} values"
        raise ModelError(problem(target, found, f"{math.prod(shape)} values, shape {list(shape)}"))
    return tuple(pieces)
