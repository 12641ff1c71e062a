"""Whether a model may be packed is proved here, not listed: documents in one row against each alone, at load."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..contracts import Document
from ..data.pack import collate
from . import forward

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 2e-2}  # of the largest logit
MECHANISMS = {  # config keys whose reach depends on the row: a short probe cannot prove them
    "index_topk": "its sparse index chooses among all tokens of a row",
    "compress_ratios": "its compressor mixes neighbouring documents",
    "compress_rates": "its compressor mixes neighbouring documents",
    "attention_chunk_size": "its chunks are counted from the start of the row",
}


@dataclass(frozen=True)
class Isolation:
    """The verdict: `packed`, the reason in words, and the largest difference that was seen (relative to the logits)."""

    packed: bool
    reason: str
    difference: float


def prove(model: torch.nn.Module, vocabulary: int, lengths: tuple[int, ...] = (3, 17, 9, 17, 40)) -> Isolation:
    """Compare final hidden states of random documents packed in one row with each alone. Leaves mode and random state as they were."""
    config = model.config
    for key, why in MECHANISMS.items():
        if getattr(config, key, None):
            return Isolation(False, why, float("nan"))
    if getattr(config, "_attn_implementation", "") != "seektune":
        return Isolation(False, "its attention cannot be given document borders", float("nan"))
    device = next(model.parameters()).device
    random = np.random.default_rng(0)
    low = min(10, vocabulary // 2)
    documents = [
        Document(random.integers(low, vocabulary, n).astype(np.int32), np.ones(n, np.float32), record=i)
        for i, n in enumerate(lengths)
    ]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            worst = _difference(model, documents, device)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        return Isolation(False, f"its forward refuses packed rows ({type(error).__name__})", float("nan"))
    finally:
        model.train(training)
    dtype = next(model.parameters()).dtype
    if worst <= TOLERANCE.get(dtype, 1e-4):
        return Isolation(True, "packed rows give what each document gives alone", worst)
    return Isolation(False, "documents in one row see each other", worst)


def _difference(model: torch.nn.Module, documents: list[Document], device: torch.device) -> float:
    backbone = forward.backbone(model)
    packed = collate(documents, packed=True, device=device)
    together = forward.run(backbone, packed)[0][0]
    worst, at = 0.0, 0
    for document in packed.documents:
        alone = forward.run(backbone, collate([document], packed=False, device=device))[0][0]
        part = together[at : at + len(document)]
        at += len(document)
        worst = max(worst, float((part - alone).abs().max() / alone.abs().max()))
    return worst
