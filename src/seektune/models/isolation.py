"""Whether a model may be packed is proved here, not listed: documents in one row against each alone, at load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from ..contracts import Document
from ..data.pack import collate
from . import attention, forward

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 2e-2}  # of the largest logit
MECHANISMS = {  # config keys whose reach depends on the row: a short probe cannot prove them
    "index_topk": "its sparse index chooses among all tokens of a row",
    "compress_rates": "its compressor mixes neighbouring documents",
    "attention_chunk_size": "its chunks are counted from the start of the row",
}


@dataclass(frozen=True)
class Isolation:
    """The verdict: how rows are made, the reason in words, and the largest difference seen (relative to the hidden states).

    packed: documents end to end · padded: one a row, padding on the right · equal: one a row, no padding at all, only
    documents of one length together (where even padding changes what a document gets: ties in a sparse index).
    """

    rows: Literal["packed", "padded", "equal"]
    reason: str
    difference: float

    @property
    def packed(self) -> bool:
        return self.rows == "packed"


def prove(model: torch.nn.Module, vocabulary: int, lengths: tuple[int, ...] = (3, 17, 9, 17, 40)) -> Isolation:
    """Compare hidden states of random documents in one row with each alone. Leaves mode and random state as they were."""
    config: Any = model.config
    for key, why in MECHANISMS.items():
        if getattr(config.get_text_config(), key, None):
            return Isolation("equal", why, float("nan"))
    documents = _documents(vocabulary, lengths)
    training = model.training
    model.eval()
    try:
        return _verdict(model, documents)
    finally:
        model.train(training)


def _verdict(model: torch.nn.Module, documents: list[Document]) -> Isolation:
    bar = TOLERANCE.get(next(model.parameters()).dtype, 1e-4)
    if getattr(model.config, "_attn_implementation", "") != attention.NAME:
        reason, worst = "its attention cannot be given document borders", float("nan")
    else:
        try:
            worst = _difference(model, documents, packed=True)
            if worst <= bar:
                return Isolation("packed", "packed rows give what each document gives alone", worst)
            reason = "documents in one row see each other"
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason, worst = f"its forward refuses packed rows ({type(error).__name__})", float("nan")
    if _difference(model, documents, packed=False) <= bar:
        return Isolation("padded", reason, worst)
    return Isolation("equal", reason + ", and padding changes what a document gets", worst)


def _documents(vocabulary: int, lengths: tuple[int, ...]) -> list[Document]:
    random = np.random.default_rng(0)
    low = min(10, vocabulary // 2)
    ids = (random.integers(low, vocabulary, n).astype(np.int32) for n in lengths)
    return [Document(one, np.ones(len(one), np.float32), record=i) for i, one in enumerate(ids)]


@torch.no_grad()
def _difference(model: torch.nn.Module, documents: list[Document], packed: bool) -> float:
    device = next(model.parameters()).device
    backbone = forward.backbone(model)
    batch = collate(documents, packed=packed, device=device)
    together = forward.run(backbone, batch)[0]
    worst, at = 0.0, 0
    for row, document in enumerate(batch.documents):
        alone = forward.run(backbone, collate([document], packed=False, device=device))[0][0]
        part = together[0, at : at + len(document)] if packed else together[row, : len(document)]
        at += len(document)
        worst = max(worst, float((part - alone).abs().max() / alone.abs().max()))
    return worst
