"""Half a cosine from 1 to a floor (Loshchilov & Hutter 2017, equation 5, without restarts)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..contracts import Probe, between, option
from ._warmup import warmed


@dataclass
class Cosine:
    """From 1 to `floor` along half a cosine after the warm-up."""

    warmup: float = option(
        0.1, "share of the run over which the rate rises from 0", probe=Probe(0.6), check=between(0, 1)
    )
    floor: float = option(0.01, "factor at the end", probe=Probe(0.5), check=between(0, 1))

    def __call__(self, progress: float) -> float:
        rising, rest = warmed(progress, self.warmup)
        return rising if rising is not None else self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * rest))
