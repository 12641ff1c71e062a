from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
import zoo

from seektune.models.load import Model, open_model
from seektune.tuners.full import Full


def trainable(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "deepseek_v3", "bert"])
def test_everything_learns(architecture: str) -> None:
    model = zoo.tiny(architecture).requires_grad_(False)
    assert trainable(Full().apply(model)) == sum(p.numel() for p in model.parameters())


def test_all_but_embeddings() -> None:
    rows = zoo.VOCAB * 32
    for architecture in ("llama", "qwen2"):  # an own head that still learns; a tied one that does not
        model = zoo.tiny(architecture)
        everything = sum(p.numel() for p in model.parameters())
        assert trainable(Full(embeddings=False).apply(model)) == everything - rows
    bert = zoo.tiny("bert")
    everything = sum(p.numel() for p in bert.parameters())
    assert trainable(Full(embeddings=False).apply(bert)) == everything - (zoo.VOCAB + 512 + 2) * 32 - 2 * 32


def test_an_attached_adapter_becomes_part_of_the_model() -> None:
    from seektune.tuners.lora import LoRA

    model = LoRA(rank=2).apply(zoo.tiny("llama"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
        before = model(input_ids=zoo.ids()).logits
        whole = Full().apply(model)
        assert (whole(input_ids=zoo.ids()).logits - before).abs().max() < 1e-4
    assert trainable(whole) == sum(p.numel() for p in zoo.tiny("llama").parameters())


@pytest.mark.parametrize(
    ("stored", "recipe", "saved"),
    [("bfloat16", "auto", "bfloat16"), ("float32", "bfloat16", "bfloat16"), ("float32", "auto", "float32")],
)
def test_saved_in_the_type_of_base_or_recipe(
    tmp_path: Path, stored: str, recipe: Literal["auto", "bfloat16"], saved: str
) -> None:
    """However training holds the weights, and without touching them."""
    from transformers import AutoModelForCausalLM

    zoo.tiny("llama").to(getattr(torch, stored)).save_pretrained(tmp_path / "base")
    model = open_model(Model(str(tmp_path / "base"), dtype=recipe), dtype=torch.float32)
    wanted = {name: p.detach().to(getattr(torch, saved)) for name, p in model.named_parameters()}
    tuner = Full()
    tuner.save(tuner.merge(tuner.apply(model)), tmp_path / "out")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    for name, parameter in again.named_parameters():
        assert parameter.dtype == getattr(torch, saved)
        assert torch.equal(parameter, wanted[name])
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "config.json",
        "model.safetensors",
        "generation_config.json",
    }
