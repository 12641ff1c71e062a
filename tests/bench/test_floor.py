"""The floor counts what torch itself counts when a model is run the plain way, less what a step can do without."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import _floor
import _peers
import step
from _shapes import SHAPES, tuned_model

from seektune.models import cost

SMALL = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 96,
    "vocab_size": 160,
    "moe_intermediate_size": 32,
}
LENGTH = 24


def small(name):
    config = {key: SMALL.get(key, value) for key, value in SHAPES[name].config.items()}
    if (kv := config.get("num_key_value_heads")) is not None:
        config["num_key_value_heads"] = 4 if kv == config["num_attention_heads"] else 2
    config["num_attention_heads"] = 4
    return dataclasses.replace(SHAPES[name], config=config)


def counted(shape):
    """(FLOPs of one document alone, forward and backward, full logits; the model)."""
    model = tuned_model(shape, "float32")
    model.set_attn_implementation("eager")
    ids = torch.arange(10, 10 + LENGTH)[None]
    with FlopCounterMode(display=False) as counter:
        logits = model(input_ids=ids).logits
        logits.float().square().sum().backward()
    return counter.get_total_flops(), model


@pytest.mark.parametrize("name", ["tiny", "llama-15m", "qwen2-0.5b", "qwen2-7b", "bert-base"])
def test_the_floor_is_torchs_own_count_less_what_no_loss_asks_for(name):
    shape = small(name)
    total, model = counted(shape)
    work = cost.work_of(model)
    if shape.task == "classify":
        found = _floor.floor_of(shape, [LENGTH], 0)
        total -= 6 * 64 * (64 + shape.labels)  # pooler and head, once a document
        hidden = 0.0
    else:
        found = _floor.floor_of(shape, [LENGTH], LENGTH)
        hidden = 3 * work.pair * (LENGTH * (LENGTH - 1) / 2)  # pairs under the causal mask
    # transformers 5.17 makes rotary angles by a product, a few hundred operations
    assert found.frozen + found.other + hidden == pytest.approx(total, rel=1e-4)
    assert (found.frozen > 0) == bool(shape.rank)


def test_of_experts_the_chosen_ones_count():
    shape = small("deepseek-tiny")
    full = _floor.floor_of(shape, [LENGTH], LENGTH)
    twice = _floor.floor_of(
        dataclasses.replace(shape, config=shape.config | {"num_experts_per_tok": 4}), [LENGTH], LENGTH
    )
    expert = 3 * 64 * 32  # gate, up, down
    assert twice.other - full.other == pytest.approx(6 * 2 * expert * LENGTH)  # in the one layer that has experts
    lora = dataclasses.replace(shape, rank=4)
    rank_8 = _floor.floor_of(dataclasses.replace(shape, rank=8), [LENGTH], LENGTH)
    rank_4 = _floor.floor_of(lora, [LENGTH], LENGTH)
    assert rank_4.frozen == rank_8.frozen < 2 / 3 * full.other
    assert 0 < rank_4.other < rank_8.other


def test_only_learnt_positions_need_the_head():
    shape = small("tiny")
    all_, none = (_floor.floor_of(shape, [LENGTH], learnt) for learnt in (LENGTH, 0))
    assert all_.other - none.other == pytest.approx(2 * 2 * 64 * 160 * LENGTH)
    assert all_.frozen == none.frozen  # which is what int8 holds, and it does not hold the head


def test_rates_are_measured_and_int8_is_among_them():
    rates = _floor.rates()
    assert set(rates) == {"float32", "bfloat16", "int8"}
    assert all(rate > 1e8 for rate in rates.values())


def test_the_job_counts_learnt_tokens_without_the_first(tmp_path):
    job = {"shape": "tiny", "floor": "work", "sequences": [([5, 6, 7, 8], 0), ([5, 6, 7, 8], 2)]}
    found = _peers.contend(job, tmp_path)
    whole = _floor.floor_of(SHAPES["tiny"], [4, 4], 5)
    assert found == {"frozen": whole.frozen, "other": whole.other}


def test_the_share_of_the_floor():
    floor, rates = {"frozen": 8e9, "other": 1e9}, {"float32": 1e9, "bfloat16": 2e9, "int8": 4e9}
    assert step.floor_seconds(floor, rates, "bfloat16", False) == pytest.approx(4.5)
    assert step.floor_seconds(floor, rates, "bfloat16", True) == pytest.approx(2.5)
    found = {
        "tokens": 100,
        "tokens_per_second": 10.0,
        "best_tokens_per_second": 12.0,
        "tokens_per_processor_second": 8.0,
    }
    shares = step.beside_floor(found, seconds=5.0, threads=2)
    assert shares["floor_tokens_per_second"] == pytest.approx(20)
    assert shares["share_of_floor"] == pytest.approx(0.5)
    assert shares["best_share_of_floor"] == pytest.approx(0.6)
    assert shares["processor_share_of_floor"] == pytest.approx(0.8)
