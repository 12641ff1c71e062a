"""What every objective promises, under each of its options: sums that no cut changes, nothing from what is not learnt."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import every
import pytest
import torch
from loops import LABELS, distance, documents_for, gradient, model_for, with_tail
from train import harness

from seektune import kinds
from seektune.data.pack import cut
from seektune.errors import StoppedError
from seektune.train import checkpoint
from seektune.train.options import Train
from seektune.tuners.lora import LoRA

SPECS = every.all_variants("objective")


def built(spec: dict[str, Any]) -> Any:
    return kinds.build("objective", spec)


@pytest.mark.parametrize("spec", SPECS)
def test_the_loss_is_a_finite_sum_and_the_gradient_is_not_zero(spec: dict[str, Any]) -> None:
    objective = built(spec)
    model = model_for(objective)
    (batch,) = cut(documents_for(objective), unit=objective.unit)
    loss = objective.loss(model, batch)
    assert loss.total.shape == ()
    assert loss.total.requires_grad
    assert isinstance(loss.weight, float)
    assert loss.weight > 0
    assert math.isfinite(float(loss.total.detach()))
    assert all(count > 0 for _, count in loss.metrics.values())
    _, grads = gradient(objective, model, [batch])
    assert torch.isfinite(grads).all()
    assert float(grads.norm()) > 1e-3


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    ("rows", "records", "tokens"),
    [("packed", 1, None), ("packed", None, 60), ("padded", 5, None), ("equal", None, 100)],
)
def test_how_a_batch_is_cut_changes_no_gradient(
    spec: dict[str, Any], rows: Any, records: int | None, tokens: int | None
) -> None:
    objective = built(spec)
    model, documents = model_for(objective), documents_for(objective)
    loss, whole = gradient(objective, model, cut(documents, unit=objective.unit))
    batches = cut(documents, unit=objective.unit, records=records, tokens=tokens, rows=rows)
    assert len(batches) > 1
    again, parts = gradient(objective, model, batches)
    assert again == pytest.approx(loss, rel=1e-5)
    assert distance(parts, whole) < 1e-5


@pytest.mark.parametrize("spec", SPECS)
def test_padding_gets_no_gradient(spec: dict[str, Any]) -> None:
    objective = built(spec)
    model, documents = model_for(objective), documents_for(objective)
    one, other = (gradient(objective, model, cut(documents, rows="padded", pad_id=pad)) for pad in (0, 7))
    assert one[0] == other[0]
    assert torch.equal(one[1], other[1])


@pytest.mark.parametrize("spec", [p for p in SPECS if built(p.values[0]).head == "lm"])
def test_what_is_not_learnt_gets_no_gradient(spec: dict[str, Any]) -> None:
    """Tokens behind the last learnt one change nothing, whatever they are; a learnt one there would."""
    objective = built(spec)
    model, documents = model_for(objective), documents_for(objective)
    loss, whole = gradient(objective, model, cut(documents, unit=objective.unit))
    for value in (11, 250):
        longer = with_tail(documents, value)
        again, found = gradient(objective, model, cut(longer, unit=objective.unit))
        assert again == pytest.approx(loss, rel=1e-5)
        assert distance(found, whole) < 1e-5
    longer[0].weights[-1] = 1.0
    assert distance(gradient(objective, model, cut(longer, unit=objective.unit))[1], whole) > 1e-3


@pytest.mark.parametrize("spec", SPECS)
def test_a_document_without_weight_is_as_if_it_were_not_there(spec: dict[str, Any]) -> None:
    objective = built(spec)
    if objective.head != "lm":
        pytest.skip("a classifier's documents have one weight each")
    model, documents = model_for(objective), documents_for(objective)
    loss, whole = gradient(objective, model, cut(documents, unit=objective.unit))
    silent = documents_for(objective, 3, seed=9)
    for document in silent:
        document.weights[:] = 0
    again, found = gradient(objective, model, cut([*documents, *silent], unit=objective.unit))
    assert again == pytest.approx(loss, rel=1e-5)
    assert distance(found, whole) < 1e-5


@pytest.mark.parametrize("spec", SPECS)
def test_works_under_lora(spec: dict[str, Any]) -> None:
    """Only what LoRA added learns, and its gradient is cut alike."""
    objective = built(spec)
    torch.manual_seed(0)
    model = LoRA(rank=2).apply(model_for(objective))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    documents = documents_for(objective)
    _, whole = gradient(objective, model, cut(documents, unit=objective.unit))
    _, parts = gradient(objective, model, cut(documents, unit=objective.unit, records=2))
    assert distance(parts, whole) < 1e-5
    learnt = {n for n, p in model.named_parameters() if p.grad is not None and float(p.grad.abs().max()) > 0}
    assert any("lora_A" in name for name in learnt)
    assert any("lora_B" in name for name in learnt)
    assert all("lora_" in name or "score" in name for name in learnt)


class StopAfterTwo:
    def observe(self, event: Any) -> str | None:
        return "signal SIGINT" if event.name == "step" and event.step == 2 else None


@pytest.mark.parametrize("spec", SPECS)
def test_resumes_to_the_same_bits(spec: dict[str, Any], tmp_path: Path) -> None:
    def trainer(name: str, **more: Any) -> Any:
        objective = built(spec)
        options = Train(steps=4, batch_size=5, save_every=100, microbatch=2)
        return harness.trainer(
            tmp_path, name=name, options=options, model=model_for(objective, dropout=0.1), objective=objective,
            documents=documents_for(objective), **more,
        )  # fmt: skip

    whole = trainer("whole")
    whole.fit()
    first = trainer("parts", observers=[StopAfterTwo()])
    with pytest.raises(StoppedError):
        first.fit()
    assert not torch.equal(harness.weights(first.model), harness.weights(whole.model))
    second = trainer("parts")
    torch.manual_seed(999)
    second.resume(checkpoint.latest(second.run.checkpoints_folder))
    second.fit()
    assert torch.equal(harness.weights(second.model), harness.weights(whole.model))


def test_the_labels_of_these_tests_cover_the_probes() -> None:
    """The class that `class_weights` names in its probe exists here, so that its variant is a test of it."""
    weighted = built({"kind": "classify", "class_weights": {"good": 3.0}})
    assert set(weighted.class_weights) <= set(LABELS)
    model, plain = model_for(weighted), built({"kind": "classify"})
    documents = documents_for(weighted)
    assert distance(gradient(weighted, model, cut(documents))[1], gradient(plain, model, cut(documents))[1]) > 1e-2
