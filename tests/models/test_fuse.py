"""Fused models: every architecture trains to the losses and gradients that it has by itself, or keeps its own forward."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import zoo
from train import harness

from seektune.data.pack import cut
from seektune.models import forward, fuse, heads, isolation
from seektune.models.kernels import native, rotary
from seektune.tuners.lora import LoRA


def gradients(model: torch.nn.Module, rows: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad(set_to_none=True)
    losses = []
    for batch in cut(harness.documents(12), rows=rows, tokens=120):
        found, weights = forward.token_losses(model, batch)
        (found * weights).sum().backward()
        losses.append(found.detach())
    return torch.cat(losses), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def adapted(architecture: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = LoRA(rank=2).apply(zoo.tiny(architecture))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    return model


@pytest.mark.parametrize("tuned", ["lora", "full"])
@pytest.mark.parametrize("architecture", zoo.DECODERS)
def test_losses_and_gradients_stay(architecture: str, tuned: str, both_ways: str) -> None:
    model = adapted(architecture) if tuned == "lora" else zoo.tiny(architecture).requires_grad_(True)
    rows = isolation.isolate(model).rows
    losses, expected = gradients(model.train(), rows)
    taken = fuse.fuse(model)
    again, found = gradients(model, rows)
    torch.testing.assert_close(again, losses, rtol=1e-5, atol=1e-5)
    assert found.keys() == expected.keys()
    norm = torch.cat([g.flatten() for g in expected.values()]).norm()
    bar = (
        5e-5 if (architecture, both_ways) == ("qwen3_5", "compiled") else 1e-5
    )  # whose own gradient is 2e-4 from that in float64
    for name, value in expected.items():
        assert float((found[name] - value).norm() / norm) < bar, name
    if tuned == "lora":
        assert taken, "no piece was taken by any module"


@pytest.mark.parametrize("tuned", ["lora", "full"])
@pytest.mark.parametrize("architecture", ["qwen2", "gemma3", "qwen3_5"])
def test_bfloat16_stays_within_the_spread_of_plain_orders(architecture: str, tuned: str, both_ways: str) -> None:
    """Distance from float32's gradient: no larger than that of the model by itself, but for chance."""
    model = adapted(architecture) if tuned == "lora" else zoo.tiny(architecture).requires_grad_(True)
    rows = isolation.isolate(model).rows
    flat = lambda found: torch.cat([g.flatten().float() for g in found.values()])  # noqa: E731
    exact = flat(gradients(model.train(), rows)[1])
    if tuned == "lora":
        for parameter in model.parameters():
            parameter.data = parameter.data if parameter.requires_grad else parameter.data.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        own = flat(gradients(model, rows)[1])
        assert fuse.fuse(model)
        ours = flat(gradients(model, rows)[1])
    chance = 1.25
    if (architecture, both_ways) == ("qwen3_5", "compiled"):
        chance = 2  # its own gradient is further from the exact one than zero is
    assert float((ours - exact).norm()) <= chance * float((own - exact).norm())


def test_whether_a_piece_is_taken_in_16_bit_does_not_hang_on_the_weights() -> None:
    """Gates of large hidden states are nearly all shut; what their gradients differ by there is rounding."""
    for seed in range(20):
        torch.manual_seed(seed)
        model = zoo.tiny("qwen2", hidden_size=256, intermediate_size=704, num_hidden_layers=1)
        for parameter in model.parameters():
            parameter.data.normal_(0, 0.05)
        model = LoRA(rank=16).apply(model)
        for parameter in model.parameters():
            parameter.data = parameter.data if parameter.requires_grad else parameter.data.to(torch.bfloat16)
        assert fuse.fuse(model).get("Qwen2MLP") == 1, seed


@pytest.mark.parametrize("architecture", zoo.DECODERS)
def test_chunked_losses_are_those_of_the_whole_logits(architecture: str) -> None:
    """The head that is proved plain gives what the model's own forward gives; of all our architectures it is."""
    model = zoo.tiny(architecture)
    rows = isolation.isolate(model).rows
    assert heads.tail_of(model) is not None
    for batch in cut(harness.documents(6), rows=rows):
        losses, _ = forward.token_losses(model, batch)
        expected, _ = forward.reference_losses(model, batch)
        torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)


