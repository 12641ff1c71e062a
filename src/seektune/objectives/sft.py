"""Supervised fine-tuning: the cross-entropy of every learnt token; on plain text this is pretraining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ..contracts import Batch, Loss, Probe, between, option

if TYPE_CHECKING:
    import torch


@dataclass
class SFT:
    """Weighted mean of -log p over the learnt tokens of an optimizer step (Ouyang et al. 2022, section 3.1 step 1)."""

    unit: ClassVar[int] = 1
    head: ClassVar[Literal["lm", "classifier"]] = "lm"

    label_smoothing: float = option(
        0.0,
        "share of the target probability that is spread over the vocabulary (Szegedy et al. 2016)",
        probe=Probe(0.2),
        check=between(0, 0.9),
    )

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        from ..models import forward

        if self.label_smoothing:
            losses, weights = self._smoothed(model, batch)
        else:
            losses, weights = forward.token_losses(model, batch)
        total = (losses * weights).sum()
        return Loss(total, float(weights.sum()))

    def _smoothed(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        import torch.nn.functional as F

        from ..models import forward

        logits, targets, weights = forward.supervised_logits(model, batch)
        smoothing = self.label_smoothing
        return F.cross_entropy(logits.float(), targets, reduction="none", label_smoothing=smoothing), weights
