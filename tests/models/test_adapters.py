"""Adapters and their bases: the right one, the wrong ones, and folders that others have written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import zoo

from seektune.errors import ModelError
from seektune.models import adapters
from seektune.models.load import Model, open_model, open_tokenizer
from seektune.tuners.lora import LoRA


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return zoo.tiny_folder(tmp_path / "base", "llama")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    tuner = LoRA(rank=2)
    adapted = tuner.apply(open_model(Model(str(base))))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.1)
    tuner.save(adapted, tmp_path / "adapter")
    return tmp_path / "adapter"


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=zoo.ids()).logits


def problem_of(model: Model) -> str:
    with pytest.raises(ModelError) as caught:
        open_model(model)
    (line,) = caught.value.problems
    return line


def test_opens_on_its_base(base: Path, adapter: Path) -> None:
    model = open_model(Model(str(adapter)))
    assert adapters.attached(model)
    assert not adapters.attached(open_model(Model(str(base))))
    assert (logits(model) - logits(open_model(Model(str(base))))).abs().max() > 0.1
    assert not any(p.requires_grad for p in model.parameters())
    assert len(open_tokenizer(adapter)) == zoo.VOCAB - 16  # the base's
    assert adapters.base_of(adapter) == (str(base), "main")


def test_a_base_that_moved_is_recognised(base: Path, adapter: Path, tmp_path: Path) -> None:
    before = logits(open_model(Model(str(adapter))))
    shutil.move(base, tmp_path / "elsewhere")
    assert problem_of(Model(str(adapter))) == f"model.path {base}: no such folder; known: adapter, elsewhere"
    moved = open_model(Model(str(tmp_path / "elsewhere"), continue_=str(adapter)))
    assert torch.equal(logits(moved), before)


def test_another_base_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    """The same shapes and other weights; another architecture; another size."""
    noted = json.loads((adapter / "base.json").read_text())["fingerprint"][:8]
    other = zoo.tiny_folder(tmp_path / "other", "llama", seed=1)
    line = problem_of(Model(str(other), continue_=str(adapter)))
    assert line.startswith(f"adapter {adapter}: trained on {base} (weights {noted}), but {other} holds other weights (")
    assert line.endswith("; expected the base that it was trained on")
    (adapter / "base.json").unlink()  # as peft alone writes it
    wide = zoo.tiny_folder(tmp_path / "wide", "llama", intermediate_size=64)
    line = problem_of(Model(str(wide), continue_=str(adapter)))
    assert line.startswith(f"adapter {adapter}: does not fit {wide} (size mismatch for ")
    bert = zoo.tiny_folder(tmp_path / "gpt", "qwen3_5")
    assert problem_of(Model(str(bert), continue_=str(adapter))).startswith(f"adapter {adapter}: does not fit {bert} (")


def test_tensors_that_are_missing_are_told(base: Path, adapter: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(adapter / "adapter_model.safetensors")
    dropped = next(name for name in state if "lora_B" in name)
    save_file({k: v for k, v in state.items() if k != dropped}, adapter / "adapter_model.safetensors")
    assert "does not fit" in problem_of(Model(str(adapter)))
    (adapter / "adapter_model.safetensors").write_bytes(b"\xff" * 64)
    assert "corrupt safetensors file" in problem_of(Model(str(adapter)))
    (adapter / "adapter_model.safetensors").unlink()
    assert problem_of(Model(str(adapter))) == f"{adapter}: no adapter weights; expected adapter_model.safetensors"


def test_other_versions_and_empty_bases(adapter: Path) -> None:
    noted = json.loads((adapter / "base.json").read_text())
    (adapter / "base.json").write_text(json.dumps(noted | {"format": 99}))
    expected = "format 99; expected 1; it was written by another version of seektune"
    assert problem_of(Model(str(adapter))) == f"{adapter / 'base.json'}: {expected}"
    (adapter / "base.json").unlink()
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    assert "base_model_name_or_path is empty" in problem_of(Model(str(adapter)))


def test_classifier_adapter_knows_its_classes(base: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tuner = LoRA(rank=2)
    model = open_model(Model(str(base)), head="classifier", labels=["up", "down", "flat"], several=True)
    adapted = tuner.apply(model)
    tuner.save(adapted, tmp_path / "c")
    assert adapters.labels_of(tmp_path / "c") == (["up", "down", "flat"], True)
    torch.manual_seed(1)
    again = open_model(Model(str(tmp_path / "c")), head="classifier")
    assert again.config.id2label == {0: "up", 1: "down", 2: "flat"}
    assert again.config.problem_type == "multi_label_classification"
    assert torch.equal(logits(again), logits(adapted.eval()))
