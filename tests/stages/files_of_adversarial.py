"""Tiny classifiers that have learnt the labels of the contract tests' records by heart; the words are those of base:tiny."""

from __future__ import annotations

import json
from pathlib import Path

import torch


def files(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "stages.jsonl").read_text().splitlines()]
    pairs = [(row["messages"][0]["content"], row["label"]) for row in rows]
    classifier(folder / "judging", pairs)
    classifier(folder / "other_judging", pairs, seed=1)


def classifier(folder: Path, pairs: list[tuple[str, str]], seed: int = 0, steps: int = 40) -> Path:
    """A Qwen2 of one layer, trained on (text, label)."""
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForSequenceClassification

    from seektune.models import load

    tokenizer = AutoTokenizer.from_pretrained(load.folder_of(load.Model("base:tiny")))
    labels = sorted({label for _, label in pairs})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
            num_labels=len(labels), id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)},
            pad_token_id=tokenizer.pad_token_id, initializer_range=0.3,
        )  # fmt: skip
        model = Qwen2ForSequenceClassification(config)
    given = tokenizer([text for text, _ in pairs], padding=True, return_tensors="pt")
    wanted = torch.tensor([labels.index(label) for _, label in pairs])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=given["input_ids"], attention_mask=given["attention_mask"], labels=wanted).loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
