"""A saved model proves itself to a stranger; what is perturbed, swapped, missing or too much is refused, each by name."""

import json

import numpy as np
import pytest
import torch
import zoo
from safetensors.torch import load_file, save_file

from seektune import proof
from seektune.contracts import Document
from seektune.data.chat import Renderer
from seektune.errors import RefusedError
from seektune.models import load
from seektune.tuners.full import Full
from seektune.tuners.lora import LoRA

RECORDS = [
    {"messages": [{"role": "user", "content": f"What is {i}?"}, {"role": "assistant", "content": f"It is {i}."}]}
    for i in range(6)
]

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"town": "Ulm"}}}
WITH_CALLS = [{"messages": [
    {"role": "user", "content": "Rain?", "weight": 0.5}, {"role": "assistant", "content": "", "tool_calls": [CALL], "train": False},
    {"role": "tool", "content": "no"}, {"role": "assistant", "content": "It is dry."},
]}]  # fmt: skip
CALLING = zoo.TEMPLATE.replace("m['content']", "(m['tool_calls'] | tojson if m.tool_calls else m['content'])")
TEXTS = [{"text": f"The company reported {i} dollars."} for i in range(4)]


def documents_of(renderer, records=RECORDS):
    return [d for record in records for d in renderer.documents(record)]


def change(folder, name, **values):
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.fixture
def saved(tmp_path):
    """(folder, model, renderer) of a tiny model as a run would leave them."""
    folder = zoo.tiny_folder(tmp_path / "model", "qwen2")
    return folder, load.open_model(load.Model(path=str(folder))), Renderer.from_folder(folder)


def prove(saved, records=RECORDS):
    folder, model, renderer = saved
    return proof.prove(folder, model, renderer, records, documents_of(renderer, records), head="lm")


def weights_of(folder):
    return load_file(folder / "model.safetensors")


def save_weights(folder, weights):
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_good_folder_passes_and_the_figures_say_so(saved):
    folder, model, _ = saved
    (folder / "chat_template.jinja").write_text(CALLING)  # tool calls, and marks of ours, which no template is shown
    renderer, state = Renderer.from_folder(folder), torch.get_rng_state()
    figures = prove((folder, model.train(), renderer), RECORDS + WITH_CALLS)
    assert figures["foreign_process"] is True
    assert figures["prompts"] == 7
    assert figures["relative_difference"] < 1e-4
    assert figures["top1_agreement"] == 1.0
    assert figures["same_answers"] == figures["answers"] == 7
    assert 0 <= figures["stopped_by_itself"] <= 1
    assert figures["weights_compared"] == figures["weights"] == len(weights_of(folder))
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_the_stranger_heeds_a_soft_cap(tmp_path):
    folder = zoo.tiny_folder(tmp_path / "model", "gemma2")
    model = load.open_model(load.Model(path=str(folder)))
    for tuner, result in ((Full(), tmp_path / "full"), (LoRA(rank=2), tmp_path / "lora")):
        zoo.tokenizer().save_pretrained(result)
        tuned = tuner.apply(model).eval()
        tuner.save(tuned, result)
        assert prove((result, tuned, Renderer.from_folder(result)))["relative_difference"] < 1e-4


def test_a_perturbed_weight_is_refused(saved):
    folder = saved[0]
    weights = weights_of(folder)
    name = next(n for n in weights if n.endswith("down_proj.weight"))
    weights[name][3, 5] += 1e-6
    save_weights(folder, weights)
    with pytest.raises(
        RefusedError, match=f"not the trained ones: {name} in model.safetensors differs from the trained one"
    ):
        prove(saved)


def test_rounding_to_the_type_of_the_file_is_no_difference_and_one_bit_more_is(saved):
    folder, model, _ = saved
    weights = {name: value.bfloat16() for name, value in weights_of(folder).items()}
    save_weights(folder, weights)
    assert proof.compare_weights(folder, model)["weights_compared"] == len(weights)
    name = next(iter(weights))
    weights[name].view(torch.int16)[0] ^= 1
    save_weights(folder, weights)
    with pytest.raises(RefusedError, match=f"{name} in model.safetensors differs"):
        proof.compare_weights(folder, model)


