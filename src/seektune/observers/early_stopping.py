"""Stops a run whose validation loss no longer falls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..contracts import Event, Probe, at_least, option


@dataclass
class EarlyStopping:
    """Asks for a stop after `patience` validations in a row without a new best loss (Prechelt 1998)."""

    needs_validation: ClassVar[bool] = True

    patience: int = option(
        3,
        "validations without a better loss before the run stops",
        probe=Probe(1, "stop", scenario="overfit"),
        check=at_least(1),
    )
    min_delta: float = option(
        0.0,
        "by how much the loss must fall to count as better",
        probe=Probe(10.0, "stop", scenario="overfit"),
        check=at_least(0),
    )

    def observe(self, event: Event) -> str | None:
        """Looks at all validations of the run, so that a resumed run decides as an uninterrupted one."""
        if event.name != "validation":
            return None
        losses = [float(row["loss"]) for row in event.context.run.metrics("valid") if row["loss"] is not None]
        before, lately = losses[: -self.patience], losses[-self.patience :]
        if before and min(lately) >= min(before) - self.min_delta:
            return f"early stopping: {self.patience} validations without a better loss than {min(before):.4f}"
        return None
