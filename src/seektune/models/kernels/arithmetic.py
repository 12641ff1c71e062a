"""In which type a piece multiplies."""

from __future__ import annotations

import torch


def arithmetic(x: torch.Tensor) -> torch.dtype:
    """That of autocast where it is on, else x's own."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
