"""Blocks that keep their input only and compute the rest again in backward: some of them or all, the lowest first.

What the lowest blocks keep is held longest, so recomputing them first frees most for the time it costs. Backward computes
the same operations from the same numbers and random states: no bit changes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from . import layers

if TYPE_CHECKING:
    import torch

Around = Callable[[], AbstractContextManager[Any]]  # what the inputs are kept in, see offload.py


def recompute(model: torch.nn.Module, count: int, around: Around = nullcontext) -> int:
    """Let the lowest `count` blocks that keep anything recompute, and no other; returns how many do."""
    from functools import partial

    blocks: list[Any] = list(layers.blocks(model)[1])
    chosen = recomputable(model)[:count]
    for number, block in enumerate(blocks):
        if number in chosen:
            block._gradient_checkpointing_func = partial(again, around)
        if hasattr(block, "gradient_checkpointing"):
            block.gradient_checkpointing = number in chosen
    return len(chosen)


def recomputable(model: torch.nn.Module) -> list[int]:
    """Blocks, from the lowest, that keep something for backward and know how to recompute it."""
    depth = layers.depth_of(model)
    trained = [d for name, p in model.named_parameters() if p.requires_grad and (d := depth[name]) is not None]
    lowest = max(0, min(trained, default=1 << 30))
    blocks = layers.blocks(model)[1]
    return [i for i, block in enumerate(blocks) if i >= lowest and hasattr(block, "gradient_checkpointing")]


def recomputing(model: torch.nn.Module) -> int:
    """How many blocks recompute."""
    return sum(bool(getattr(block, "gradient_checkpointing", False)) for block in layers.blocks(model)[1])


def again(around: Around, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a block calls for its own forward: keeps the arguments, inside of `around`, and nothing that follows from them."""
    from torch.utils.checkpoint import checkpoint

    with around():
        return checkpoint(function, *arguments, use_reentrant=False)
