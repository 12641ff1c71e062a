"""Parameter groups: biases, norms and other vectors are not decayed (the usual split since Loshchilov & Hutter 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups over all trainable parameters, in the order of `named_parameters`; `names` stands beside `params`."""
    decayed: dict[str, Any] = {"params": [], "names": [], "weight_decay": weight_decay}
    free: dict[str, Any] = {"params": [], "names": [], "weight_decay": 0.0}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            group = decayed if parameter.ndim >= 2 else free
            group["params"].append(parameter)
            group["names"].append(name)
    return [group for group in (decayed, free) if group["params"]]
