"""Depth and targets of every architecture, against lists written by hand from the papers and model sources."""

from __future__ import annotations

import re

import pytest
import torch
import zoo
from torch import nn

from seektune.errors import ModelError
from seektune.models.layers import (
    Targets,
    blocks,
    dead_modules,
    depth_of,
    linear_targets,
    load_trainable_state,
    named_modules,
    trainable_state,
)

GQA = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj"
MLP = "mlp.gate_proj mlp.up_proj mlp.down_proj"
MLA = "self_attn.q_a_proj self_attn.q_b_proj self_attn.kv_a_proj_with_mqa self_attn.kv_b_proj self_attn.o_proj"
EXPERTS = "mlp.experts.gate_up_proj mlp.experts.down_proj"
SHARED = "mlp.shared_experts.gate_proj mlp.shared_experts.up_proj mlp.shared_experts.down_proj"
LINEAR = (
    "linear_attn.in_proj_qkv linear_attn.in_proj_z linear_attn.in_proj_a linear_attn.in_proj_b linear_attn.out_proj"
)
V4 = "self_attn.q_a_proj self_attn.q_b_proj self_attn.kv_proj self_attn.o_a_proj self_attn.o_b_proj"
COMPRESSOR = "self_attn.compressor.kv_proj self_attn.compressor.gate_proj"
BERT = "attention.self.query attention.self.key attention.self.value attention.output.dense intermediate.dense output.dense"

ADAPTED: dict[str, list[str]] = {  # what `all_linear` must take, layer by layer
    "qwen2": [f"{GQA} {MLP}"] * 3,
    "qwen3": [f"{GQA} {MLP}"] * 3,
    "qwen3_moe": [f"{GQA} {MLP}"] + [f"{GQA} {EXPERTS}"] * 2,
    "qwen3_5": [f"{LINEAR} {MLP}"] * 2 + [f"{GQA} {MLP}"],
    "llama": [f"{GQA} {MLP}"] * 3,
    "mistral": [f"{GQA} {MLP}"] * 3,
    "gemma2": [f"{GQA} {MLP}"] * 3,
    "gemma3": [f"{GQA} {MLP}"] * 3,
    "gpt_oss": [f"{GQA} {EXPERTS}"] * 3,
    "deepseek_v2": [f"{MLA} {MLP}"] + [f"{MLA} {EXPERTS} {SHARED}"] * 2,
    "deepseek_v3": [f"{MLA} {MLP}"] + [f"{MLA} {EXPERTS} {SHARED}"] * 2,
    "deepseek_v32": [f"{MLA} {MLP}"] + [f"{MLA} {EXPERTS} {SHARED}"] * 2,
    "deepseek_v4": [f"{V4} {EXPERTS} {SHARED}"] + [f"{V4} {COMPRESSOR} {EXPERTS} {SHARED}"] * 3,
    "bert": [BERT] * 3,
    "roberta": [BERT] * 3,
    "modernbert": ["attn.Wqkv attn.Wo mlp.Wi mlp.Wo"] * 3,
}
BLOCKS = {"bert": "bert.encoder.layer", "roberta": "roberta.encoder.layer"}
FIRST_AND_LAST = {  # parameters that stand before and behind the layers
    "qwen2": ("model.embed_tokens.weight", "model.norm.weight"),  # the head is tied
    "llama": ("model.embed_tokens.weight", "model.norm.weight lm_head.weight"),
    "deepseek_v4": (
        "model.embed_tokens.weight",
        "model.norm.weight model.hc_head.hc_fn model.hc_head.hc_base model.hc_head.hc_scale lm_head.weight",
    ),
    "bert": (
        "bert.embeddings.word_embeddings.weight bert.embeddings.position_embeddings.weight "
        "bert.embeddings.token_type_embeddings.weight bert.embeddings.LayerNorm.weight bert.embeddings.LayerNorm.bias",
        "bert.pooler.dense.weight bert.pooler.dense.bias classifier.weight classifier.bias",
    ),
    "modernbert": (
        "model.embeddings.tok_embeddings.weight model.embeddings.norm.weight",
        "model.final_norm.weight head.dense.weight head.norm.weight classifier.weight classifier.bias",
    ),
}


@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_all_linear(architecture: str) -> None:
    model = zoo.tiny(architecture)
    where = BLOCKS.get(architecture, "model.layers")
    expected = {f"{where}.{i}.{name}" for i, names in enumerate(ADAPTED[architecture]) for name in names.split()}
    targets = linear_targets(model)
    assert set(targets.adapted) == expected
    assert len(targets.adapted) == len(expected)
    assert not set(targets.unadapted) & expected


