"""F1 of entities: one counts where its start, end and type are exactly right. Pooled over records, and of each type.

Precision, recall and F1 as in the CoNLL shared tasks (Tjong Kim Sang & De Meulder 2003).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...contracts import Engine, Probe, Record, option
from ...errors import DataError, problem
from ..significance import Pool
from .f1 import three

if TYPE_CHECKING:
    import numpy as np


@dataclass
class SpanF1:
    types: list[str] | None = option(
        None, "only entities of these types; all where left out", probe=Probe(["place"], "report", "evaluate_tags")
    )

    level: ClassVar[int] = 2
    better: ClassVar[str] = "higher"
    names: ClassVar[tuple[str, ...]] = ("span_f1", "span_precision", "span_recall")
    heads: ClassVar[tuple[str, ...]] = ("tagger",)

    def measure(self, engine: Engine, records: Sequence[Record]) -> dict[str, Any]:
        """Per record: [true spans, found spans]."""
        if any("spans" not in record for record in records):
            raise DataError(problem("span_f1", "there are records without 'spans'", "text and spans in each"))
        found = engine.tag(records)
        return {
            "span_f1": [
                [self._counted(record["spans"]), self._counted(spans)]
                for record, spans in zip(records, found, strict=True)
            ]
        }

    def _counted(self, spans: Sequence[Any]) -> list[list[Any]]:
        return [list(span) for span in spans if self.types is None or span[2] in self.types]

    def figures(self, values: dict[str, list[Any]]) -> list[Pool]:
        """The three figures over all types, then each as `span_f1/TYPE`."""
        import numpy as np

        pairs = [[{tuple(span) for span in side} for side in pair] for pair in values["span_f1"]]
        kinds = sorted({kind for pair in pairs for side in pair for *_, kind in side})
        column = {kind: i for i, kind in enumerate(kinds)}
        counts = np.zeros((len(pairs), 3, len(kinds)))  # hits, false alarms, misses
        for row, (true, said) in enumerate(pairs):
            for number, spans in enumerate((true & said, said - true, true - said)):
                for *_, kind in spans:
                    counts[row, number, column[kind]] += 1
        names = (*self.names, *(f"{figure}/{kind}" for figure in self.names for kind in kinds))
        return [Pool(names, counts.reshape(len(pairs), -1), _combine)]


def _combine(sums: np.ndarray) -> np.ndarray:
    """(..., 3 × types) counts -> (..., names)."""
    import numpy as np

    parts = np.split(sums, 3, -1)
    whole = three(*(part.sum(-1, keepdims=True) for part in parts))
    return np.concatenate([*whole, *three(*parts)], -1)
