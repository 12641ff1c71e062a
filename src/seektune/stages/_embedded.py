"""Texts as vectors of a frozen model: any Hugging Face encoder or decoder, or a run's result."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ModelError, problem

CHUNK = 512  # texts that are sorted by length together, so that padding stays small
TOKENS = 8192  # of a batch, padding included
LONGEST = 512  # tokens of a text
LENGTH = 4.0  # of a vector, on average


class Embedded:
    """The mean of the last hidden states over the tokens of a text, scaled to unit variance over what it is fitted on."""

    def __init__(self, path: str):
        self._path = path
        self._opened: Any = None

    def fit(self, texts: list[str]) -> Any:
        rows = self._vectors(texts)
        self._mean, self._scale = rows.mean(0), rows.std(0) + 1e-6
        return self._scaled(rows)

    def rows(self, texts: list[str]) -> Any:
        return self._scaled(self._vectors(texts))

    def _scaled(self, rows: np.ndarray) -> np.ndarray:
        """Divided by the root of the width, too: so the penalty of the classifier does not depend on the model."""
        return np.asarray((rows - self._mean) / self._scale / rows.shape[1] ** 0.5 * LENGTH, np.float32)

    def _vectors(self, texts: list[str]) -> np.ndarray:
        parts = [self._chunk(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)]
        return np.concatenate(parts)

    def _chunk(self, texts: list[str]) -> np.ndarray:
        model, renderer, limit = self._model()
        ids = [renderer.classifier_ids(text, None, limit)[0] or [renderer.pad_id] for text in texts]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        made: list[Any] = [None] * len(ids)
        while order:
            rows = max(1, TOKENS // len(ids[order[-1]]))
            batch, order = order[-rows:], order[:-rows]
            for i, vector in zip(batch, _means(model, [ids[i] for i in batch], renderer.pad_id), strict=True):
                made[i] = vector
        return np.stack(made)

    def _model(self) -> Any:
        if self._opened is None:
            self._opened = _open(self._path)
        return self._opened


def _open(path: str) -> Any:
    """(model without head, renderer, tokens that it takes)."""
    from .. import runtime
    from ..data.chat import Renderer
    from ..engine.opening import folder_of, head_of
    from ..models import adapters, load

    folder = folder_of(path)
    labels = (
        None if head_of(folder) == "classifier" else ["a", "b"]
    )  # a head that is not used: every architecture has one
    model: Any = load.open_model(
        load.Model(path=str(folder)), head="classifier", labels=labels, device=runtime.resolve_device("auto", "model")
    )
    origin = load.folder_of(load.base_of(folder)) if adapters.is_adapter(folder) else folder
    own = (folder / "tokenizer.json").is_file()
    renderer = Renderer.from_folder(folder if own else origin, "auto")
    config = model.config.get_text_config()
    limit = (
        int(getattr(config, "max_position_embeddings", None) or LONGEST) - 2
    )  # RoBERTa counts from behind its padding
    if limit < 1:
        raise ModelError(problem(path, f"takes {limit + 2} tokens", "a model of texts"))
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    return getattr(bare, bare.base_model_prefix), renderer, min(limit, LONGEST)


def _means(model: Any, ids: list[list[int]], pad: int) -> Any:
    """(rows, width) float32."""
    import torch

    device = next(model.parameters()).device
    longest = max(map(len, ids))
    rows = torch.tensor([row + [pad] * (longest - len(row)) for row in ids], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=device)
    with torch.no_grad():
        hidden = model(input_ids=rows, attention_mask=mask).last_hidden_state.float()
    weights = mask[:, :, None].float()
    return ((hidden * weights).sum(1) / weights.sum(1)).cpu().numpy()
