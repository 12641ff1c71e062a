"""In which order several inputs take their turns, so that the share of each is held in every stretch of the order.

The next turn is that of the input which is furthest behind its share (largest deficit first). In whole numbers, so it is the
same on every machine; it repeats itself after as many turns as the weights add up to, which is all that is kept of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

import numpy as np

FINEST = 100_000  # turns after which an order repeats itself, at most; shares are held to one part in so many


@dataclass(frozen=True)
class Turns:
    """An endless order. `pattern`: (turns,) the input whose turn it is, over and over again."""

    pattern: np.ndarray
    before: np.ndarray  # (turns + 1, inputs) turns of each input before each place of the pattern

    def counts(self, turns: int) -> np.ndarray:
        """(inputs,) how many of the first `turns` each has."""
        whole, rest = divmod(turns, len(self.pattern))
        return whole * self.before[-1] + self.before[rest]

    def place(self, which: int, number: int) -> int:
        """At which turn an input has its own turn `number`, from 0."""
        own = np.flatnonzero(self.pattern == which)
        whole, rest = divmod(number, len(own))
        return whole * len(self.pattern) + int(own[rest])

    def first_missing(self, left: Sequence[int], inputs: Sequence[int]) -> int:
        """The turn that one of these inputs cannot take, as the `left` records of it are all used."""
        return min(self.place(i, left[i]) for i in inputs)

    def all_seen(self, sizes: Sequence[int]) -> int:
        """After how many turns every input has been gone through."""
        return max(self.place(i, size - 1) + 1 for i, size in enumerate(sizes))


def turns(weights: Sequence[float]) -> Turns:
    """Of inputs with these weights; one of weight 0 has no turn."""
    whole = whole_numbers(weights)
    total = sum(whole)
    deficits, pattern = [0] * len(whole), []
    for _ in range(total):
        deficits = [deficit + weight for deficit, weight in zip(deficits, whole, strict=True)]
        chosen = max(range(len(whole)), key=deficits.__getitem__)
        deficits[chosen] -= total
        pattern.append(chosen)
    held = np.array(pattern, np.int32)
    taken = np.cumsum(held[:, None] == np.arange(len(whole)), axis=0)
    return Turns(held, np.concatenate([np.zeros((1, len(whole)), np.int64), taken]))


def whole_numbers(weights: Sequence[float]) -> list[int]:
    """The weights as the smallest whole numbers of the same proportions: 0.7, 0.2, 0.1 are 7, 2, 1."""
    exact = [Fraction(str(weight)) for weight in weights]
    common = lcm(*(one.denominator for one in exact))
    whole = [int(one * common) for one in exact]
    whole = [one // gcd(*whole) for one in whole]
    if sum(whole) <= FINEST:
        return whole
    total = sum(exact)
    return [max(1, round(one / total * FINEST)) if one else 0 for one in exact]
