"""What every observer promises: it changes no number of the run that it looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import every
import pytest
import torch
from train import harness

from seektune import kinds
from seektune.train.options import Train

SPECS = every.all_variants("observers")
NUMBERS = ("loss", "learning_rate", "grad_norm", "tokens")


def ran(folder: Path, name: str, observers: list[Any]) -> Any:
    options = Train(steps=4, batch_size=8, save_every=2, validate_every=2)
    held_out = harness.documents(5, seed=4)
    trainer = harness.trainer(folder, name=name, options=options, dropout=0.1, valid=held_out, observers=observers)
    trainer.fit()
    return trainer


@pytest.mark.parametrize("spec", SPECS)
def test_changes_no_number(spec: dict[str, Any], tmp_path: Path) -> None:
    without, watched = ran(tmp_path, "without", []), ran(tmp_path, "with", [kinds.build("observers", spec)])
    assert watched.tally.step == 4 or watched._stop, "an observer may stop a run, and then says why"
    pairs = list(zip(without.run.metrics(), watched.run.metrics(), strict=False))
    assert len(pairs) >= 2
    for one, other in pairs:
        assert [one.get(name) for name in NUMBERS] == [other.get(name) for name in NUMBERS]
    if watched.tally.step == 4:
        assert torch.equal(harness.weights(without.model), harness.weights(watched.model))
