"""Warm-up, shared by all schedules: the factor rises linearly from 0 over the first share of the run."""

from __future__ import annotations


def warmed(progress: float, warmup: float) -> tuple[float | None, float]:
    """(factor while warming up or None afterwards, progress of what follows in [0, 1])."""
    if progress < warmup:
        return progress / warmup, 0.0
    return None, (progress - warmup) / (1 - warmup) if warmup < 1 else 1.0
