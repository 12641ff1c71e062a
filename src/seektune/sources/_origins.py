"""What sources ask of documents that may be plain ones in a list: what stays together, where it came from, the epoch's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contracts import Document


@dataclass(frozen=True)
class Units:
    """What is drawn as one: the documents of a record, a piece of a split text. `bounds`: (units + 1,) first document of each."""

    bounds: np.ndarray

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def documents(self, documents: Sequence[Document], number: int) -> list[Document]:
        return [documents[i] for i in range(self.bounds[number], self.bounds[number + 1])]


def units_of(documents: Sequence[Document], unit: int) -> Units:
    """Raises ValueError where there are none."""
    known = getattr(documents, "units", None)
    owners = np.asarray([d.record for d in documents] if known is None else known)
    if len(owners) == 0:
        raise ValueError("no documents to train on")
    bounds = np.append(np.flatnonzero(np.diff(owners, prepend=owners[0] - 1)), len(owners))
    assert unit == 1 or (np.diff(bounds) == unit).all(), "every record gives one unit"
    return Units(bounds)


def at_epoch(documents: Sequence[Document], epoch: int) -> Sequence[Document]:
    """The documents as this epoch has them, where they are made anew for each; as they are otherwise."""
    anew: Any = getattr(documents, "at_epoch", None)
    return anew(epoch) if anew is not None else documents
