"""Batches from a fixed set of documents: every record once an epoch, in an order that follows from seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contracts import Batch, Document, Probe, option


@dataclass
class Loader:
    """Epoch after epoch without end; the position is (epoch, batch), so that a resume continues in mid-epoch."""

    shuffle: bool = option(True, "a new order each epoch; false keeps the order of the files", probe=Probe(False))

    def open(self, documents: Sequence[Document], *, batch_size: int, unit: int, seed: int) -> None:
        """`batch_size` counts records; the documents of one record stay together, pieces of a split text do not. Raises ValueError where there are none."""
        known = getattr(documents, "units", None)
        owners = np.asarray([d.record for d in documents] if known is None else known)
        if len(owners) == 0:
            raise ValueError("no documents to train on")
        starts = np.flatnonzero(np.diff(owners, prepend=owners[0] - 1))
        self._documents, self._seed, self._batch_size = documents, seed, batch_size
        self._bounds = np.append(starts, len(owners))
        self._epoch = self._batch = 0
        assert unit == 1 or (np.diff(self._bounds) == unit).all(), "every record gives one unit"

    def __iter__(self) -> Iterator[Batch]:
        while True:
            order = self._order()
            while self._batch < self.batches_per_epoch():
                records = order[self._batch * self._batch_size : (self._batch + 1) * self._batch_size]
                self._batch += 1
                yield Batch([self._documents[i] for r in records for i in range(self._bounds[r], self._bounds[r + 1])])
            self._epoch, self._batch = self._epoch + 1, 0

    def batches_per_epoch(self) -> int:
        return -(-(len(self._bounds) - 1) // self._batch_size)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._epoch, self._batch = int(state["epoch"]), int(state["batch"])

    def _order(self) -> np.ndarray:
        count = len(self._bounds) - 1
        if not self.shuffle:
            return np.arange(count)
        return np.random.default_rng([self._seed, self._epoch]).permutation(count)
