"""Whether a model may be packed is proved here, not listed: documents in one row against each alone, at load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from ..contracts import Document
from ..data import trees
from ..data.pack import collate
from . import attention, forward, heads, layers

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 2e-2}  # of the largest logit
LENGTHS = (3, 17, 9, 17, 40)
TRIALS = 5  # in 16 bit, where a router may choose another expert by rounding alone, in few places and not every time
TREES = ((5, (3, 9, 12)), (27, (3, 11, 12)), (33, (1, 7, 24)))  # (prefix, branches) of units; the first is not shared
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
    `shares`: documents that begin alike may have that prefix once (data/trees.py); "" in `against` where they may.
    """

    rows: Literal["packed", "padded", "equal"]
    reason: str
    difference: float
    against: str = "not asked for"  # why documents may not share a prefix

    @property
    def shares(self) -> bool:
        return not self.against

    @property
    def packed(self) -> bool:
        return self.rows == "packed"


def isolate(model: torch.nn.Module, share: bool = False) -> Isolation:
    """Give the model our attention where that changes nothing and keeps documents apart; prove how rows may be made.

    Hidden states of random documents are compared: ours with the attention it came with, one row with each alone. Where
    ours is not taken, the model keeps what it came with. Mode and random state stay as they were. `share`: prove also
    that documents which begin alike may have their prefix in common.
    """
    config: Any = model.config
    training = model.training
    model.eval()
    try:
        for key, why in MECHANISMS.items():
            if getattr(config.get_text_config(), key, None):
                return Isolation("equal", why, float("nan"))
        with layers.few(model):
            return _proved(model, share)
    finally:
        model.train(training)


def _proved(model: torch.nn.Module, share: bool) -> Isolation:
    reason, worst = _try_ours(model)
    if not reason and _pools_whole_rows(model):
        return Isolation("padded", "its classifier pools whole rows", worst)
    if not reason:
        against = _against_sharing(model) if share else Isolation.against
        return Isolation("packed", "packed rows give what each document gives alone", worst, against)
    if _least(model, lambda documents: _apart(model, documents, packed=False)) <= _bar(model):
        return Isolation("padded", reason, worst)
    return Isolation("equal", reason + ", and padding changes what a document gets", worst)


def expected(model: Any) -> Isolation:
    """The verdict that a config lets expect, where there are no weights to prove it with."""
    config = model.config.get_text_config()
    for key, why in MECHANISMS.items():
        if getattr(config, key, None):
            return Isolation("equal", f"{why} (by its config)", float("nan"))
    pools = forward.is_classifier(model) and not heads.is_tagger(model)
    if getattr(config, "classifier_pooling", "cls") == "mean" and pools:
        return Isolation("padded", "its classifier pools whole rows (by its config)", float("nan"))
    if "linear_attention" in (getattr(config, "layer_types", None) or ()):
        return Isolation("padded", "linear attention carries a state through the row (by its config)", float("nan"))
    return Isolation("packed", "expected by its config; proved when the weights are opened", float("nan"))


def _try_ours(model: torch.nn.Module) -> tuple[str, float]:
    """("", difference) where our attention may stay; else the reason, and the model has its own attention again."""
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    own, worst = base.config._attn_implementation, float("nan")

    def ours(documents: list[Document]) -> torch.Tensor:
        base.set_attn_implementation(own)
        before = [_alone(model, document) for document in documents]
        base.set_attn_implementation(attention.register())
        return _spread(before, [_alone(model, document) for document in documents])

    try:
        if _least(model, ours) > _bar(model):
            reason = "our attention is not the one that it was made with"
        elif (worst := _least(model, lambda documents: _apart(model, documents, packed=True))) <= _bar(model):
            return "", worst
        else:
            reason = "documents in one row see each other"
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
        reason = f"it does not take our attention ({type(error).__name__})"
    attention.clear()
    base.set_attn_implementation(own)
    return reason, worst


def _least(
    model: torch.nn.Module,
    measure: Callable[[list[Document]], torch.Tensor],
    made: Callable[[int, int], list[Document]] = lambda vocabulary, seed: _documents(vocabulary, LENGTHS, seed),
) -> float:
    """The largest difference of a token that every trial shows in its place: what leaks does so whatever the tokens are."""
    least: torch.Tensor | None = None
    exact = _bar(model) == TOLERANCE[torch.float32]
    for seed in range(1 if exact else TRIALS):
        found = measure(made(forward.vocabulary(model), seed))
        least = found if least is None else torch.minimum(least, found)
        if float(least.max()) <= _bar(model):
            break
    assert least is not None
    return float(least.max())


