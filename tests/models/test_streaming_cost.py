"""The arithmetic of streaming against numbers worked out by hand, and against models that are there."""

import pytest
import torch
import zoo
from transformers import AutoModelForCausalLM

from seektune.models import layers
from seektune.models.streaming_cost import GPU_16G, LLAMA_70B, Device, Shape, streaming_arithmetic


def test_a_layer_of_the_70b_shape_is_what_a_pencil_says():
    """q and o 8192 x 8192, k and v 1024 x 8192, three matrices 28672 x 8192, two norms: 855,654,400 numbers."""
    assert LLAMA_70B.layer_elements == 2 * 67_108_864 + 2 * 8_388_608 + 3 * 234_881_024 + 16_384 == 855_654_400
    found = streaming_arithmetic(LLAMA_70B)
    assert found.layer_bytes == 1_711_308_800
    assert found.frozen_bytes == 136_904_704_000
    assert found.traffic_bytes == 273_809_408_000


def test_seconds_of_a_step_follow_from_the_link():
    found = streaming_arithmetic(LLAMA_70B)
    assert found.transfer_seconds["PCIe 4"] == pytest.approx(10.952, abs=1e-3)
    assert found.transfer_seconds["PCIe 5"] == pytest.approx(5.476, abs=1e-3)
    assert found.transfer_seconds["NVMe"] == pytest.approx(39.116, abs=1e-3)
    # 8192 tokens: 6 FLOPs a weight (forward, again, back) and 4 of the head, at 60 TFLOP/s
    assert found.compute_seconds == pytest.approx((8192 * (6 * 68.452352e9 + 4 * 1.050673152e9)) / 60e12, rel=1e-6)
    assert found.step_seconds("PCIe 5") == found.compute_seconds > found.transfer_seconds["PCIe 5"]


@pytest.mark.parametrize(("rank", "adapter"), [(8, 103_546_880), (16, 207_093_760)])
def test_lora_on_70b_fits_into_16_gb(rank, adapter):
    """Of rank r, a layer has r (2 (8192 + 8192) + 2 (1024 + 8192) + 3 (28672 + 8192)) numbers: 161,792 r."""
    assert 80 * 161_792 * rank == adapter
    found = streaming_arithmetic(LLAMA_70B, rank=rank)
    assert found.adapter_parameters == adapter
    assert found.memory["two layers"] == 3_422_617_600
    assert found.memory["embedding, norm, head"] == 2 * (2 * 128_256 * 8192 + 8192)
    assert found.memory["adapter"] + found.memory["gradients"] + found.memory["optimizer"] == 16 * adapter
    assert found.fits and found.peak_bytes < 16e9


def test_what_does_not_fit_is_told():
    assert not streaming_arithmetic(LLAMA_70B, Device(8 << 30, 60e12)).fits
    assert not streaming_arithmetic(LLAMA_70B, GPU_16G, tokens=131_072, chunk=32_768).fits


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma2"])
def test_shapes_are_read_from_configs(architecture):
    config = zoo.config_of(architecture)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    block = layers.blocks(model)[1][0]
    norms = sum(p.numel() for n, p in block.named_parameters() if "norm" in n)
    held = sum(p.numel() for p in block.parameters())
    assert Shape.of(config).layer_elements - 2 * config.hidden_size == held - norms
