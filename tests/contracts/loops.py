"""Tiny models, documents and single gradients for the contract tests of objectives, tuners and observers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import zoo
from train import harness

from seektune.contracts import Batch, Document
from seektune.models import attention

LABELS = ["bad", "good", "middling"]


def model_for(objective: Any, *, dropout: float = 0.0, architecture: str = "qwen2") -> torch.nn.Module:
    """A tiny model with the head that an objective asks for, and our attention. Embeddings and head are not tied."""
    attention.register()
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {name: i for i, name in enumerate(LABELS)}}
    more = names if objective.head != "lm" else {}
    model = zoo.tiny(architecture, head=objective.head, attention_dropout=dropout, tie_word_embeddings=False, **more)
    model.set_attn_implementation(attention.NAME)  # type: ignore[operator]
    if prepare := getattr(objective, "prepare", None):
        prepare(model)
    return model


def documents_for(objective: Any, count: int = 12, seed: int = 0) -> list[Document]:
    """Unequal lengths, unequal answers that end before the document does; labels for a classifier."""
    made = harness.documents(count * objective.unit, seed)
    for i, document in enumerate(made):
        document.weights[-1] = 0.0 if i % 3 and document.weights[:-1].any() else document.weights[-1]
        document.record = i // objective.unit
        document.label = i % len(LABELS) if objective.head == "classifier" else None
        if objective.head == "tagger":
            document.label = [-100 if j % 5 == 4 else (i + j * j) % len(LABELS) for j in range(len(document))]
    return made


def gradient(objective: Any, model: torch.nn.Module, batches: Sequence[Batch]) -> tuple[float, torch.Tensor]:
    """(loss, gradient of all trainable parameters) as the loop takes them: sums, divided once by the summed weight."""
    model.zero_grad(set_to_none=True)
    total, weight = 0.0, 0.0
    for batch in batches:
        if annotate := getattr(objective, "annotate", None):
            annotate(model, batch)
        loss = objective.loss(model, batch)
        loss.total.backward()
        total, weight = total + float(loss.total.detach()), weight + loss.weight
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters() if p.requires_grad]
    return total / weight, torch.cat([g.flatten() for g in grads]) / weight


def with_tail(documents: Sequence[Document], value: int) -> list[Document]:
    """Each document with three more tokens at the end that are not learnt."""
    import numpy as np

    tail, zeros = np.full(3, value, np.int32), np.zeros(3, np.float32)
    return [
        replace(d, ids=np.concatenate([d.ids, tail]), weights=np.concatenate([d.weights, zeros])) for d in documents
    ]


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative to the expected one."""
    return float((found - expected).norm() / expected.norm())
