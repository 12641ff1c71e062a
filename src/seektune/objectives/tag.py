"""Token classification: the class of every piece of a text, for entities that are marked as spans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ..contracts import Batch, Loss, Probe, above, option

if TYPE_CHECKING:
    import torch


@dataclass
class Tag:
    """Cross-entropy of the class (O, B-type, I-type) of each piece; what the tokenizer adds around a text is not learnt."""

    unit: ClassVar[int] = 1
    head: ClassVar[Literal["lm", "classifier", "tagger"]] = "tagger"

    outside: float = option(
        1.0,
        "loss weight of pieces outside of all entities, which are by far the most",
        probe=Probe(0.3, scenario="tag"),
        check=above(0),
    )

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss:
        import torch
        import torch.nn.functional as F

        from ..data.tags import IGNORED
        from ..models import forward

        logits = forward.tag_logits(model, batch).float()
        targets = torch.tensor([tag for document in batch.documents for tag in document.label], device=logits.device)
        weights = torch.where(targets == 0, self.outside, 1.0) * (targets != IGNORED)
        losses = F.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED)
        learnt = targets != IGNORED
        right = float((logits.argmax(-1) == targets)[learnt].sum())
        return Loss((losses * weights).sum(), float(weights.sum()), {"accuracy": (right, float(learnt.sum()))})
