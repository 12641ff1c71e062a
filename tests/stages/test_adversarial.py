"""The attack: its gradient beside autograd's own, flips that plain transformers confirms, and bounds that hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import files_of_adversarial
import numpy as np
import pytest
import torch
import zoo

from seektune.errors import DataError, ModelError
from seektune.stages._attack import Attack, climbed, gradient, opened
from seektune.stages._edits import MARK, pieces
from seektune.stages._work import Work, equip, work_of
from seektune.stages.adversarial import Adversarial

GOOD = ["the lovely company won in {}", "a great market opened near Acme Holdings in {}", "好消息：今年的天气很好 {}"]
BAD = ["the sad company lost in {}", "a poor market closed near Acme Holdings in {}", "坏消息：今年的天气不好 {}"]
ROWS = [
    {"text": text.format(1990 + i), "label": label}
    for i in range(6)
    for label, texts in (("good", GOOD), ("bad", BAD))
    for text in texts
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    pairs = [(row["text"], row["label"]) for row in ROWS]
    return str(files_of_adversarial.classifier(tmp_path_factory.mktemp("model") / "judging", pairs, steps=30))


@pytest.fixture(scope="module")
def attack(model: str) -> Attack:
    return opened(model, 0.0)


def run(model: str, rows: list[dict[str, Any]] = ROWS, **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    stage = Adversarial(**({"model": model, "epsilon": 0.3, "changed": 0.5} | options))
    equip(stage, Work())
    out = [record for record in stage(rows) if MARK in record]
    return out, work_of(stage).report()


def plain(model: str, texts: list[str]) -> list[str]:
    """What transformers itself says, one text at a time."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer, classifier = (
        AutoTokenizer.from_pretrained(model),
        AutoModelForSequenceClassification.from_pretrained(model),
    )
    with torch.no_grad():
        found = [classifier(**tokenizer(text, return_tensors="pt")).logits.argmax(-1).item() for text in texts]
    return [classifier.config.id2label[i] for i in found]


def test_the_gradient_is_that_of_autograd(attack: Attack) -> None:
    model: Any = attack.engine.model
    ids = np.array(attack.engine.renderer.encode(ROWS[0]["text"]), np.int32)
    start = attack.embedded(ids)
    reference = start.clone().requires_grad_()
    logits = model(inputs_embeds=reference[None]).logits.float()
    (-logits.log_softmax(-1)[0, 1]).backward()
    assert reference.grad is not None
    assert torch.allclose(gradient(model, ids, 1, start), reference.grad, rtol=1e-4, atol=1e-6)
    moved = climbed(model, ids, 1, start, 0.1, 1)
    expected = start + 0.1 * start.norm() * reference.grad / reference.grad.norm()
    assert torch.allclose(moved, expected, rtol=1e-4, atol=1e-6)


def test_the_climb_raises_the_loss(attack: Attack) -> None:
    model: Any = attack.engine.model
    for row in ROWS[:6]:
        ids = np.array(attack.engine.renderer.encode(row["text"]), np.int32)
        label, start = attack.engine.labels.index(row["label"]), attack.embedded(ids)
        losses = []
        for steps in (0, 1, 5):
            moved = climbed(model, ids, label, start, 0.1, steps)
            with torch.no_grad():
                losses.append(-model(inputs_embeds=moved[None]).logits.log_softmax(-1)[0, label].item())
        assert losses[0] < losses[1] < losses[2]


def test_flips_are_real_and_keep_the_label(model: str) -> None:
    out, report = run(model)
    assert len(out) == report["flipped"] == report["added"] > 3
    assert report["attacked"] + report["wrong_already"] == len(ROWS)
    said = plain(model, [record["text"] for record in out])
    assert said == [record["answered"] for record in out]
    assert all(answer != record["label"] for answer, record in zip(said, out, strict=True))
    assert {record[MARK] for record in out} == {"adversarial"}


def test_both_languages_are_attacked(model: str) -> None:
    out, _ = run(model, changed=0.9, distance=2.0, epsilon=0.5)
    chinese = [record for record in out if "天" in record["text"] or "消息" in record["text"] or "年" in record["text"]]
    assert chinese
    assert len(out) > len(chinese)


@pytest.mark.parametrize("changed", [0.1, 0.3, 0.9])
def test_no_more_words_change_than_are_allowed(model: str, changed: float) -> None:
    out, _ = run(model, changed=changed, rows=[row for row in ROWS if row["text"].isascii()])
    for record in out:
        origin = min(
            (row["text"] for row in ROWS if row["label"] == record["label"]), key=lambda t: differing(t, record["text"])
        )
        free = sum(piece.free for piece in pieces(origin)[0])
        assert 1 <= differing(origin, record["text"]) == record["words_changed"] <= max(1, changed * free)


def differing(one: str, other: str) -> int:
    a, b = one.split(), other.split()
    return sum(x != y for x, y in zip(a, b, strict=True)) if len(a) == len(b) else 99


def test_the_distance_is_that_of_mean_embeddings_and_a_bound(model: str, attack: Attack) -> None:
    rows = [row for row in ROWS if row["text"].isascii()]
    out, _ = run(model, rows)
    record = out[0]
    origin = min(
        (row["text"] for row in rows if row["label"] == record["label"]), key=lambda t: differing(t, record["text"])
    )
    table = attack.engine.model.get_input_embeddings().weight.detach().numpy()  # type: ignore[operator]
    one, two = (table[attack.engine.renderer.tokenizer.encode(text).ids].mean(0) for text in (origin, record["text"]))
    expected = 1 - float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))
    assert record["distance"] == pytest.approx(expected, abs=1e-4)
    largest = max(record["distance"] for record in out)
    nearer, _ = run(model, rows, distance=largest - 2e-4)
    assert all(record["distance"] <= largest - 1e-4 for record in nearer)
    assert len(nearer) < len(out)


def test_names_and_numbers_stay(model: str) -> None:
    out, _ = run(model, changed=0.9, distance=2.0, epsilon=0.5)
    assert any("Acme Holdings" in record["text"] for record in out)
    for record in out:
        assert any(str(1990 + i) in record["text"] for i in range(6))
        assert ("market" not in record["text"] and "near" not in record["text"]) or "Acme Holdings" in record["text"]


def test_what_it_cannot_attack_is_told(model: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"label 'ugly', which .* does not have; expected one of bad, good"):
        run(model, [{"text": "the company won", "label": "ugly"}])
    zoo.tiny_folder(tmp_path / "lm")
    with pytest.raises(ModelError, match="a language model, which has no classes"):
        run(str(tmp_path / "lm"))
    out, report = run(model, [{"text": "no label"}, {"label": "good"}, {"text": "2024", "label": "good"}])
    assert out == []
    assert report["without_label"] == 2
    assert report["kept"] == 3


def test_records_of_a_pipeline_are_marked(model: str, tmp_path: Path) -> None:
    from seektune import pipeline

    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "p.yaml").write_text(
        f"input: [{{path: a.jsonl}}]\nstages: [{{kind: adversarial, model: {model}, epsilon: 0.3, changed: 0.5}}]\noutput: b.jsonl\n"
    )
    card = pipeline.run(pipeline.load(tmp_path / "p.yaml"), tmp_path / "cache")
    rows = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    made = [row for row in rows if MARK in row]
    assert len(made) == card["stages"][0]["added"] > 3
    assert len(rows) == len(ROWS) + len(made)
