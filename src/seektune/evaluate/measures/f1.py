"""Precision, recall and F1: per class, and over the classes as `average` says. Classes are found as in `accuracy`.

macro: the mean over classes (of each figure) · weighted: by how many records each class has · micro: from pooled counts.
A class that neither occurs nor is predicted does not count; a figure without a denominator is 0, as in scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...contracts import Engine, Probe, Record, at_least, option
from ..significance import Pool
from ._records import predictions

if TYPE_CHECKING:
    import numpy as np


@dataclass
class F1:
    average: Literal["macro", "weighted", "micro"] = option(
        "macro", "how classes are joined to one figure", probe=Probe("micro", seen="report", scenario="evaluate")
    )
    max_new_tokens: int = option(
        32,
        "longest answer of a language model, in tokens",
        probe=Probe(1, seen="report", scenario="evaluate"),
        check=at_least(1),
    )

    level: ClassVar[int] = 2
    better: ClassVar[str] = "higher"
    names: ClassVar[tuple[str, ...]] = ("f1", "precision", "recall")

    def measure(self, engine: Engine, records: Sequence[Record]) -> dict[str, Any]:
        """Per record: [true classes, predicted classes]."""
        return {"f1": predictions(engine, records, self.max_new_tokens, "f1")}

    def figures(self, values: dict[str, list[Any]]) -> list[Pool]:
        """`f1`, `precision`, `recall`, then each as `f1/CLASS`, over the classes that occur or were predicted."""
        import numpy as np

        pairs = values["f1"]
        classes = sorted({name for pair in pairs for side in pair for name in side})
        column = {name: i for i, name in enumerate(classes)}
        truth, said = (np.zeros((len(pairs), len(classes)), dtype=np.int8) for _ in range(2))
        for row, (true, predicted) in enumerate(pairs):
            truth[row, [column[name] for name in true]] = 1
            said[row, [column[name] for name in predicted]] = 1
        rows = np.concatenate([truth & said, said & (1 - truth), truth & (1 - said)], 1)
        names = (
            "f1",
            "precision",
            "recall",
            *(f"{figure}/{name}" for figure in ("f1", "precision", "recall") for name in classes),
        )
        return [Pool(names, rows, self._combine)]

    def _combine(self, sums: np.ndarray) -> np.ndarray:
        """(..., 3 × classes) counts of hits, false alarms and misses -> (..., names)."""
        import numpy as np

        hits, alarms, misses = np.split(sums, 3, -1)
        each = three(hits, alarms, misses)
        if self.average == "micro":
            joined = [
                figure[..., 0] for figure in three(*(part.sum(-1, keepdims=True) for part in (hits, alarms, misses)))
            ]
        else:
            weights = (hits + alarms + misses > 0).astype(float) if self.average == "macro" else hits + misses
            total = np.maximum(weights.sum(-1), 1e-300)
            joined = [(figure * weights).sum(-1) / total for figure in each]
        return np.concatenate([np.stack(joined, -1), *each], -1)


def three(hits: np.ndarray, alarms: np.ndarray, misses: np.ndarray) -> list[np.ndarray]:
    """F1, precision and recall, each 0 where it has no denominator."""
    import numpy as np

    def share(whole: np.ndarray, part: np.ndarray = hits) -> np.ndarray:
        return np.divide(part, whole, out=np.zeros_like(whole, dtype=float), where=whole > 0)

    return [share(2 * hits + alarms + misses, 2 * hits), share(hits + alarms), share(hits + misses)]
