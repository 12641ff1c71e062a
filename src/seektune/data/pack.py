"""From documents to rows: cuts one optimizer step into micro-batches and lays each out as tensors, with little or no padding.

Packed rows hold documents end to end, sorted by length so that attention can take equal lengths together; a model that
cannot keep documents apart gets one document a row, padded on the right, with neighbours of like length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..contracts import Batch, Document, Learnt
from . import trees

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..contracts import Tree


def cut(
    documents: Sequence[Document],
    *,
    unit: int = 1,
    records: int | None = None,
    tokens: int | None = None,
    rows: Literal["packed", "padded", "equal"] = "packed",
    pad_id: int = 0,
    device: str | torch.device = "cpu",
    share: bool = False,
) -> list[Batch]:
    """Micro-batches of at most `records` units, or at most `tokens` tokens (padding counted), none empty.

    `unit` documents that follow each other stay together. How it is cut never changes a gradient: objectives return sums.
    `rows`: see `models/isolation.py`; with "equal", a batch holds documents of one length only. `share`: what the
    documents of a unit begin with alike stands in a packed row once, and is counted once.
    """
    packed = rows == "packed"
    share = share and packed and unit > 1
    assert len(documents) % unit == 0, f"{len(documents)} documents do not make whole units of {unit}"
    units = [list(documents[i : i + unit]) for i in range(0, len(documents), unit)]
    if not packed:
        units.sort(key=lambda u: max(len(d) for d in u))
    groups: list[list[Document]] = []
    sizes: list[tuple[int, int, int]] = []  # units, tokens, longest of the last group
    for one in units:
        count, held, longest = sizes[-1] if sizes else (0, 0, 0)
        size = trees.row_tokens(one, share)
        held, longest = held + size, max(longest, *map(len, one))
        area = held if packed else longest * (len(groups[-1]) + unit if groups else unit)
        full = (records is not None and count >= records) or (tokens is not None and area > tokens)
        full |= rows == "equal" and bool(groups) and len({len(d) for d in [*groups[-1], *one]}) > 1
        if not groups or full:
            groups.append([])
            sizes.append((0, 0, 0))
            count, held, longest = 0, size, max(map(len, one))
        groups[-1].extend(one)
        sizes[-1] = (count + 1, held, longest)
    more: dict[str, Any] = {"packed": packed, "pad_id": pad_id, "device": device, "share": unit if share else 1}
    return [collate(group, **more) for group in groups]


def collate(
    documents: Sequence[Document],
    *,
    packed: bool = True,
    pad_id: int = 0,
    device: str | torch.device = "cpu",
    share: int = 1,
) -> Batch:
    """Lay documents out as tensors: one row end to end (`packed`), or a row each, padded on the right.

    `share`: so many documents that follow each other are a unit whose common prefix stands in the packed row once.
    """
    import numpy as np
    import torch

    grown: tuple[Tree, ...] = ()
    documents = list(documents)
    if packed:
        documents, grown = trees.plant(documents, share)
    lengths = tuple(map(len, documents))
    places = trees.places(lengths, grown) if packed else [np.arange(length) for length in lengths]
    width = max(int(place[-1]) for place in places) + 1
    shape = (1 if packed else len(documents), width)
    ids = np.full(shape, pad_id, dtype=np.int64)
    positions = np.broadcast_to(np.arange(width), shape).copy()
    segments = np.full(shape, -1, dtype=np.int64)
    weights = np.zeros(shape, dtype=np.float32)
    for number in reversed(range(len(documents))):  # so that a prefix is its first document's
        row, place, document = 0 if packed else number, places[number], documents[number]
        ids[row, place] = document.ids
        positions[row, place] = np.arange(len(place))
        segments[row, place] = number
        weights[row, place[1:]] += document.weights[1:]
    move = lambda array: torch.from_numpy(array).to(device)  # noqa: E731
    starts = [0] * len(documents) if packed else [width * row for row in range(len(documents))]
    learnt = _learnt(documents, [start + place for start, place in zip(starts, places, strict=True)])
    found = Learnt(*map(move, learnt))
    return Batch(documents, move(ids), move(positions), move(segments), move(weights), lengths, packed, grown, found)


def _learnt(documents: Sequence[Document], places: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The parts of `Learnt`. From the documents: the first token of a branch is predicted at the end of the prefix, not by
    its neighbour in the row. `places`: of each document's tokens in the flattened rows."""
    import numpy as np

    found = []
    for number, (document, place) in enumerate(zip(documents, places, strict=True)):
        at = 1 + np.flatnonzero(document.weights[1:])
        found.append((place[at - 1], document.ids[at], document.weights[at], np.full(len(at), number)))
    kinds = (np.int64, np.int64, np.float32, np.int64)
    return [np.concatenate(part).astype(kind) for part, kind in zip(zip(*found, strict=True), kinds, strict=True)]


def learnt_positions(batch: Batch) -> Learnt:
    """Where the head is needed, for what, and for whom: the one description of it that losses work from."""
    assert batch.learnt is not None
    return batch.learnt


def first_positions(batch: Batch) -> torch.Tensor:
    """(documents,): where in the packed row each document begins."""
    import torch

    assert batch.ids is not None and batch.packed
    starts = [int(place[0]) for place in trees.places(batch.lengths, batch.trees)]
    return torch.tensor(starts, device=batch.ids.device)


def last_positions(batch: Batch) -> torch.Tensor:
    """(documents,): where in the flattened row each document ends."""
    import torch

    assert batch.ids is not None
    if batch.packed:
        ends = [int(place[-1]) for place in trees.places(batch.lengths, batch.trees)]
    else:
        ends = [row * batch.ids.shape[1] + length - 1 for row, length in enumerate(batch.lengths)]
    return torch.tensor(ends, device=batch.ids.device)
