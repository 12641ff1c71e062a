"""Freezing by depth: the lower layers keep what they know, the upper ones and the head learn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contracts import Probe, option
from ..errors import ModelError, problem

if TYPE_CHECKING:
    import torch


def _number_or_share(value: Any) -> str | None:
    return None if 0 <= value < 1 or (value >= 1 and value == int(value)) else "a whole number, or a share below 1"


@dataclass
class Freeze:
    """Train the upper layers only."""

    layers: int | float = option(
        0.5,
        "how many of the lowest layers are frozen: a whole number, or a share below 1",
        probe=Probe(1),
        check=_number_or_share,
    )
    embeddings: bool = option(
        True, "freeze the token embeddings too (and a head that is tied to them)", probe=Probe(False)
    )

    def apply(self, model: torch.nn.Module) -> torch.nn.Module:
        """Raises ModelError where more layers are named than there are."""
        from ..models.layers import blocks, depth_of
        from ._folders import unwrapped, with_embeddings

        model = unwrapped(model)
        total = len(blocks(model)[1])
        frozen = self.frozen(total)
        if frozen > total:
            raise ModelError(
                problem("tuner.layers", f"found {self.layers}", f"at most {total}, the layers of this model")
            )
        depth = depth_of(model)
        for name, parameter in model.named_parameters():
            at = depth[name]
            parameter.requires_grad_(at is not None and at >= frozen)
        return with_embeddings(model, not self.embeddings)

    def frozen(self, total: int) -> int:
        """Number of frozen layers of a model with `total`; a share is rounded to the nearest layer, halves upwards."""
        if isinstance(self.layers, float) and self.layers < 1:
            return int(self.layers * total + 0.5)
        return int(self.layers)

    def advance(self, model: torch.nn.Module, progress: float) -> None:
        """Nothing changes on the way."""

    def merge(self, model: torch.nn.Module) -> torch.nn.Module:
        return model

    def save(self, model: Any, folder: Path) -> None:
        """An ordinary Hugging Face folder: config, safetensors, generation config."""
        from ._folders import save_model

        save_model(model, folder)
