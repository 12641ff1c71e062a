"""Tiny taggers that have learnt by heart which words of the contract tests' records are companies and places."""

from __future__ import annotations

import json
from pathlib import Path

import torch

KINDS = {"company": "company", "公司": "company", "town": "place", "river": "place"}
TAGS = ["O", "B-company", "I-company", "B-place", "I-place"]


def files(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "stages.jsonl").read_text().splitlines()]
    texts = [turn["content"] for row in rows for turn in row["messages"]]
    tagger(folder / "tagger", texts, steps=60)
    tagger(folder / "other_tagger", texts, steps=0)


def tagger(folder: Path, texts: list[str], steps: int) -> Path:
    """A Qwen2 of one layer with a tag for each token."""
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForTokenClassification

    from seektune.models import load

    tokenizer = AutoTokenizer.from_pretrained(load.folder_of(load.Model("base:tiny")))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
            num_labels=len(TAGS), id2label=dict(enumerate(TAGS)), label2id={name: i for i, name in enumerate(TAGS)},
            pad_token_id=tokenizer.pad_token_id, initializer_range=0.3,
        )  # fmt: skip
        model = Qwen2ForTokenClassification(config)
    given = tokenizer(texts, padding=True, return_tensors="pt", return_offsets_mapping=True)
    wanted = torch.tensor(
        [
            [tag_of(text, a, b) for a, b in offsets]
            for text, offsets in zip(texts, given["offset_mapping"].tolist(), strict=True)
        ]
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten()).backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tag_of(text: str, start: int, end: int) -> int:
    """The tag of a piece of a text: where a word begins in it, where one goes on."""
    for word, kind in KINDS.items():
        at = text.find(word)
        while at >= 0:
            if start < at + len(word) and at < end:
                return TAGS.index(f"{'B' if start <= at else 'I'}-{kind}")
            at = text.find(word, at + 1)
    return 0
