from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
import zoo
from checkup import Setting, conversations, the

from seektune import doctor, findings, plan, tryout
from seektune.data.chat import Renderer
from seektune.data.prepare import Prepared
from seektune.errors import InputError
from seektune.models import load
from seektune.objectives.classify import Classify
from seektune.train.precision import prepare_dtypes
from seektune.tuners.full import Full
from seektune.tuners.lora import LoRA


@pytest.fixture
def setting(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(tmp_path, tmp_path_factory.getbasetemp())


# ---- findings about the model ----


def test_ids_beyond_the_embedding_stop_before_the_model_is_read(setting: Setting) -> None:
    recipe = setting.recipe(folder=setting.folder("llama", vocab_size=100))
    with pytest.raises(InputError, match=r"the embedding has 100 rows"):
        doctor.check_data(recipe, setting.data(recipe))


def test_ids_beyond_the_embedding_that_no_record_has(setting: Setting) -> None:
    data = setting.data(setting.recipe())
    known = findings.tokens_of(data.renderer)
    used = int(max(d.ids.max() for d in data.train_tokens))
    assert known == zoo.VOCAB - 16
    assert list(findings.vocabulary(data, known)) == []
    finding = the(list(findings.vocabulary(data, known - 1)), "vocabulary")
    assert (finding.severity, used < known - 1) == ("warning", True)
    assert the(list(findings.vocabulary(data, used)), "vocabulary").severity == "error"
    assert the(list(findings.vocabulary(data, used + 1)), "vocabulary").severity == "warning"


def test_dead_modules(setting: Setting) -> None:
    ready = setting.ready(setting.recipe(tuner=Full(), rate=1e-4))
    ready.model.unused = torch.nn.Linear(3, 3)
    diagnosis = doctor.check(ready, root=setting.path)
    assert diagnosis.facts["model"]["dead"] == ["unused"]
    assert "1 trained module without a gradient" in the(diagnosis.findings, "dead_modules").line


def test_a_tokenizer_that_is_served_otherwise(setting: Setting, tmp_path: Path) -> None:
    """transformers gives every Qwen2 model Qwen2's way to cut a text, whatever tokenizer.json says."""
    from tokenizers import Regex, Tokenizer, pre_tokenizers

    folder = zoo.tiny_folder(tmp_path / "own", "qwen2")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    pairs = pre_tokenizers.Split(Regex(r"[\s\S]{1,2}"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pairs, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    finding = the(setting.check(setting.recipe(folder=folder, tuner=Full())).findings, "served_template")
    assert finding.severity == "error"
    assert "train.jsonl:1 (served " in finding.line


@pytest.mark.parametrize("shape", ["messages", "text", "label"])
def test_records_are_served_as_they_were_trained(setting: Setting, shape: str) -> None:
    records = conversations()
    recipe = setting.recipe(records)
    if shape == "text":
        recipe = setting.recipe([{"text": one["messages"][1]["content"]} for one in records])
    if shape == "label":
        labelled = [{"text": one["messages"][0]["content"], "label": "ab"[i % 2]} for i, one in enumerate(records)]
        recipe = setting.recipe(labelled, folder=setting.folder("bert"), objective=Classify(), tuner=Full())
    ready = setting.ready(recipe)
    assert list(tryout.served_otherwise(ready.model, ready.data)) == []


def test_a_template_that_is_served_otherwise(setting: Setting) -> None:
    data = setting.data(setting.recipe())
    model = zoo.tiny("qwen2")
    changed = Saves(data.renderer, zoo.TEMPLATE.replace("'<assistant>'", "'<tool>'"))
    data = Prepared(**{**vars(data), "renderer": changed})
    finding = the(list(tryout.served_otherwise(model, data)), "served_template")
    assert "served '<tool>', trained '<assistant>'" in finding.line
    refusing = Saves(data.renderer, "{{ raise_exception('only one turn') }}")
    finding = the(list(tryout.served_otherwise(model, Prepared(**{**vars(data), "renderer": refusing}))), "served_template")  # fmt: skip
    assert "refused: only one turn" in finding.line


class Saves(Renderer):
    """Saves another template than the one that it renders with."""

    def __init__(self, renderer: Renderer, template: str):
        super().__init__(renderer.tokenizer, renderer.templates, renderer.special, renderer.name)
        self.other = Renderer(renderer.tokenizer, template, renderer.special)

    def save(self, folder: Path | str) -> None:
        self.other.save(folder)


def test_more_tokens_than_positions(setting: Setting) -> None:
    longest = max(map(len, setting.data(setting.recipe()).train_tokens))
    data = setting.data(setting.recipe())
    rotary = zoo.tiny("qwen2", max_position_embeddings=longest - 1)
    finding = the(list(tryout.too_long_for(rotary, data)), "positions")
    assert (finding.severity, f"knows {longest - 1} positions" in finding.line) == ("warning", True)
    assert list(tryout.too_long_for(zoo.tiny("qwen2", max_position_embeddings=longest), data)) == []
    for encoder, lost in (("bert", 0), ("roberta", 1)):  # RoBERTa counts from behind its padding id
        assert list(tryout.too_long_for(zoo.tiny(encoder, max_position_embeddings=longest + lost), data)) == []
        table = zoo.tiny(encoder, max_position_embeddings=longest + lost - 1)
        with pytest.raises((IndexError, RuntimeError)):
            table(torch.full((1, longest), 9))
        assert the(list(tryout.too_long_for(table, data)), "positions").severity == "error"


def test_half_weights(setting: Setting, tmp_path: Path) -> None:
    half = zoo.tiny("qwen2").half()
    assert the(list(tryout.half_weights(half)), "half_weights").severity == "error"
    half.requires_grad_(False)
    assert list(tryout.half_weights(half)) == []
    opened = load.open_model(load.Model(str(setting.folder()), dtype="float16"))
    prepare_dtypes(opened, "float32")
    assert the(list(tryout.half_weights(opened)), "half_weights").severity == "warning"
    adapted = LoRA().apply(load.open_model(load.Model(str(setting.folder()), dtype="float16")))
    assert list(tryout.half_weights(adapted)) == []


# ---- findings about the plan ----


def test_more_memory_than_there_is(setting: Setting) -> None:
    ready = setting.ready(setting.recipe())
    fitting = ready.plan
    assert list(tryout.memory(fitting)) == []
    fixed = fitting.peak_memory_bytes - fitting.memory_bytes["activations"]
    ready.plan = dataclasses.replace(fitting, limit_bytes=int((fixed + fitting.peak_memory_bytes) / 2 / plan.ROOM))
    diagnosis = doctor.check(ready, root=setting.path)
    finding = the(diagnosis.findings, "memory")
    assert finding.severity == "warning"
    settings = ready.plan.smaller()[:2]
    assert settings
    assert all(str(one) in finding.line for one in settings)
    assert "seconds" not in diagnosis.plan  # a run that does not fit is not tried
    nothing = dataclasses.replace(fitting, limit_bytes=1)
    assert "take a smaller model" in the(list(tryout.memory(nothing)), "memory").line


def test_less_disk_than_is_needed(setting: Setting) -> None:
    predicted = setting.ready(setting.recipe()).plan
    root = setting.path / "runs" / "not" / "there"
    assert list(tryout.disk(predicted, root)) == []
    free = shutil.disk_usage(setting.path).free
    large = dataclasses.replace(predicted, checkpoints_bytes=2 * free)
    assert f"are free in {setting.path}" in the(list(tryout.disk(large, root)), "disk").line
