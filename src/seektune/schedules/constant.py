"""A constant learning rate after warm-up."""

from __future__ import annotations

from dataclasses import dataclass

from ..contracts import Probe, between, option
from ._warmup import warmed


@dataclass
class Constant:
    """Factor 1 after the warm-up."""

    warmup: float = option(
        0.0, "share of the run over which the rate rises from 0", probe=Probe(0.6), check=between(0, 1)
    )

    def __call__(self, progress: float) -> float:
        rising, _ = warmed(progress, self.warmup)
        return 1.0 if rising is None else rising
