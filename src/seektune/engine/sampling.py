"""How the next token is picked: the likeliest, or a draw. A draw comes from the request's own generator, so that an
answer does not depend on which other requests share its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, problem

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn. `temperature` 0 takes the likeliest token and ignores nothing else: no draw is made."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0  # the smallest set of tokens that holds this much probability
    top_k: int = 0  # the k likeliest tokens; 0: all
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [
            problem(name, f"found {getattr(self, name)!r}", expected)
            for name, right, expected in (
                ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
                ("temperature", self.temperature >= 0, "at least 0"),
                ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
                ("top_k", self.top_k >= 0, "at least 0"),
                ("seed", self.seed >= 0, "at least 0"),
            )
            if not right
        ]
        if wrong:
            raise InputError(wrong)

    def generator(self, index: int) -> np.random.Generator:
        """The random numbers of the request at place `index` among its prompts."""
        return np.random.default_rng([self.seed, index])


def choose(logits: torch.Tensor, sampling: Sampling, draws: Sequence[float]) -> torch.Tensor:
    """Token ids (rows,) for logits (rows, vocabulary); `draws` holds one number in [0, 1) a row, unread when greedy."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    if logits.device.type == "mps":  # it has no float64
        return choose(logits.cpu(), sampling, draws).to(logits.device)
    probabilities = (logits.double() / sampling.temperature).softmax(-1)
    if sampling.top_k == 0 and sampling.top_p == 1:
        return _invert(probabilities, draws)
    count = min(sampling.top_k or logits.shape[-1], logits.shape[-1])
    ordered, order = probabilities.topk(count, sorted=True)
    before = ordered.cumsum(-1) - ordered
    ordered = ordered.masked_fill(before >= sampling.top_p * ordered.sum(-1, keepdim=True), 0.0)
    return order.gather(-1, _invert(ordered, draws)[:, None])[:, 0]


def _invert(weights: torch.Tensor, draws: Sequence[float]) -> torch.Tensor:
    """Index (rows,) at which the running sum of each row passes draw × total. Never one of weight 0."""
    import torch

    sums = weights.cumsum(-1)
    targets = torch.tensor(draws, dtype=sums.dtype, device=sums.device)[:, None] * sums[:, -1:]
    last = (weights > 0).long().mul(torch.arange(weights.shape[-1], device=weights.device)).amax(-1)
    return torch.minimum(torch.searchsorted(sums, targets, right=True)[:, 0], last)
