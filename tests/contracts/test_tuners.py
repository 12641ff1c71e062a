"""What every tuner promises, under each of its options: it trains what it says, and what it saves is what it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import every
import pytest
import torch
import zoo

from seektune import kinds
from seektune.models.load import Model, open_model

ARCHITECTURES = ["qwen2", "deepseek_v3"]  # tied embeddings and grouped heads; latent attention and stacked experts
SPECS = every.all_variants("tuner")
HALF = 0.5


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.tiny_folder(tmp_path_factory.mktemp("base") / request.param, request.param)


def tuned(spec: dict[str, Any], folder: Path) -> tuple[Any, torch.nn.Module]:
    """A tuner and an open model that it has been applied to."""
    tuner = kinds.build("tuner", fitting(spec, folder))
    torch.manual_seed(0)
    return tuner, tuner.apply(open_model(Model(str(folder)), dtype="float32"))


def fitting(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Options of a probe that this architecture cannot have, replaced by the nearest that it can."""
    if folder.name != "deepseek_v3":
        return spec
    if spec.get("target_modules") == ["q_proj", "v_proj"]:
        return spec | {"target_modules": ["q_b_proj", "kv_b_proj"]}
    return spec | {"target_modules": ["q_b_proj", "o_proj"]} if spec.get("dropout") else spec


def train(model: torch.nn.Module, steps: int = 2) -> None:
    """Some steps that move everything that learns."""
    learnt = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=0.02)
    for step in range(steps):
        optimizer.zero_grad()
        ids = zoo.ids(2, 24, seed=step)
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    model.eval()


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(input_ids=zoo.ids(2, 24, seed=99)).logits


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("spec", SPECS)
def test_something_learns_and_the_rest_stays(spec: dict[str, Any], folder: Path) -> None:
    tuner, model = tuned(spec, folder)
    for progress in (0.0, HALF, 1.0):
        tuner.advance(model, progress)
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learns
    before = state(model)
    train(model)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed <= learns
    assert len(changed) > HALF * len(learns)  # experts may be chosen by no token


@pytest.mark.parametrize("spec", SPECS)
def test_saved_and_opened_again_is_the_same_model(spec: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    tuner, model = tuned(spec, folder)
    start = logits(model.eval())
    train(model)
    wanted = logits(model)
    assert float((wanted - start).abs().max()) > 1e-2
    tuner.save(model, tmp_path)
    assert torch.equal(logits(model), wanted), "saving changed the model"
    again = open_model(Model(str(tmp_path)), dtype="float32")
    assert torch.equal(logits(again), wanted)


@pytest.mark.parametrize("spec", SPECS)
def test_merged_and_saved_is_an_ordinary_folder(spec: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    """Opened by plain transformers, with the parameters of the base and the logits of the tuned model."""
    from transformers import AutoModelForCausalLM

    tuner, model = tuned(spec, folder)
    train(model)
    wanted = logits(model)
    merged = tuner.merge(model)
    names = {name for name, _ in open_model(Model(str(folder))).named_parameters()}
    assert {name for name, _ in merged.named_parameters()} == names
    tuner.save(merged, tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(plain), logits(merged))
    assert float((logits(plain) - wanted).abs().max() / wanted.abs().max()) < 1e-4


@pytest.mark.parametrize("spec", SPECS)
def test_applied_twice_from_one_seed_is_one_start(spec: dict[str, Any], folder: Path) -> None:
    one, two = (state(tuned(spec, folder)[1]) for _ in range(2))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
