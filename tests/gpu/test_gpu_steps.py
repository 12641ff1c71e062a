"""Whole steps on a GPU: every architecture, streamed layers, recomputing and offloading, out of memory, resume."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from zoo import ARCHITECTURES, ENCODERS, tiny, tiny_folder

from seektune.contracts import Document
from seektune.data import pack
from seektune.models import forward, fuse, isolation, load, recompute, streaming
from seektune.models.offload import Shelf
from seektune.objectives.sft import SFT
from seektune.run import Run
from seektune.train.options import Train
from seektune.train.precision import Precision, prepare_dtypes
from seektune.train.trainer import Layout
from seektune.tuners.lora import LoRA

LENGTHS = (5, 23, 11, 23, 31, 2, 40)
LEAKING = {"qwen3_5", "deepseek_v32", "deepseek_v4"}
DECODERS = [name for name in ARCHITECTURES if name not in ENCODERS and name not in LEAKING]


def documents(vocabulary: int, seed: int = 0) -> list[Document]:
    random = np.random.default_rng(seed)
    found = []
    for i, length in enumerate(LENGTHS):
        weights = (random.random(length) < 0.4).astype(np.float32)
        weights[0], weights[-1] = 0, 1
        found.append(Document(random.integers(10, vocabulary, length).astype(np.int32), weights, i))
    return found


def gradients(model: Any, losses: torch.Tensor, weights: torch.Tensor) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    total = (losses * weights).sum()
    total.backward()
    return float(total), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize("architecture", DECODERS)
def test_packed_rows_equal_each_document_alone(architecture: str) -> None:
    model = tiny(architecture).cuda()
    isolation.isolate(model)
    fuse.fuse(model)
    model.train()
    made = documents(model.config.get_text_config().vocab_size)
    reference = gradients(model, *forward.reference_losses(model, pack.collate(made, device="cuda")))
    found = gradients(model, *forward.token_losses(model, pack.collate(made, packed=True, device="cuda")))
    assert found[0] == pytest.approx(reference[0], rel=1e-5)
    assert difference(found[1], reference[1]) < 2e-5


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3_moe", "deepseek_v3"])
def test_bfloat16_is_within_the_spread_of_the_plain_way(architecture: str) -> None:
    """Of the distance from float32 that each document alone, on the model's own pieces, has by itself."""
    found = {}
    for how in ("exact", "plain", "ours"):
        torch.manual_seed(0)
        model = tiny(architecture).cuda()
        made = documents(model.config.get_text_config().vocab_size)
        isolation.isolate(model)
        prepare_dtypes(model, "float32")
        batch = pack.collate(made, device="cuda")
        if how == "ours":
            fuse.fuse(model)
        with Precision("float32" if how == "exact" else "bfloat16", "cuda").autocast():
            way = forward.token_losses if how == "ours" else forward.reference_losses
            found[how] = gradients(model, *way(model, batch))
    plain, ours = (difference(found[how][1], found["exact"][1]) for how in ("plain", "ours"))
    assert ours < 1.5 * plain + 1e-3
    assert found["ours"][0] == pytest.approx(found["exact"][0], rel=2e-2)


@pytest.mark.parametrize("offload", [False, True])
def test_recomputed_layers_give_the_same_gradient(offload: bool, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("seektune.models.offload.SMALLEST", 0)
    model = tiny("llama", num_hidden_layers=4).cuda()
    isolation.isolate(model)
    fuse.fuse(model)
    model.train()
    batch = pack.collate(documents(model.config.vocab_size), device="cuda")
    reference = gradients(model, *forward.token_losses(model, batch))
    assert recompute.recompute(model, 3, Shelf(tmp_path).keeping if offload else nullcontext) == 3
    found = gradients(model, *forward.token_losses(model, batch))
    assert found[0] == pytest.approx(reference[0], rel=1e-6)
    assert difference(found[1], reference[1]) < 1e-6


def test_streamed_layers_train_to_the_same_numbers(tmp_path) -> None:
    folder = tiny_folder(tmp_path, "llama", num_hidden_layers=5)
    losses = {}
    for stream in (False, True):
        torch.manual_seed(3)
        model: Any = load.open_model(load.Model(str(folder)), device=torch.device("cuda"), stream=stream)
        model = LoRA(rank=2, target_modules=["q_proj", "v_proj"]).apply(model)
        prepare_dtypes(model, "float32")
        isolation.isolate(model)
        model.train()
        if stream:
            streaming.cut_by(model, SimpleNamespace(rows="packed", records=None, tokens=40), 1)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        losses[stream] = []
        for step in range(3):
            total = 0.0
            made = documents(model.config.vocab_size, step)
            for micro in pack.cut(made, tokens=None if stream else 40, device="cuda"):
                loss = SFT().loss(model, micro).total
                loss.backward()
                total += float(loss)
            optimizer.step()
            optimizer.zero_grad()
            losses[stream].append(total)
    assert losses[True] == pytest.approx(losses[False], rel=1e-5)


def trainer_on_gpu(folder, **more: Any) -> Any:
    """As tests/train make one, of a model wide enough that its activations count."""
    from train.harness import trainer

    model = tiny("llama", hidden_size=512, intermediate_size=2048, num_hidden_layers=4).cuda()
    made = trainer(folder, model=model, **more)
    made.device, made.precision = torch.device("cuda"), Precision("float32", "cuda")
    return made


def test_out_of_memory_goes_on_with_half_the_micro_batch(tmp_path) -> None:
    made = [
        Document(np.arange(10, 310, dtype=np.int32), np.r_[0, np.ones(299)].astype(np.float32), i) for i in range(32)
    ]
    options = Train(steps=2, batch_size=32, save_every=2)
    layout = Layout("packed", tokens=1 << 20)
    expected = trainer_on_gpu(tmp_path, name="whole", documents=made, options=options, layout=layout)
    expected.fit()
    torch.cuda.synchronize()
    least, most = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
    del expected
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(
        (least + 0.6 * (most - least)) / torch.cuda.get_device_properties(0).total_memory
    )
    try:
        halved = trainer_on_gpu(tmp_path, name="halved", documents=made, options=options, layout=layout)
        halved.fit()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert [event["microbatch"] for event in halved.run.events("out_of_memory")][:1] == [16]
    whole = Run.open(tmp_path / "whole").metrics("train")
    for one, other in zip(halved.run.metrics("train"), whole, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)


class StopAt:
    def __init__(self, step: int):
        self.step = step

    def observe(self, event: Any) -> str | None:
        return "enough" if event.name == "step" and event.step == self.step else None


def test_resume_goes_on_with_the_same_numbers(tmp_path) -> None:
    from seektune.train import checkpoint

    whole = trainer_on_gpu(tmp_path, name="whole")
    whole.fit()
    first = trainer_on_gpu(tmp_path, name="two", observers=[StopAt(4)])
    first.fit()
    second = trainer_on_gpu(tmp_path, name="two")
    second.resume(checkpoint.latest(tmp_path / "two" / "checkpoints"))
    second.fit()
    losses = [[line["loss"] for line in one.run.metrics("train")] for one in (whole, second)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
