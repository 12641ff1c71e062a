"""The ends of a model: embedding rows for new tokens, and the classifier head that is new to a base."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, problem
from .quiet import quiet

if TYPE_CHECKING:
    import torch


def embedding_rows(model: Any) -> int:
    return int(base_of(model).get_input_embeddings().weight.shape[0])


def tied(model: Any) -> bool:
    """Whether the head reads the same tensor as the embedding."""
    head, embedding = base_of(model).get_output_embeddings(), base_of(model).get_input_embeddings()
    return head is not None and head.weight is embedding.weight


def resize(model: Any, rows: int) -> None:
    """At least `rows` embedding rows. Never fewer than there are: many models keep spare rows, and adapters count on them."""
    if rows <= embedding_rows(model):
        return
    with quiet():
        base_of(model).resize_token_embeddings(rows, mean_resizing=False)


def add_tokens(model: Any, tokenizer: Any, tokens: list[str]) -> list[int]:
    """Ids of new tokens, after the tokenizer and (where they are too few) the embedding rows have grown to hold them.

    The rows start as the mean of the rows of the pieces that the token was before, so that training starts from what the
    model knew. The ids are kept on the model as `seektune_new_tokens`: LoRA trains and saves these rows only.
    Raises ModelError for a token that exists already.
    """
    import torch

    vocabulary = tokenizer.get_vocab()
    known = [token for token in tokens if token in vocabulary]
    if known:
        raise ModelError(
            [
                problem("new token", f"{token!r} is in the vocabulary already (id {vocabulary[token]})")
                for token in known
            ]
        )
    pieces = [tokenizer.encode(token, add_special_tokens=False) for token in tokens]
    tokenizer.add_tokens(tokens, special_tokens=True)
    ids = [int(tokenizer.convert_tokens_to_ids(token)) for token in tokens]
    resize(
        model, max(ids, default=-1) + 1
    )  # no more: `resize_token_embeddings(len(tokenizer))` is what peft's users write
    base = base_of(model)
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    matrices = [embedding.weight] if head is None or tied(model) else [embedding.weight, head.weight]
    with torch.no_grad():
        for matrix in matrices:
            for row, parts in zip(ids, pieces, strict=True):
                matrix[row] = (matrix[parts] if parts else matrix[: min(ids)]).float().mean(0).to(matrix.dtype)
    base.seektune_new_tokens = tuple(ids)
    return ids


def new_tokens(model: Any) -> tuple[int, ...]:
    """Ids that `add_tokens` made on this model, and those of terms that it came with (models/terms.py)."""
    base = base_of(model)
    kept = getattr(base.config, "seektune_terms", [])
    return tuple(dict.fromkeys([*kept, *getattr(base, "seektune_new_tokens", ())]))


def head_modules(model: Any) -> list[str]:
    """Names of the modules of a classifier that must be trained in full: all outside its backbone, and what is new inside.

    [] for language models.
    """
    base = base_of(model)
    if base.get_output_embeddings() is not None or not _is_classifier(base):
        return []
    backbone = base.base_model_prefix
    outside = [
        name for name, child in base.named_children() if name != backbone and any(True for _ in child.parameters())
    ]
    origin: Any = getattr(base, "seektune_origin", None)
    new = {name.rpartition(".")[0] for name in getattr(origin, "new", ()) if name.startswith(backbone + ".")}
    return outside + sorted(new)


def _is_classifier(base: Any) -> bool:
    return "ForSequenceClassification" in type(base).__name__ or is_tagger(base)


def is_tagger(model: Any) -> bool:
    """Whether it gives class scores of every token, and not of a whole text."""
    return "ForTokenClassification" in type(base_of(model)).__name__


def base_of(model: Any) -> Any:
    """The model without the adapter around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@dataclass(frozen=True)
class Tail:
    """What turns the last hidden states into logits: a linear layer, and a soft cap over its results where there is one."""

    head: torch.nn.Linear
    softcap: float | None


_tails: weakref.WeakKeyDictionary[Any, tuple[Any, Tail | None]] = weakref.WeakKeyDictionary()


def tail_of(model: Any) -> Tail | None:
    """The head of a language model, once it is proved that logits are nothing but its product with what the backbone gives.

    None where they are more (a scale, an adapter in the head): then the model's own forward has to make them.
    """
    base = base_of(model)
    head = _active(base.get_output_embeddings())
    known = _tails.get(base)
    if known is None or known[0] is not head:
        known = (head, _proved(base, head))
        _tails[base] = known
    return known[1]


def _active(head: Any) -> Any:
    """The head that computes: of one that is trained beside an adapter, the copy that PEFT made."""
    copies = getattr(head, "modules_to_save", None)
    return copies[head.active_adapters[0]] if copies and not head.disable_adapters else head


def _proved(base: Any, head: Any) -> Tail | None:
    import torch

    from . import attention, layers

    if type(head) is not torch.nn.Linear:
        return None
    tail = Tail(head, getattr(base.config.get_text_config(), "final_logit_softcapping", None))
    training = [module for module in base.modules() if module.training]
    ids = torch.tensor([[3, 1, 2]], device=head.weight.device)
    base.eval()
    attention.clear()
    try:
        with torch.no_grad(), layers.few(base):
            hidden = getattr(base, base.base_model_prefix)(input_ids=ids)[0]
            found = torch.nn.functional.linear(hidden.to(head.weight.dtype), head.weight, head.bias)
            if tail.softcap is not None:
                found = torch.tanh(found / tail.softcap) * tail.softcap
            expected = base(input_ids=ids).logits
    except (RuntimeError, TypeError, ValueError, AttributeError):
        return None
    finally:
        for module in training:
            module.training = True
    same = torch.allclose(found.float(), expected.float(), rtol=1e-2, atol=1e-3)
    return tail if same and bool(expected.any()) else None  # a head of zeros would hide a scale behind it
