"""The ends of a model: embedding rows for new tokens, and the classifier head that is new to a base."""

from __future__ import annotations

from typing import Any

from ..errors import ModelError, problem
from .quiet import quiet


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
    """Ids that `add_tokens` made on this model."""
    return tuple(getattr(base_of(model), "seektune_new_tokens", ()))


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
    return "ForSequenceClassification" in type(base).__name__


def base_of(model: Any) -> Any:
    """The model without the adapter around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
