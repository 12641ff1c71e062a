"""Batches from a fixed set of documents: every record once an epoch, in an order that follows from seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contracts import Batch, Document, Probe, option
from ._origins import at_epoch, units_of


@dataclass
class Loader:
    """Epoch after epoch without end; the position is (epoch, batch), so that a resume continues in mid-epoch."""

    shuffle: bool = option(True, "a new order each epoch; false keeps the order of the files", probe=Probe(False))

    def open(self, documents: Sequence[Document], *, batch_size: int, unit: int, seed: int) -> None:
        """`batch_size` counts records; the documents of one record stay together, pieces of a split text do not. Raises ValueError where there are none."""
        self._units = units_of(documents, unit)
        self._documents, self._seed, self._batch_size = documents, seed, batch_size
        self._epoch = self._batch = 0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            order, documents = self._order(), at_epoch(self._documents, self._epoch)
            while self._batch < self.batches_per_epoch():
                records = order[self._batch * self._batch_size : (self._batch + 1) * self._batch_size]
                self._batch += 1
                yield Batch([document for r in records for document in self._units.documents(documents, r)])
            self._epoch, self._batch = self._epoch + 1, 0

    def batches_per_epoch(self) -> int:
        return -(-len(self._units) // self._batch_size)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._epoch, self._batch = int(state["epoch"]), int(state["batch"])

    def _order(self) -> np.ndarray:
        count = len(self._units)
        if not self.shuffle:
            return np.arange(count)
        return np.random.default_rng([self._seed, self._epoch]).permutation(count)
