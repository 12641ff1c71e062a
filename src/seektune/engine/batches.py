"""Which requests run together: neighbours of like length, as many as the token budget of a batch holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Request:
    """One prompt on its way to an answer."""

    index: int  # its place among the prompts
    ids: list[int]  # the prompt
    limit: int  # at most so many new tokens
    draws: np.random.Generator
    answer: list[int] = field(default_factory=list)  # without the closing token
    log_probs: list[float] = field(default_factory=list)  # of each answer token and of the closing one
    stopped: bool = False

    @property
    def done(self) -> bool:
        return self.stopped or len(self.answer) >= self.limit


def batches(requests: Sequence[Request], tokens: int, padding: bool) -> list[list[Request]]:
    """Longest first, so that what does not fit into memory fails at once. Without `padding` only equal lengths share
    a batch. A batch holds rows × (longest prompt + longest answer) ≤ `tokens`, or a single request."""
    ordered = sorted(requests, key=lambda r: (-len(r.ids), r.index))
    found: list[list[Request]] = []
    for request in ordered:
        last = found[-1] if found else None
        if last is None or not _fits(last, request, tokens, padding):
            found.append([request])
        else:
            last.append(request)
    return found


def _fits(batch: list[Request], request: Request, tokens: int, padding: bool) -> bool:
    if not padding and len(batch[0].ids) != len(request.ids):
        return False
    width = len(batch[0].ids) + max(request.limit, *(r.limit for r in batch))
    return (len(batch) + 1) * width <= tokens
