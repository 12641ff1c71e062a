"""The frozen base of an open model in int8 (kernels/int8.py), and the way back to the weights as they are stored."""

from __future__ import annotations

import torch

from .heads import base_of
from .kernels.int8 import Int8Linear
from .layers import ROUTERS, blocks, plain_modules, plain_name


def quantise_base(model: torch.nn.Module, integer: bool = True) -> int:
    """Hold every frozen linear layer inside the blocks in int8, routers left out, in place; returns how many.

    `integer`: multiply integers, too. Embeddings, head, norms, biases and what is trained stay as they are.
    """
    name = blocks(model)[0]
    inside = model.get_submodule(name)
    found = [
        (parent, child, linear)
        for parent in inside.modules()
        for child, linear in parent.named_children()
        if type(linear) is torch.nn.Linear
        and not linear.weight.requires_grad
        and child not in ROUTERS
        and type(parent).__name__ != "ParamWrapper"  # PEFT adds such an update to the weight itself, in its own type
    ]
    for parent, child, linear in found:
        setattr(parent, child, Int8Linear(linear, integer))
    return len(found)


def quantised(model: torch.nn.Module) -> dict[str, Int8Linear]:
    """The layers that are held in int8, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Int8Linear)}


def restore_base(model: torch.nn.Module, fresh: torch.nn.Module) -> None:
    """Put the layers of `fresh`, the same base opened again, in the place of those in int8; in the type of the arithmetic."""
    base, linears = base_of(model), plain_modules(fresh)
    dtype = next(p.dtype for p in base.parameters() if p.is_floating_point() and not p.requires_grad)
    for name, module in quantised(base).items():
        parent, _, child = name.rpartition(".")
        linear = linears[plain_name(name)].to(module.weight.device, dtype)
        setattr(base.get_submodule(parent), child, linear.requires_grad_(False))
