"""From documents to rows: cuts one optimizer step into micro-batches and lays each out as tensors, with little or no padding.

Packed rows hold documents end to end, sorted by length so that attention can take equal lengths together; a model that
cannot keep documents apart gets one document a row, padded on the right, with neighbours of like length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ..contracts import Batch, Document

if TYPE_CHECKING:
    import torch


def cut(
    documents: Sequence[Document],
    *,
    unit: int = 1,
    records: int | None = None,
    tokens: int | None = None,
    rows: Literal["packed", "padded", "equal"] = "packed",
    pad_id: int = 0,
    device: str | torch.device = "cpu",
) -> list[Batch]:
    """Micro-batches of at most `records` units, or at most `tokens` tokens (padding counted), none empty.

    `unit` documents that follow each other stay together. How it is cut never changes a gradient: objectives return sums.
    `rows`: see `models/isolation.py`; with "equal", a batch holds documents of one length only.
    """
    packed = rows == "packed"
    assert len(documents) % unit == 0, f"{len(documents)} documents do not make whole units of {unit}"
    units = [list(documents[i : i + unit]) for i in range(0, len(documents), unit)]
    if not packed:
        units.sort(key=lambda u: max(len(d) for d in u))
    groups: list[list[Document]] = []
    sizes: list[tuple[int, int, int]] = []  # units, tokens, longest of the last group
    for one in units:
        count, held, longest = sizes[-1] if sizes else (0, 0, 0)
        held, longest = held + sum(map(len, one)), max(longest, *map(len, one))
        area = held if packed else longest * (len(groups[-1]) + unit if groups else unit)
        full = (records is not None and count >= records) or (tokens is not None and area > tokens)
        full |= rows == "equal" and bool(groups) and len({len(d) for d in [*groups[-1], *one]}) > 1
        if not groups or full:
            groups.append([])
            sizes.append((0, 0, 0))
            count, held, longest = 0, sum(map(len, one)), max(map(len, one))
        groups[-1].extend(one)
        sizes[-1] = (count + 1, held, longest)
    return [collate(group, packed=packed, pad_id=pad_id, device=device) for group in groups]


def collate(
    documents: Sequence[Document], *, packed: bool = True, pad_id: int = 0, device: str | torch.device = "cpu"
) -> Batch:
    """Lay documents out as tensors: one row end to end (`packed`), or a row each, padded on the right."""
    import numpy as np
    import torch

    documents = list(documents)
    lengths = tuple(len(d) for d in documents)
    if packed:
        order = sorted(range(len(documents)), key=lambda i: lengths[i])
        documents = [documents[i] for i in order]
        lengths = tuple(lengths[i] for i in order)
        rows = [documents]
        width = sum(lengths)
    else:
        rows = [[d] for d in documents]
        width = max(lengths)
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    positions = np.zeros((len(rows), width), dtype=np.int64)
    segments = np.full((len(rows), width), -1, dtype=np.int64)
    weights = np.zeros((len(rows), width), dtype=np.float32)
    number = 0
    for r, row in enumerate(rows):
        at = 0
        for document in row:
            end = at + len(document)
            ids[r, at:end] = document.ids
            positions[r, at:end] = np.arange(end - at)
            segments[r, at:end] = number
            weights[r, at + 1 : end] = document.weights[1:]
            at, number = end, number + 1
        positions[r, at:] = np.arange(at, width) if at else 0
    move = lambda array: torch.from_numpy(array).to(device)  # noqa: E731
    return Batch(documents, move(ids), move(positions), move(segments), move(weights), lengths, packed)
