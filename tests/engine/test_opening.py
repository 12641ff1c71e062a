"""What a user names becomes an engine: folders, runs, adapters, classifiers; and what cannot is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import zoo

from seektune.engine.opening import folder_of, head_of, open_engine
from seektune.errors import ModelError
from seektune.run import Run

ASKED = {"messages": [{"role": "user", "content": "hi"}]}


def test_a_folder_answers_as_the_model_in_it(tmp_path: Path) -> None:
    engine = open_engine(str(zoo.tiny_folder(tmp_path / "m", "llama")), "cpu")
    (answer,) = engine.generate([ASKED], max_new_tokens=6)
    prompt = engine.renderer.prompt_ids(ASKED["messages"])
    found = zoo.tiny("llama").generate(
        torch.tensor([prompt]), max_new_tokens=6, do_sample=False, eos_token_id=zoo.EOS, pad_token_id=zoo.PAD
    )
    assert answer.ids == found[0, len(prompt) :].tolist()
    assert "".join(engine.stream(ASKED, max_new_tokens=6)) == answer.text


def test_a_run_is_its_model(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "one")
    with pytest.raises(ModelError, match="this run has no model yet"):
        folder_of(str(run.path))
    zoo.tiny_folder(run.model_folder, "llama")
    assert folder_of(str(run.path)) == run.model_folder


def test_an_adapter_is_its_base_and_itself(tmp_path: Path) -> None:
    from seektune.models.load import Model, open_model
    from seektune.tuners.lora import LoRA

    base = zoo.tiny_folder(tmp_path / "base", "llama")
    tuner = LoRA(rank=2)
    model = tuner.apply(open_model(Model(path=str(base)), head="lm"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.3)
    tuner.save(model, tmp_path / "adapter")
    texts = [
        open_engine(str(tmp_path / name), "cpu").generate([ASKED], max_new_tokens=8)[0].text
        for name in ("base", "adapter")
    ]
    assert texts[0] != texts[1]


def test_a_classifier_is_told_from_its_config(tmp_path: Path) -> None:
    folder = zoo.tiny_folder(tmp_path / "b", "bert", id2label={0: "a", 1: "b", 2: "c"})
    assert head_of(folder) == "classifier"
    engine = open_engine(str(folder), "cpu")
    assert engine.labels == ["a", "b", "c"]
    (row,) = engine.classify([{"text": "one", "text_pair": "two"}])
    ids = engine.renderer.classifier_ids("one", "two")[0]
    with torch.no_grad():
        assert row == pytest.approx(
            engine.model(input_ids=torch.tensor([ids])).logits[0].softmax(-1).tolist(), abs=1e-6
        )


def test_a_text_too_long_for_a_roberta_is_cut_where_its_positions_end(tmp_path: Path) -> None:
    engine = open_engine(str(zoo.tiny_folder(tmp_path / "r", "roberta", max_position_embeddings=40)), "cpu")
    (row,) = engine.classify([{"text": "word " * 100}])
    assert sum(row) == pytest.approx(1.0)
