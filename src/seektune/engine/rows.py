"""One running batch: prompts padded on the left, the model's own cache, one token a row and step, finished rows leave.

Whether padding and leaving change nothing is tried out on the model itself (`batchable`) instead of being looked up by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ..errors import RunFailedError
from ..models import attention
from .batches import Request
from .sampling import Sampling, choose


class Rows:
    """The state of a batch between steps: which ids come next, what is padding, and the cache."""

    def __init__(self, model: torch.nn.Module, prompts: Sequence[Sequence[int]], pad_id: int):
        device = next(model.parameters()).device
        width = max(map(len, prompts))
        self.model = model
        self.ids = torch.full((len(prompts), width), pad_id, dtype=torch.long, device=device)
        self.mask = torch.zeros((len(prompts), width), dtype=torch.long, device=device)
        for row, prompt in enumerate(prompts):
            self.ids[row, width - len(prompt) :] = torch.tensor(prompt, dtype=torch.long)
            self.mask[row, width - len(prompt) :] = 1
        self.padded = any(len(prompt) < width for prompt in prompts)
        self.cache: Any = None
        self.takes = _parameters(model)

    @torch.no_grad()
    def logits(self) -> torch.Tensor:
        """Runs the ids that are due; the logits (rows, vocabulary) of what follows, float32."""
        attention.clear()
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)[:, -self.ids.shape[1] :]
        more: dict[str, Any] = {"attention_mask": self.mask if self.padded else None, "past_key_values": self.cache}
        if "position_ids" in self.takes:
            more["position_ids"] = positions
        if "logits_to_keep" in self.takes:
            more["logits_to_keep"] = 1
        out = self.model(input_ids=self.ids, use_cache=True, **more)
        self.cache = out.past_key_values
        return out.logits[:, -1].float()

    def push(self, tokens: torch.Tensor) -> None:
        """Takes the tokens (rows,) that were picked as the ids of the next step."""
        self.ids = tokens[:, None]
        self.mask = torch.cat([self.mask, torch.ones_like(self.ids)], -1)

    def keep(self, rows: Sequence[int]) -> None:
        """Lets all other rows leave."""
        index = torch.tensor(rows, dtype=torch.long, device=self.ids.device)
        self.ids, self.mask = self.ids[index], self.mask[index]
        self.cache.reorder_cache(index)


def _parameters(model: Any) -> frozenset[str]:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(inspect.signature(base.forward).parameters)


def decode(
    model: torch.nn.Module,
    requests: list[Request],
    sampling: Sampling,
    end_ids: frozenset[int],
    pad_id: int,
    leave: bool,
) -> Iterator[tuple[Request, int]]:
    """Runs the batch to its end; yields (request, token) for each token that joins an answer. `leave`: see `batchable`."""
    rows, live = Rows(model, [r.ids for r in requests], pad_id), list(requests)
    while live:
        logits = rows.logits()
        tokens = choose(logits, sampling, [r.draws.random() for r in live] if sampling.temperature else ())
        totals = logits.logsumexp(-1)
        if not totals.isfinite().all():
            raise RunFailedError(
                "the model's logits are not finite: its weights are broken, or its dtype is too narrow"
            )
        log_probs = (logits.gather(-1, tokens[:, None])[:, 0] - totals).tolist()
        for request, token, log_prob in zip(live, tokens.tolist(), log_probs, strict=True):
            if request.done:
                continue
            request.log_probs.append(log_prob)
            request.stopped = token in end_ids
            if not request.stopped:
                request.answer.append(token)
                yield request, token
        going = [i for i, r in enumerate(live) if not r.done]
        if not going:
            return
        rows.push(tokens)
        if leave and len(going) < len(live):
            rows.keep(going)
            live = [live[i] for i in going]


def batchable(model: torch.nn.Module, vocabulary: int, limit: int, pad_id: int) -> bool:
    """Whether a prompt padded on the left, beside one that leaves, gets the logits that it gets alone."""
    long, short = min(160, limit - 2), min(50, limit - 2)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (long + short + 1,), generator=generator).tolist()
    together, alone = Rows(model, [ids[:long], ids[long:-1]], pad_id), Rows(model, [ids[long:-1]], pad_id)
    bar = 1e-3 if next(model.parameters()).dtype == torch.float32 else 0.1
    if not _gap(together.logits()[1:], alone.logits()) < bar:
        return False
    next_ids = torch.tensor(ids[-1:] * 2, device=together.ids.device)
    together.push(next_ids)
    alone.push(next_ids[:1])
    expected = alone.logits()
    try:
        together.keep([1])
        found = together.logits()  # fails where a cache let the row leave some of its parts only
    except (AttributeError, RuntimeError, IndexError):
        return False
    return _gap(found, expected) < bar


def _gap(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, as a share of how far the logits spread."""
    spread = (expected - expected.mean()).abs().max().clamp(min=1e-9)
    return float((found - expected).abs().max() / spread)