def test_a_tensor_that_is_missing_or_of_another_shape_is_named(saved):
    folder, model, _ = saved
    weights = weights_of(folder)
    weights["model.norm.weight"] = torch.ones(5)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_weights(folder, weights)
    expected = r"model.layers.1.mlp.up_proj.weight is in no file; model.norm.weight has shape \[5\] in model.safetensors, \[32\] in memory"
    with pytest.raises(RefusedError, match=expected):
        proof.compare_weights(folder, model)


def test_the_same_weights_under_another_config_are_refused(saved):
    change(saved[0], "config.json", rms_norm_eps=0.5)
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


def test_a_swapped_tokenizer_is_refused_for_plain_texts(saved):
    folder = saved[0]
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:5]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(RefusedError, match="the saved tokenizer gives other ids for 4 of 4 texts than training had"):
        prove(saved, TEXTS)


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            {"missing": ["lm_head.weight"]},
            "do not fit the model that plain transformers makes of them: lm_head.weight is missing",
        ),
        ({"unexpected": ["extra"]}, "extra has no place in the model"),
        ({"foreign": False}, "unproved: the process that should know nothing of seektune had it loaded"),
        ({"text_ids": [[5, 6]]}, "other ids for 1 of 1 texts"),
    ],
)
def test_what_the_stranger_found_is_judged(found, line, tmp_path):
    sample = proof.Sample([], [], [("text", None)], [[5, 7, 2]], [])
    good = {"missing": [], "unexpected": [], "foreign": True, "prompt_ids": [], "text_ids": [[5, 7]]}
    proof._refuse_other_ids(tmp_path, sample, good)  # the end of text is training's own
    with pytest.raises(RefusedError, match=line):
        proof._refuse_other_ids(tmp_path, sample, good | found)


def test_a_stranger_that_takes_too_long_has_proved_nothing(saved, monkeypatch):
    monkeypatch.setattr(proof, "SECONDS", 0.05)
    with pytest.raises(RefusedError, match="unproved: plain transformers had not opened and run the saved model after"):
        prove(saved)


def test_a_classifier_proves_itself(tmp_path):
    folder = zoo.tiny_folder(tmp_path, "bert")
    model, renderer = (
        load.open_model(load.Model(path=str(folder)), head="classifier", labels=["a", "b", "c"]),
        Renderer.from_folder(folder),
    )
    Full().save(model, folder)
    records = [
        {"text": "What is the name?", "label": "a"},
        {"text": "three million", "text_pair": "dollars", "label": "b"},
    ]
    ids = [np.array(renderer.classifier_ids(r["text"], r.get("text_pair"))[0], np.int32) for r in records]
    documents = [Document(one, np.zeros(len(one), np.float32)) for one in ids]
    figures = proof.prove(folder, model, renderer, records, documents, head="classifier")
    assert figures["relative_difference"] < 1e-4
    assert figures["prompts"] == figures["records"] == 2


def test_logits_are_compared_in_fewer_places_of_a_large_vocabulary(monkeypatch):
    model, long = zoo.tiny("qwen2"), Document(np.arange(10, 210, dtype=np.int32), np.zeros(200, np.float32))
    assert proof.places(model, [long]) == [list(range(200))]
    monkeypatch.setattr(proof, "VALUES", 50 * zoo.VOCAB)
    few = proof.places(model, [long])[0]
    assert len(few) == 50
    assert (few[0], few[-1]) == (0, 199)
    whole = model(input_ids=torch.as_tensor(long.ids, dtype=torch.long)[None]).logits[0]
    assert torch.allclose(proof.logits_of(model, [long])[0], whole[few].detach())


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
    figures = proof.prove(tmp_path / "adapter", model, renderer, RECORDS, documents_of(renderer), head="lm")
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
