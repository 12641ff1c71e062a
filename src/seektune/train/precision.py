"""In which numbers the arithmetic is done: float32, bfloat16 under autocast, float16 with loss scaling.

Trained parameters and their optimizer state are always float32; frozen ones are held in the dtype of the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ..models import streaming

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Precision:
    """Autocast and loss scale for one run. `name` is float32, bfloat16 or float16."""

    name: str
    device: str
    scaler: torch.amp.GradScaler | None = field(init=False)

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.device) if self.name == "float16" else None

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.name]

    def autocast(self) -> torch.autocast:
        dtype = self.dtype
        return torch.autocast(
            self.device, dtype=dtype if dtype != torch.float32 else torch.bfloat16, enabled=dtype != torch.float32
        )

    def scale(self, total: torch.Tensor) -> torch.Tensor:
        return self.scaler.scale(total) if self.scaler else total

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        if self.scaler:
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.scaler:
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            optimizer.step()

    def skip(self, optimizer: torch.optim.Optimizer) -> None:
        """A step that is not taken. With loss scaling this lowers the scale, as an overflow should."""
        if self.scaler:
            self.scaler.step(optimizer)  # sees the non-finite gradients and does nothing
            self.scaler.update()

    @property
    def scale_now(self) -> float:
        return float(self.scaler.get_scale()) if self.scaler else 1.0

    @property
    def still_scaling(self) -> bool:
        """Whether a smaller loss scale may still cure an overflow."""
        return self.scaler is not None and self.scale_now >= 1.0

    def state_dict(self) -> dict[str, Any]:
        return self.scaler.state_dict() if self.scaler else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.scaler and state:
            self.scaler.load_state_dict(state)


def prepare_dtypes(model: torch.nn.Module, precision: str) -> None:
    """Trained parameters to float32; frozen floating ones to the dtype of the arithmetic. In place."""
    dtype = DTYPES[precision]
    streaming.prepare(model, dtype)
    for parameter in model.parameters():
        if parameter.is_floating_point() and not streaming.travels(parameter):
            parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else dtype)
