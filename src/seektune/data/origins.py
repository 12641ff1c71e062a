"""Which input each document came from, and how much of what is learnt each input is to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .options import Input
from .store import Records


@dataclass(frozen=True)
class Origins:
    """Of the records of a run. `of_records`: (records,) number of the input of each."""

    of_records: np.ndarray
    names: tuple[str, ...]  # of the inputs, as the recipe has them
    weights: tuple[float, ...]  # one that was left out counts 1


def origins_of(records: Records, inputs: Sequence[Input]) -> Origins:
    weights = tuple(1.0 if one.weight is None else one.weight for one in inputs)
    return Origins(records.sources, tuple(one.path for one in inputs), weights)
