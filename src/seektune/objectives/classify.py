"""Classification: one label a document (softmax), or several that may hold at once (sigmoid)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ..contracts import Batch, Loss, Probe, option

if TYPE_CHECKING:
    import torch


@dataclass
class Classify:
    """Cross-entropy of the class, or binary cross-entropy of each label where records carry lists of labels."""

    unit: ClassVar[int] = 1
    head: ClassVar[Literal["lm", "classifier"]] = "classifier"

    class_weights: dict[str, float] = option(
        help="loss weight by label, for unbalanced data; labels that are not named weigh 1",
        probe=Probe({"good": 3.0}, scenario="classify"),
        factory=dict,
    )

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        import torch
        import torch.nn.functional as F

        from ..models import forward

        logits = forward.class_logits(model, batch).float()
        classes = logits.shape[-1]
        importance = self._importance(model, classes).to(logits.device)
        if any(isinstance(d.label, list) for d in batch.documents):
            targets = torch.zeros(logits.shape, device=logits.device)
            for row, document in enumerate(batch.documents):
                targets[row, document.label] = 1.0
            losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none", weight=importance)
            return Loss(losses.mean(-1).sum(), float(len(batch.documents)), _right((logits > 0) == (targets > 0.5)))
        targets = torch.tensor([d.label for d in batch.documents], device=logits.device)
        losses = F.cross_entropy(logits, targets, reduction="none", weight=importance)
        weight = float(importance[targets].sum())
        return Loss(losses.sum(), weight, _right((logits.argmax(-1) == targets)[:, None]))

    def _importance(self, model: torch.nn.Module, classes: int) -> torch.Tensor:
        import torch

        config: Any = model.config
        names = config.label2id
        importance = torch.ones(classes)
        for label, weight in self.class_weights.items():
            importance[names[label]] = weight
        return importance

    def prepare(self, model: torch.nn.Module) -> None:
        """Raises RecipeError where `class_weights` names a label that the data does not have."""
        from ..errors import RecipeError, nearest, problem

        config: Any = model.config
        known = list(config.label2id)
        wrong = [label for label in self.class_weights if label not in known]
        if wrong:
            raise RecipeError(
                [problem(f"objective.class_weights.{w}", "no such label", fix=nearest(w, known)) for w in wrong]
            )


def _right(same: torch.Tensor) -> dict[str, tuple[float, float]]:
    return {"accuracy": (float(same.all(-1).sum()), float(len(same)))}
