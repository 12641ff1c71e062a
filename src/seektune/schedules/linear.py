"""A learning rate that falls linearly to a floor."""

from __future__ import annotations

from dataclasses import dataclass

from ..contracts import Probe, between, option
from ._warmup import warmed


@dataclass
class Linear:
    """From 1 to `floor` in a straight line after the warm-up."""

    warmup: float = option(
        0.1, "share of the run over which the rate rises from 0", probe=Probe(0.6), check=between(0, 1)
    )
    floor: float = option(0.0, "factor at the end", probe=Probe(0.5), check=between(0, 1))

    def __call__(self, progress: float) -> float:
        rising, rest = warmed(progress, self.warmup)
        return rising if rising is not None else 1.0 - (1.0 - self.floor) * rest
