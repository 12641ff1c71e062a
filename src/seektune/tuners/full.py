"""Full tuning: every parameter learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contracts import Probe, option

if TYPE_CHECKING:
    import torch


@dataclass
class Full:
    """Train all parameters, or all but the embeddings."""

    embeddings: bool = option(
        True, "train the token embeddings too (and a head that is tied to them)", probe=Probe(False, seen="weights")
    )

    def apply(self, model: torch.nn.Module) -> torch.nn.Module:
        from ._folders import unwrapped, with_embeddings

        model = unwrapped(model)
        model.requires_grad_(True)
        return model if self.embeddings else with_embeddings(model, False)

    def advance(self, model: torch.nn.Module, progress: float) -> None:
        """Nothing changes on the way."""

    def merge(self, model: torch.nn.Module) -> torch.nn.Module:
        return model

    def save(self, model: Any, folder: Path) -> None:
        """An ordinary Hugging Face folder: config, safetensors, generation config."""
        from ._folders import save_model

        save_model(model, folder)
