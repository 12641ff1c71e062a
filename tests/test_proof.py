"""A saved model proves itself to a stranger; a perturbed weight, a swapped template and a missing shard are each refused."""

import json

import pytest
import torch
import zoo
from safetensors.torch import load_file, save_file

from seektune import proof
from seektune.data.chat import Renderer
from seektune.errors import RefusedError
from seektune.models import load
from seektune.tuners.lora import LoRA

RECORDS = [
    {"messages": [{"role": "user", "content": f"What is {i}?"}, {"role": "assistant", "content": f"It is {i}."}]}
    for i in range(6)
]


def documents_of(renderer):
    return [d for record in RECORDS for d in renderer.documents(record)]


@pytest.fixture
def saved(tmp_path):
    """(folder, model, renderer) of a tiny model as a run would leave them."""
    folder = zoo.tiny_folder(tmp_path / "model", "qwen2")
    return folder, load.open_model(load.Model(path=str(folder))), Renderer.from_folder(folder)


def prove(saved):
    folder, model, renderer = saved
    return proof.prove(folder, model, renderer, RECORDS, documents_of(renderer), classifier=False)


def test_a_good_folder_passes_and_the_figures_say_so(saved):
    figures = prove(saved)
    assert figures["foreign_process"] is True
    assert figures["prompts_with_other_ids"] == 0
    assert figures["relative_difference"] < 1e-4
    assert figures["top1_agreement"] == 1.0
    assert figures["same_answers"] == figures["answers"] == 6


def test_a_perturbed_weight_is_refused(saved):
    folder = saved[0]
    file = folder / "model.safetensors"
    weights = load_file(file)
    name = next(n for n in weights if n.endswith("down_proj.weight"))
    weights[name] = weights[name] + 0.05 * torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(0))
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(RefusedError, match="does not give what the trained one gives: largest difference of logits"):
        prove(saved)


def test_a_swapped_template_is_refused(saved):
    folder = saved[0]
    for file in folder.glob("*.jinja"):
        file.unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(RefusedError, match="the saved template renders other ids in 6 of 6 conversations"):
        prove(saved)


def test_a_missing_shard_is_refused(saved):
    folder, model, _ = saved
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    shards[0].unlink()
    with pytest.raises(RefusedError, match=f"{shards[0].name}: named by model.safetensors.index.json, but missing"):
        prove(saved)


def test_a_value_that_is_not_finite_and_an_empty_tensor_are_named(tmp_path):
    save_file({"a": torch.tensor([1.0, float("nan")]), "b": torch.zeros(0)}, tmp_path / "model.safetensors")
    assert proof.look(tmp_path) == [
        "model.safetensors: a holds values that are not finite",
        "model.safetensors: b is empty",
    ]


def test_an_adapter_proves_itself_on_its_base(tmp_path):
    base = zoo.tiny_folder(tmp_path / "base", "llama")
    torch.manual_seed(0)
    model = LoRA(rank=4).apply(load.open_model(load.Model(path=str(base))))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    LoRA(rank=4).save(model, tmp_path / "adapter")
    renderer = Renderer.from_folder(base)
    renderer.save(tmp_path / "adapter")
    figures = proof.prove(tmp_path / "adapter", model, renderer, RECORDS, documents_of(renderer), classifier=False)
    assert figures["relative_difference"] < 1e-4


def test_merging_is_compared_with_what_it_came_from(tmp_path):
    base = zoo.tiny_folder(tmp_path / "base", "llama")
    tuner = LoRA(rank=4)
    model = tuner.apply(load.open_model(load.Model(path=str(base))))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    renderer = Renderer.from_folder(base)
    documents = documents_of(renderer)
    unmerged = proof.logits_of(model, documents)
    merged = proof.logits_of(tuner.merge(model), documents)
    figures = proof.prove_merge(unmerged, merged)
    assert figures["relative_difference"] < 1e-5
    other = load.open_model(load.Model(path=str(zoo.tiny_folder(tmp_path / "other", "llama", seed=5))))
    with pytest.raises(RefusedError, match="merged adapter"):
        proof.prove_merge(merged, proof.logits_of(other, documents))
