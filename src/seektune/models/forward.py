"""The one way from a batch to log-probabilities and to class scores; objectives never see full logits.

The model runs once over the row; its own head is evaluated only where a token is learnt: a hook in front of the head
keeps the needed positions, so that a model's own soft cap or scaling of logits stays in force.
`reference_losses` is the same the plain way (padding, full logits); tests compare the two.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F

from ..contracts import Batch
from ..data.pack import first_positions, last_positions, learnt_positions
from . import attention, heads, layers
from .kernels.cross_entropy import cross_entropy
from .trees import Trees


def token_losses(model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """(-log p, weight) of every learnt token, both (n,) float32, document by document; n may be 0 (the sum still has a gradient).

    Where the head is a plain linear layer, the logits exist for a chunk of the tokens only (kernels/cross_entropy.py).
    """
    tail = heads.tail_of(model)
    if tail is None:
        logits, targets, weights = supervised_logits(model, batch)
        return F.cross_entropy(logits.float(), targets, reduction="none"), weights
    learnt = learnt_positions(batch)
    hidden = run(backbone(model), batch)[0].flatten(0, 1).index_select(0, learnt.positions)
    losses = cross_entropy(hidden, tail.head.weight, tail.head.bias, learnt.targets, learnt.weights, tail.softcap)
    return losses, learnt.weights


def token_log_probs(model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """(log p (n,), document (n,)) of every learnt token; `document` indexes `batch.documents`."""
    losses, _ = token_losses(model, batch)
    return -losses, learnt_positions(batch).documents


def supervised_logits(model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (n, vocabulary), target ids (n,), weights (n,) at the n positions whose next token is learnt."""
    learnt = learnt_positions(batch)
    head = model.get_output_embeddings()  # type: ignore[operator]
    if head is None:
        raise TypeError(f"{type(model).__name__} has no output embeddings: no language model head")

    def keep_needed(module: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (arguments[0].flatten(0, 1).index_select(0, learnt.positions).unsqueeze(0), *arguments[1:])

    hook = head.register_forward_pre_hook(keep_needed)
    try:
        logits = run(model, batch).logits[0]
    finally:
        hook.remove()
    return logits, learnt.targets, learnt.weights


def run(model: torch.nn.Module, batch: Batch, **more: Any) -> Any:
    """The model's own forward over a batch, documents kept apart. `more` goes to the model.

    Where the batch carries what enters an upper layer (`batch.boundary`), only that layer and those above it compute.
    """
    if batch.boundary is not None:
        with batch.boundary.in_place():
            return run(model, dataclasses.replace(batch, boundary=None), **more)
    assert batch.ids is not None and batch.positions is not None and batch.segments is not None
    if batch.packed:
        if batch.trees:  # given a mask, transformers does not guess from positions where documents end
            more = {"attention_mask": torch.ones_like(batch.ids)} | more
        with attention.laid_out(batch.lengths, batch.segments, Trees.of(batch)):
            positions = batch.positions + first_position(model)
            return model(input_ids=batch.ids, position_ids=positions, use_cache=False, **more)
    attention.clear(batch.lengths)
    if _takes(model, "use_cache"):
        more = {"use_cache": False} | more
    return model(input_ids=batch.ids, **more)  # causal, padded on the right: no document sees its padding


def class_logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """(documents, classes): each document's own position is read, never the row's.

    Decoders are read at the last token of each document. An encoder's own head is used as it is, over a row for each
    document; behind a packed row it gets rows of one token, the first of each document (isolation.py tries whether that is
    what its pooling reads).
    """
    head = decoder_head(model)
    if head is None and batch.packed:
        return _logits_of_first(model, batch)
    if head is None:
        assert batch.segments is not None
        mask = batch.segments >= 0
        return run(model, batch, attention_mask=None if bool(mask.all()) else mask.long()).logits
    hidden = run(backbone(model), batch)[0]
    return head(hidden.flatten(0, 1).index_select(0, last_positions(batch)))


def tag_logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """(tokens, classes) of all documents of the batch, end to end in their order: each token of its own document alone."""
    assert batch.segments is not None
    inside = batch.segments >= 0
    more = {} if batch.packed or bool(inside.all()) else {"attention_mask": inside.long()}
    return run(model, batch, **more).logits[inside]


def _logits_of_first(model: Any, batch: Batch) -> torch.Tensor:
    first = first_positions(batch)

    def keep_first(module: torch.nn.Module, arguments: tuple[Any, ...], found: Any) -> Any:
        if isinstance(found, tuple):
            return (found[0][0, first, None], *found[1:])
        return found[0, first, None]

    hook = layers.blocks(model)[1][-1].register_forward_hook(keep_first)
    try:
        return run(model, batch).logits
    finally:
        hook.remove()


def first_position(model: Any) -> int:
    """The position id of a document's first token: RoBERTa's are counted from behind its padding id."""
    known = getattr(_bare(model), "seektune_first_position", None)
    if known is None:
        tables = (m for name, m in model.named_modules() if name.endswith("position_embeddings"))
        padding = next((getattr(table, "padding_idx", None) for table in tables), None)
        known = _bare(model).seektune_first_position = 0 if padding is None else padding + 1
    return int(known)


def is_classifier(model: torch.nn.Module) -> bool:
    """Whether it ends in class scores instead of a language model's head."""
    return model.get_output_embeddings() is None  # type: ignore[operator]


def decoder_head(model: torch.nn.Module) -> torch.nn.Module | None:
    """The `score` head of a decoder classifier (transformers' common one), or None for other classifiers."""
    return getattr(_bare(model), "score", None)


def backbone(model: Any) -> torch.nn.Module:
    """The model below its head: tokens in, hidden states (rows, time, hidden) first in what it gives."""
    base = _bare(model)
    return getattr(base, base.base_model_prefix)


def _bare(model: Any) -> Any:
    """The model without the adapter around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def vocabulary(model: Any) -> int:
    """Rows of the embedding."""
    embedding = model.get_input_embeddings()
    return int(getattr(embedding, "original_module", embedding).weight.shape[0])  # PEFT wraps it where rows are trained


def _takes(model: torch.nn.Module, name: str) -> bool:
    import inspect

    parameters = inspect.signature(_bare(model).forward).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def reference_losses(model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """What `token_losses` must equal, the plain way: each document alone, full logits. Slow; for tests and probes."""
    attention.clear()
    losses, weights = [], []
    device = batch.ids.device if batch.ids is not None else "cpu"
    for document in batch.documents:
        ids = torch.as_tensor(document.ids, dtype=torch.long, device=device)[None]
        weight = torch.as_tensor(document.weights, dtype=torch.float32, device=device)[1:]
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        keep = weight != 0
        losses.append(F.cross_entropy(logits[keep], ids[0, 1:][keep], reduction="none"))
        weights.append(weight[keep])
    return torch.cat(losses), torch.cat(weights)
