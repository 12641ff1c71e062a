"""A model drawn from its config against the same model opened: every number of a plan has to be equal."""

from __future__ import annotations

import json
import resource
import warnings
from pathlib import Path

import pytest
import torch
import zoo

from seektune.errors import ModelError
from seektune.models import adapters, blueprint, cost, heads, isolation, layers, load
from seektune.train.precision import Precision, prepare_dtypes
from seektune.tuners.freeze import Freeze
from seektune.tuners.full import Full
from seektune.tuners.lora import LoRA


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def folder_of(folders: Path, architecture: str) -> Path:
    path = folders / architecture
    return path if path.exists() else zoo.tiny_folder(path, architecture)


def facts(model, precision: str, rows: str) -> tuple:
    prepare_dtypes(model, precision)
    return (
        cost.weights_of(model, precision),
        cost.work_of(model),
        cost.footprint_of(model, Precision(precision, "cpu"), rows == "packed"),
        cost.logits_of(model, Precision(precision, "cpu")).held(7),
        cost.stored_bytes(model),
        adapters.attached(model),
        {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad},
    )


@pytest.mark.parametrize("tuner", [Full(), LoRA(rank=4)], ids=["full", "lora"])
@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_a_blueprint_has_the_numbers_of_the_open_model(folders, architecture, tuner) -> None:
    head = "classifier" if architecture in zoo.ENCODERS else "lm"
    model = load.Model(path=str(folder_of(folders, architecture)))
    opened = tuner.apply(load.open_model(model, head=head, labels=["a", "b", "c"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proved = isolation.isolate(opened)
    drawn = blueprint.tuned(blueprint.draw(model, head=head, labels=["a", "b", "c"]), tuner)
    expected = blueprint.isolate(drawn)
    if head == "lm":
        assert expected.rows == proved.rows
    precision = "float32" if isinstance(tuner, Full) else "bfloat16"
    if heads.base_of(drawn).config._attn_implementation != heads.base_of(opened).config._attn_implementation:
        heads.base_of(drawn).set_attn_implementation(heads.base_of(opened).config._attn_implementation)
    assert facts(drawn, precision, proved.rows) == facts(opened, precision, proved.rows)
    assert all(p.is_meta for p in drawn.parameters())  # and no longer pass for real ones


DEEP = {"gemma2": 9, "gpt_oss": 9, "llama": 9, "qwen3": 9, "deepseek_v3": 7, "qwen3_5": 9}


@pytest.mark.parametrize("tuner", [Full(), LoRA(rank=4), Freeze(3)], ids=["full", "lora", "freeze"])
@pytest.mark.parametrize("architecture", DEEP)
def test_equal_layers_are_looked_at_once(architecture, tuner, tmp_path) -> None:
    depth = DEEP[architecture]
    kinds = zoo.CONFIGS[architecture].get("layer_types")
    more = {"layer_types": kinds * (depth // 3)} if kinds else {}
    folder = zoo.tiny_folder(tmp_path / "deep", architecture, num_hidden_layers=depth, **more)
    opened = tuner.apply(load.open_model(load.Model(path=str(folder))))
    isolation.isolate(opened)
    drawn = blueprint.tuned(blueprint.draw(load.Model(path=str(folder))), tuner)
    rows = blueprint.isolate(drawn).rows
    with blueprint.thinned(drawn) as stands_for:
        assert len(set(stands_for)) == len(layers.blocks(drawn)[1]) < depth == len(stands_for)
    assert len(layers.blocks(drawn)[1]) == depth
    assert facts(drawn, "bfloat16", rows) == facts(opened, "bfloat16", rows)


@pytest.mark.parametrize("tuner", [Freeze(1), LoRA(rank=2, also_train=["norm"])], ids=["freeze", "also"])
def test_every_tuner_can_be_drawn(folders, tuner) -> None:
    model = load.Model(path=str(folder_of(folders, "llama")), new_tokens=[])
    opened, drawn = tuner.apply(load.open_model(model)), blueprint.tuned(blueprint.draw(model), tuner)
    isolation.isolate(opened)
    blueprint.isolate(drawn)
    assert facts(drawn, "float32", "packed") == facts(opened, "float32", "packed")


def test_an_adapter_that_is_trained_on_is_drawn_as_its_base(folders, tmp_path) -> None:
    base = load.open_model(load.Model(path=str(folder_of(folders, "llama"))))
    adapters.save(LoRA(rank=4).apply(base), tmp_path / "adapter")
    model = load.Model(path=str(tmp_path / "adapter"))
    opened = LoRA(rank=4).apply(load.open_model(model, trainable=True))
    drawn = blueprint.tuned(blueprint.draw(model), LoRA(rank=4))
    isolation.isolate(opened)
    blueprint.isolate(drawn)
    assert facts(drawn, "float32", "packed") == facts(opened, "float32", "packed")


def test_drawing_leaves_random_states_and_reads_no_weight(folders, tmp_path) -> None:
    (tmp_path / "config.json").write_text((folder_of(folders, "qwen2") / "config.json").read_text())
    state = torch.get_rng_state()
    drawn = blueprint.tuned(blueprint.draw(load.Model(path=str(tmp_path))), LoRA(rank=4))
    cost.footprint_of(drawn, Precision("float32", "cpu"), True)
    assert torch.equal(state, torch.get_rng_state())
    assert not blueprint.has_weights(tmp_path)
    assert blueprint.has_weights(folder_of(folders, "qwen2"))


def test_seventy_billion_parameters_are_drawn_without_their_memory(tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(zoo.LLAMA_70B))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    drawn = blueprint.tuned(blueprint.draw(load.Model(path=str(tmp_path))), LoRA(rank=16))
    blueprint.isolate(drawn)
    prepare_dtypes(drawn, "bfloat16")
    weights = cost.weights_of(drawn, "bfloat16")
    assert weights.parameters - weights.trained == 70_553_706_496  # as the model's card has it
    per_layer = 16 * (2 * (8192 + 8192) + 2 * (8192 + 1024) + 3 * (8192 + 28672))
    assert weights.trained == 80 * per_layer
    footprint = cost.footprint_of(drawn, Precision("bfloat16", "cpu"), True)
    assert footprint.border == 80 * 8192 * 2
    assert len(layers.blocks(drawn)[1]) == 80
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 1 << 30


def test_a_config_that_names_no_known_model_is_told_in_a_line(tmp_path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no_such_model"}')
    with pytest.raises(ModelError, match=r"config\.json"):
        blueprint.draw(load.Model(path=str(tmp_path)))