def _pools_whole_rows(model: torch.nn.Module) -> bool:
    """Whether an encoder's classifier needs more of a document than its first token, so that rows hold one document each."""
    if forward.decoder_head(model) is not None or not forward.is_classifier(model) or heads.is_tagger(model):
        return False
    documents = _documents(forward.vocabulary(model), LENGTHS)
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            alone = [forward.class_logits(model, collate([d], packed=False, device=device)) for d in documents]
            batch = collate(documents, device=device)
            found = forward.class_logits(model, batch)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError):
        return True
    finally:
        attention.clear()
    rows = {document.record: row for document, row in zip(batch.documents, found, strict=True)}
    worst = max(float((rows[i] - one[0]).abs().max()) for i, one in enumerate(alone))
    return not worst <= _bar(model) * max(float(one.abs().max()) for one in alone)


def _against_sharing(model: torch.nn.Module) -> str:
    """ "" where documents that share prefixes get what each gets alone; else the reason."""
    try:
        if _least(model, lambda units: _trees_apart(model, units), _units) <= _bar(model):
            return ""
        return "a shared prefix changes what its documents get"
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
        return f"it does not take shared prefixes ({type(error).__name__})"
    finally:
        attention.clear()


def _bar(model: torch.nn.Module) -> float:
    return TOLERANCE.get(next(model.parameters()).dtype, 1e-4)


def _documents(vocabulary: int, lengths: tuple[int, ...], seed: int = 0) -> list[Document]:
    random = np.random.default_rng(seed)
    low = min(10, vocabulary // 2)
    ids = (random.integers(low, vocabulary, n).astype(np.int32) for n in lengths)
    return [Document(one, np.ones(len(one), np.float32), record=i) for i, one in enumerate(ids)]


@torch.no_grad()
def _alone(model: torch.nn.Module, document: Document) -> torch.Tensor:
    device = next(model.parameters()).device
    return forward.run(forward.backbone(model), collate([document], packed=False, device=device))[0][0]


def _spread(expected: list[torch.Tensor], found: list[torch.Tensor]) -> torch.Tensor:
    """(tokens,) largest difference of each token, relative to the largest value of its document."""
    pairs = zip(expected, found, strict=True)
    return torch.cat([(f - e).abs().flatten(1).amax(1).float() / e.abs().max().float() for e, f in pairs])


@torch.no_grad()
def _apart(model: torch.nn.Module, documents: list[Document], packed: bool) -> torch.Tensor:
    """(tokens,) difference between documents together and each alone."""
    device = next(model.parameters()).device
    batch = collate(documents, packed=packed, device=device)
    together = forward.run(forward.backbone(model), batch)[0]
    if packed:
        parts = list(together[0].split(batch.lengths))
    else:
        parts = [row[:length] for row, length in zip(together, batch.lengths, strict=True)]
    return _spread([_alone(model, document) for document in batch.documents], parts)


def _units(vocabulary: int, seed: int) -> list[Document]:
    """Documents of which each unit begins alike."""
    units = list[Document]()
    for prefix, branches in TREES:
        first, *rest = _documents(vocabulary, (prefix, *branches), seed)
        # a branch begins with a token that no other has there: the prefix is no longer than it should be
        made = [np.r_[first.ids, np.int32(i), one.ids[1:]] for i, one in enumerate(rest)]
        units += [Document(ids, np.ones(len(ids), np.float32)) for ids in made]
    return units


@torch.no_grad()
def _trees_apart(model: torch.nn.Module, units: list[Document]) -> torch.Tensor:
    """(tokens,) difference between documents that share prefixes and each alone."""
    device = next(model.parameters()).device
    batch = collate(units, share=len(TREES[0][1]), device=device)
    assert len(batch.documents) > sum(len(tree.branches) for tree in batch.trees) > len(TREES[0][1])
    together = forward.run(forward.backbone(model), batch)[0][0]
    parts = [together[torch.from_numpy(place).to(device)] for place in trees.places(batch.lengths, batch.trees)]
    return _spread([_alone(model, document) for document in batch.documents], parts)