@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_every_matrix_is_adapted_or_has_a_reason(architecture: str) -> None:
    model = zoo.tiny(architecture)
    targets = linear_targets(model)
    named = set(targets.adapted) | set(targets.unadapted)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.ndim in (2, 3):
            assert name in named or name.removesuffix(".weight") in named, name
    assert all(targets.unadapted.values())


def test_reasons() -> None:
    def reasons(architecture: str) -> dict[str, str]:
        found = linear_targets(zoo.tiny(architecture)).unadapted
        return {re.sub(r"^.*?\.\d+\.", "", name): why for name, why in found.items()}

    v32 = reasons("deepseek_v32")
    assert v32["mlp.gate.weight"] == "router"
    assert v32["self_attn.indexer.wq_b"].startswith("sparse indexer")
    assert v32["lm_head"] == "outside of the layers"
    assert reasons("gpt_oss")["mlp.router.weight"] == "router"
    assert reasons("qwen3_5")["linear_attn.conv1d.weight"] == "no linear layer"
    assert reasons("bert")["bert.pooler.dense"] == "outside of the layers"


def test_what_peft_would_misread_goes_by_parameter() -> None:
    """PEFT takes gate_proj, up_proj and down_proj for experts in such models, and calls grouped layers as plain ones."""
    v3 = linear_targets(zoo.tiny("deepseek_v3"))
    assert "model.layers.0.mlp.gate_proj.weight" in v3.parameters
    assert "model.layers.1.mlp.shared_experts.down_proj.weight" in v3.parameters
    assert "model.layers.1.mlp.experts.gate_up_proj" in v3.parameters
    assert "model.layers.0.self_attn.kv_b_proj" in v3.modules
    assert not any("proj.weight" in name for name in v3.modules)
    assert "model.layers.0.self_attn.o_a_proj.weight" in linear_targets(zoo.tiny("deepseek_v4")).parameters
    assert linear_targets(zoo.tiny("llama")).parameters == ()


def test_names_by_ending_glob_and_expression() -> None:
    model = zoo.tiny("llama")

    def adapted(*names: str) -> list[str]:
        return list(linear_targets(model, list(names)).adapted)

    assert adapted("q_proj") == [f"model.layers.{i}.self_attn.q_proj" for i in range(3)]
    assert adapted("1.self_attn.q_proj") == ["model.layers.1.self_attn.q_proj"]
    assert adapted("model.layers.[02].*.up_proj") == ["model.layers.0.mlp.up_proj", "model.layers.2.mlp.up_proj"]
    assert adapted(r".*layers\.(0|1)\.mlp\.(gate|up)_proj") == [
        f"model.layers.{i}.mlp.{n}_proj" for i in (0, 1) for n in ("gate", "up")
    ]
    assert adapted("lm_head", "embed_tokens") == ["model.embed_tokens", "lm_head"]
    everything = set(linear_targets(model).adapted)
    assert set(adapted("all_linear", "lm_head")) == everything | {"lm_head"}
    assert linear_targets(model, "v_proj").adapted == linear_targets(model, ["v_proj"]).adapted


def test_routers_and_experts_can_be_named() -> None:
    model = zoo.tiny("deepseek_v3")
    assert linear_targets(model, ["gate"]).adapted == tuple(f"model.layers.{i}.mlp.gate.weight" for i in (1, 2))
    assert set(linear_targets(model, ["experts"]).suffixes) == set(EXPERTS.split())
    assert linear_targets(zoo.tiny("deepseek_v32"), ["indexer.wk"]).suffixes == {"self_attn.indexer.wk": 3}


def test_wrong_names_are_all_told() -> None:
    with pytest.raises(ModelError) as caught:
        linear_targets(zoo.tiny("llama"), ["q_porj", "v_proj", "nothing.here"])
    assert caught.value.problems == [
        "target_modules: 'q_porj' matches nothing in this model; did you mean 'q_proj'?",
        "target_modules: 'nothing.here' matches nothing in this model; known: down_proj, embed_tokens, gate_proj, k_proj, "
        "lm_head, mlp.down_proj, mlp.gate_proj, mlp.up_proj, model.embed_tokens, o_proj, q_proj, self_attn.k_proj, "
        "self_attn.o_proj, self_attn.q_proj, self_attn.v_proj, up_proj, v_proj",
    ]
    with pytest.raises(ModelError, match="also_train"):
        linear_targets(zoo.tiny("qwen2"), ["lm_head"])  # tied: one tensor
    with pytest.raises(ModelError, match="empty"):
        linear_targets(zoo.tiny("llama"), [])


