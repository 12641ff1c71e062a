"""Perplexity: e to the mean of -log p over all learnt tokens of all records (not the mean of the records' own).

In a conversation the answers count, in a plain text every token; 1 would be certainty, the vocabulary's size ignorance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ...contracts import Engine, Record
from ..significance import Pool


@dataclass
class Perplexity:
    level: ClassVar[int] = 1
    better: ClassVar[str] = "lower"
    heads: ClassVar[tuple[str, ...]] = ("lm",)

    def measure(self, engine: Engine, records: Sequence[Record]) -> dict[str, Any]:
        """Per record: [sum of -log p in nats, number of tokens as weighted]."""
        return {"perplexity": [[total, weight] if weight else None for total, weight in engine.score(records)]}

    def figures(self, values: dict[str, list[Any]]) -> list[Pool]:
        import numpy as np

        from ..significance import ratio

        rows = np.asarray(values["perplexity"], dtype=np.float64).reshape(-1, 2)

        def combine(sums: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore"):
                return np.exp(ratio(sums[..., :1], sums[..., 1:]))

        return [Pool(("perplexity",), rows, combine)]
