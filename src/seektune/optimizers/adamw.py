"""AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..contracts import Probe, above, at_least, between, option

if TYPE_CHECKING:
    import torch


@dataclass
class AdamW:
    """PyTorch's fused AdamW over the parameter groups of `_groups.py`; moments are kept in the dtype of the parameters."""

    learning_rate: float = option(2e-4, "peak learning rate", probe=Probe(1e-3), check=above(0))
    weight_decay: float = option(
        0.01, "decay of matrices; vectors are never decayed", probe=Probe(0.5), check=at_least(0)
    )
    beta1: float = option(0.9, "decay of the first moment", probe=Probe(0.5), check=between(0, 0.9999))
    beta2: float = option(0.999, "decay of the second moment", probe=Probe(0.9), check=between(0, 0.999999))
    eps: float = option(1e-8, "added to the root of the second moment", probe=Probe(1e-2), check=above(0))

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        import torch

        betas = (self.beta1, self.beta2)
        return torch.optim.AdamW(groups, lr=self.learning_rate, betas=betas, eps=self.eps, fused=True)