@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_depth(architecture: str) -> None:
    model = zoo.tiny(architecture)
    where = BLOCKS.get(architecture, "model.layers")
    layers = len(ADAPTED[architecture])
    depth = depth_of(model)
    assert list(depth) == [name for name, _ in model.named_parameters()]
    for name, at in depth.items():
        if match := re.match(re.escape(where) + r"\.(\d+)\.", name):
            assert at == int(match[1])
        else:
            assert at in (-1, layers)
    if architecture in FIRST_AND_LAST:
        first, last = FIRST_AND_LAST[architecture]
        assert {name for name, at in depth.items() if at == -1} == set(first.split())
        assert {name for name, at in depth.items() if at == layers} == set(last.split())


def test_depth_of_a_model_with_a_tower_beside() -> None:
    class Tower(nn.Module):
        def __init__(self, layers: int, width: int):
            super().__init__()
            self.embed = nn.Embedding(10, width)
            self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
            self.norm = nn.LayerNorm(width)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.ModuleDict({"visual": Tower(2, 4), "language": Tower(3, 8)})
            self.head = nn.Linear(8, 10)

    depth = depth_of(Both())
    assert {at for name, at in depth.items() if "visual" in name} == {None}
    assert depth["model.language.embed.weight"] == -1
    assert depth["model.language.layers.2.weight"] == 2
    assert depth["model.language.norm.weight"] == depth["head.bias"] == 3


def test_blocks_takes_layers_and_not_experts() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(9))

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.h = nn.ModuleList([Layer(), Layer()])

    assert blocks(Whole())[0] == "h"
    with pytest.raises(ModelError, match="no list of layers"):
        blocks(nn.Linear(2, 2))


def test_gpt2_layers_of_transposed_weights() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "gpt2", vocab_size=99, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0
    )
    model = AutoModelForCausalLM.from_config(config)
    assert linear_targets(model).suffixes == {"attn.c_attn": 2, "attn.c_proj": 2, "mlp.c_fc": 2, "mlp.c_proj": 2}
    assert depth_of(model)["transformer.wpe.weight"] == -1


def backward(model: torch.nn.Module) -> None:
    model(input_ids=zoo.ids(1, 24)).logits.logsumexp(-1).sum().backward()


def test_dead_modules() -> None:
    model = zoo.tiny("deepseek_v32").requires_grad_(True)
    backward(model)
    dead = dead_modules(model)
    assert {name.split(".indexer")[0] for name in dead} == {f"model.layers.{i}.self_attn" for i in range(3)}
    assert all(".indexer" in name for name in dead)
    model = zoo.tiny("llama").requires_grad_(False)
    assert dead_modules(model) == []
    model.model.norm.requires_grad_(True)
    assert dead_modules(model) == ["model.norm"]
    backward(model)
    assert dead_modules(model) == []


def test_trainable_state_round_trip() -> None:
    model, other = zoo.tiny("llama", 0), zoo.tiny("llama", 1)
    for m in (model, other):
        m.requires_grad_(False)
        m.model.layers[2].requires_grad_(True)
    state = trainable_state(model)
    assert all(name.startswith("model.layers.2.") for name in state)
    assert len(state) == 9
    load_trainable_state(other, state)
    assert torch.equal(other.model.layers[2].mlp.up_proj.weight, model.model.layers[2].mlp.up_proj.weight)
    assert not torch.equal(other.model.layers[1].mlp.up_proj.weight, model.model.layers[1].mlp.up_proj.weight)
    name = "model.layers.2.mlp.up_proj.weight"
    wrong = {k: v for k, v in state.items() if "norm" not in k} | {name: state[name][:3], "new": state[name]}
    with pytest.raises(ModelError) as caught:
        load_trainable_state(other, wrong)
    assert len(caught.value.problems) == 4
    assert any("shape [3, 32]; expected [48, 32]" in line for line in caught.value.problems)


def test_named_modules() -> None:
    model = zoo.tiny("llama")
    assert named_modules(model, ["norm"], "x") == ["model.norm"]
    assert named_modules(model, ["model.layers.1.*layernorm"], "x") == [
        "model.layers.1.input_layernorm",
        "model.layers.1.post_attention_layernorm",
    ]
    with pytest.raises(ModelError, match="x: 'lmhead' matches no module"):
        named_modules(model, ["lmhead"], "x")


def test_targets_properties() -> None:
    targets = Targets(("m.layers.0.a", "m.layers.1.a", "m.layers.0.e.w"), {}, ("m.layers.1.a.weight", "m.layers.0.e.w"))
    assert targets.modules == ("m.layers.0.a",)
    assert targets.suffixes == {"a": 2, "e.w": 1}
