"""From marked texts to a tagger: it learns, is saved for plain transformers, and finds what it learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo

from seektune import assembly, recipe
from seektune.data.pack import cut
from seektune.engine.opening import open_engine
from seektune.errors import RecipeError
from seektune.objectives.tag import Tag

NAMES = {"person": ["Ann", "Lee", "王小明", "李雷"], "place": ["Oslo", "Rome", "北京", "上海"]}


def marked(count: int, start: int = 0) -> list[dict[str, Any]]:
    made = []
    for i in range(start, start + count):
        who, where = NAMES["person"][i % 4], NAMES["place"][(i // 4) % 4]
        first, middle = ("", " lives in ") if i % 3 else ("昨天", "去了")
        text = f"{first}{who}{middle}{where}."
        at = len(first) + len(who) + len(middle)
        made.append(
            {"text": text, "spans": [[len(first), len(first) + len(who), "person"], [at, at + len(where), "place"]]}
        )
    return made


def recipe_of(folder: Path, model: Path, **more: Any) -> recipe.Recipe:
    for name, rows in (("train", marked(24)), ("valid", marked(12, 5))):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    values = {"model": str(model), "data": {"train": "train.jsonl", "valid": {"path": "valid.jsonl"}}, "tuner": "full", "objective": "tag",
              "optimizer": {"kind": "adamw", "learning_rate": 0.01}, "train": {"steps": 40, "batch_size": 8, "device": "cpu", "precision": "float32"},
              "evaluate": ["span_f1"]} | more  # fmt: skip
    (folder / "recipe.yaml").write_text(json.dumps(values))
    return recipe.load(folder / "recipe.yaml")


@pytest.mark.parametrize(("architecture", "tuner"), [("qwen2", "full"), ("qwen2", "lora")])
def test_it_learns_and_plain_transformers_agrees(
    architecture: str, tuner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assembly, "RUNS", tmp_path / "runs")
    folder = zoo.tiny_folder(tmp_path / "base", architecture)
    run = assembly.run(recipe_of(tmp_path, folder, tuner=tuner, name="tagged"))
    report = run.read("report.json")
    assert report["before"]["span_f1"]["value"] < 0.3
    assert report["after"]["span_f1"]["value"] > (0.9 if tuner == "full" else 0.6)
    engine = open_engine(str(run.path), "cpu")
    assert engine.labels == ["O", "B-person", "I-person", "B-place", "I-place"]
    if tuner == "full":
        assert engine.tag([{"text": "Ann lives in Oslo."}]) == [[(0, 3, "person"), (13, 17, "place")]]
        from transformers import AutoModelForTokenClassification

        plain = AutoModelForTokenClassification.from_pretrained(run.model_folder)
        ids, _ = engine.renderer.tagger_pieces("Ann lives in Oslo.")
        theirs = plain(input_ids=torch.tensor([ids])).logits[0].argmax(-1).tolist()
        assert [plain.config.id2label[i] for i in theirs].count("B-place") == 1


def test_the_loss_is_that_of_torch() -> None:
    """Weighted cross-entropy, document by document, with what is outside of entities counting less."""
    model = zoo.tiny("bert", head="tagger")
    from contracts.loops import documents_for

    documents = documents_for(Tag(), 5)
    (batch,) = cut(documents, rows="padded")
    loss = Tag(outside=0.25).loss(model, batch)
    total = weight = 0.0
    for document in documents:
        logits = model(input_ids=torch.tensor(document.ids[None], dtype=torch.long)).logits[0]
        target = torch.tensor(document.label)
        importance = torch.tensor([0.25, 1.0, 1.0])
        cross_entropy = torch.nn.functional.cross_entropy
        summed = cross_entropy(logits, target, weight=importance, reduction="sum", ignore_index=-100)
        total += float(summed.detach())
        weight += sum(float(importance[t]) for t in document.label if t != -100)
    assert float(loss.total.detach()) == pytest.approx(total, rel=1e-4)
    assert loss.weight == pytest.approx(weight)


def test_a_measure_for_another_head_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = zoo.tiny_folder(tmp_path / "base", "bert")
    with pytest.raises(RecipeError, match="accuracy needs a model that is a classifier"):
        recipe_of(tmp_path, folder, evaluate=["accuracy"])
    with pytest.raises(RecipeError, match="span_f1 needs a model that is a tagger"):
        recipe_of(tmp_path, folder, objective="classify")