def test_a_head_that_scales_its_logits_is_left_to_the_model() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("granite", **(zoo.SIZES | zoo.GROUPED | {"logits_scaling": 4.0}))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    zoo.randomise(model, 0)
    assert heads.tail_of(model) is None
    batch = cut(harness.documents(4))[0]
    isolation.isolate(model)
    losses, _ = forward.token_losses(model, batch)
    torch.testing.assert_close(losses, forward.reference_losses(model, batch)[0], rtol=1e-5, atol=1e-5)


def test_a_piece_that_gives_something_else_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "rms_norm", lambda x, weight, eps: 1.001 * x)
    assert "Qwen2RMSNorm" not in fuse.fuse(zoo.tiny("qwen2"))


@pytest.mark.skipif(bool(native.why_not()), reason=native.why_not())
@pytest.mark.parametrize("architecture", ["qwen2", "llama", "qwen3", "gemma3", "deepseek_v3"])
def test_rotary_embedding_is_taken_by_this_model_only(architecture: str) -> None:
    model, other = zoo.tiny(architecture), zoo.tiny(architecture)
    assert any(name.endswith("Attention") for name in fuse.fuse(model))
    attending = [m for m in other.modules() if type(m).__name__.endswith("Attention")]
    assert attending and not any("forward" in vars(m) for m in attending)
    table = type(attending[0]).forward.__globals__
    assert table[fuse.ROTARY].__module__ == type(attending[0]).__module__


def test_rotary_embedding_of_another_kind_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = rotary.native.rotate
    monkeypatch.setattr(rotary.native, "rotate", lambda rows, cos, sin, reverse: turn(rows, cos, 0.99 * sin, reverse))
    assert not any(name.endswith("Attention") for name in fuse.fuse(zoo.tiny("qwen2")))


def test_what_is_switched_off_or_merged_falls_back(both_ways: str) -> None:
    model = adapted("llama")
    plain = copy.deepcopy(model)
    fuse.fuse(model)
    ids = zoo.ids()
    with torch.no_grad():
        with model.disable_adapter(), plain.disable_adapter():
            ours, theirs = model(input_ids=ids).logits, plain(input_ids=ids).logits
            assert torch.equal(ours, theirs) if both_ways == "torch" else torch.allclose(ours, theirs, 1e-5, 1e-5)
        model.merge_adapter()
        plain.merge_adapter()
        torch.testing.assert_close(model(input_ids=ids).logits, plain(input_ids=ids).logits)


def test_dropout_is_left_to_peft() -> None:
    torch.manual_seed(0)
    model = LoRA(rank=2, dropout=0.5).apply(zoo.tiny("llama"))
    fuse.fuse(model)
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    assert fuse.update_of(layer.eval()) is not None
    assert fuse.update_of(layer.train()) is None


def test_names_and_state_are_as_they_were() -> None:
    model = adapted("qwen2")
    names = [name for name, _ in model.named_parameters()]
    state = set(model.state_dict())
    fuse.fuse(model)
    assert [name for name, _ in model.named_parameters()] == names
    assert set(model.state_dict()) == state


@pytest.mark.parametrize("name", ["mlp", "experts"])
def test_gates_that_are_cut_off_keep_their_own_forward(name: str) -> None:
    """DeepSeek V4 limits gate and up; hidden states of usual size do not reach the limit."""
    model = zoo.tiny("deepseek_v4").requires_grad_(True)
    limited = [m for n, m in model.named_modules() if hasattr(m, "limit") and type(m).__name__.lower().endswith(name)]
    assert limited
    fuse.fuse(model)
    assert not any("forward" in vars(module) for module in limited)


@pytest.mark.parametrize("architecture", ["qwen3_moe", "deepseek_v2", "deepseek_v3"])
def test_experts_are_taken(architecture: str) -> None:
    assert any(name.endswith("Experts") for name in fuse.fuse(zoo.tiny(architecture).requires_grad_(True)))
