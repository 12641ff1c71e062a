"""Figures of select, stratify and gate on real records: `python bench/_data_selection.py ../shared/data` prints JSON rows."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _rows import row

from seektune.contracts import Record
from seektune.data.options import Input
from seektune.data.stream import Found, stream
from seektune.stages._lengths import dispersion
from seektune.stages._texts import text_of
from seektune.stages._trust import estimated
from seektune.stages._words import words
from seektune.stages._work import Work, work_of
from seektune.stages.select import Select
from seektune.stages.stratify import Stratify

EXAMPLES, MIXED = 200, 1000  # of a target; of the domain and of general text in a mixture
MIXTURES = [
    ("pair_afqmc/train.jsonl", "text_web_zh/cluecorpus_small.txt"),
    ("pair_afqmc/train.jsonl", "instruct_zh_alpaca/alpaca_zh.jsonl"),
    ("cls_finnews_zh/finnews.jsonl", "text_web_zh/cluecorpus_small.txt"),
    ("instruct_zh_medical/medical_zh.jsonl", "text_web_zh/cluecorpus_small.txt"),
    ("cls_banking77/train.jsonl", "text_c4_en/c4.jsonl"),
    ("cls_banking77/train.jsonl", "instruct_en_alpaca/alpaca_en.jsonl"),
]
RULES: dict[str, dict[str, Any]] = {
    "distance < 0.3": {}, "best N": {"best": MIXED}, "distance: auto": {"distance": "auto"},
}  # fmt: skip
CLASSES = [("cls_banking77/train.jsonl", "label"), ("cls_chnsenticorp/train.jsonl", "label"), ("cls_tnews/train.jsonl", "label"),
           ("cls_cold/train.jsonl", "topic"), ("cls_finnews_zh/finnews.jsonl", "length")]  # fmt: skip
LABELS = ["cls_banking77/train.jsonl", "cls_chnsenticorp/train.jsonl", "cls_cold/train.jsonl", "cls_sst2/train.jsonl"]
FLIPPED = (0.0, 0.05, 0.1, 0.2)
LENGTHS = [
    "cls_banking77/train.jsonl",
    "cls_chnsenticorp/train.jsonl",
    "cls_tnews/train.jsonl",
    "instruct_zh_medical/medical_zh.jsonl",
]


def figures(folder: Path) -> list[dict[str, Any]]:
    """A row for each figure; `folder` holds the real data sets."""
    return [*_select(folder), *_stratify(folder), *_labels(folder), *_lengths(folder)]


def _records(path: Path) -> list[Record]:
    return [row for _, row in stream([Input(str(path), stages=[], columns={})], Found()) if isinstance(row, dict)]


def _shuffled(records: list[Record], seed: int = 0) -> list[Record]:
    return [records[i] for i in np.random.default_rng(seed).permutation(len(records))]


def _paragraphs(records: list[Record]) -> list[Record]:
    """Web pages as their paragraphs, so that lengths do not tell the domain."""
    texts = [part.strip() for record in records for part in text_of(record).split("\n")]
    return [{"text": text} for text in texts if len(text) > 20]


def _select(folder: Path) -> Iterator[dict[str, Any]]:
    for domain, general in MIXTURES:
        ours = _shuffled(_records(folder / domain))[: EXAMPLES + MIXED]
        other = _records(folder / general)
        other = _shuffled(_paragraphs(other) if "text_c4" in general else other)[:MIXED]
        mixed = [r | {"_ours": True} for r in ours[EXAMPLES:]] + other
        for name, options in RULES.items():
            began = time.perf_counter()
            kept = _selected(ours[:EXAMPLES], mixed, options)
            found = sum("_ours" in record for record in kept)
            precision, recall = found / len(kept) if kept else 0.0, found / (len(ours) - EXAMPLES)
            yield row("select", f"precision, recall by {name}", [round(precision, 3), round(recall, 3)],
                       f"{domain.split('/')[0]} in {general.split('/')[0]}", began)  # fmt: skip


def _selected(examples: list[Record], mixed: list[Record], options: dict[str, Any]) -> list[Record]:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "target.jsonl"
        target.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in examples), encoding="utf-8")
        return list(Select(str(target), **options)(mixed))


def _stratify(folder: Path) -> Iterator[dict[str, Any]]:
    """The largest relative error of a share, all classes counted."""
    for path, by in CLASSES:
        records = _records(folder / path)
        for shares, size in (("equal", None), ("as_is", len(records) // 2)):
            began = time.perf_counter()
            stage = Stratify(by=by, shares=shares, size=size)  # type: ignore[arg-type]
            out = list(stage(records))
            facts = work_of(stage).facts
            error = facts["largest_error"]["relative"]
            yield row("stratify", f"largest relative error of a share by {by}, {shares}, {len(out):,} of {len(records):,}",
                       error, path.split("/")[0], began, "<= 0.05", error <= 0.05)  # fmt: skip


def _labels(folder: Path) -> Iterator[dict[str, Any]]:
    for path in LABELS:
        records = [r for r in _records(folder / path) if r.get("label") is not None]
        true = [str(r["label"]) for r in records]
        for share in FLIPPED:
            began = time.perf_counter()
            given = _flipped(true, share)
            right = float(np.mean([a == b for a, b in zip(true, given, strict=True)]))
            told = estimated([record | {"label": label} for record, label in zip(records, given, strict=True)], Work())
            value = {"true": round(right, 4), "estimated": told["accuracy"], "classifier": told["classifier"]}
            yield row("gate", f"label accuracy, {share:.0%} flipped", value, path.split("/")[0], began)


def _flipped(labels: list[str], share: float) -> list[str]:
    """A share of the labels, drawn at random, becomes another class."""
    names, random = sorted(set(labels)), np.random.default_rng(3)
    made = list(labels)
    for i in np.flatnonzero(random.random(len(labels)) < share):
        made[i] = str(random.choice([name for name in names if name != labels[i]]))
    return made


def _lengths(folder: Path) -> Iterator[dict[str, Any]]:
    for path in LENGTHS:
        began = time.perf_counter()
        texts = [text_of(record) for record in _records(folder / path)]
        value = {"words": round(dispersion([len(words(t)) for t in texts]), 1),
                 "characters": round(dispersion([len(t) for t in texts]), 1)}  # fmt: skip
        yield row("gate", "variance of lengths / their mean", value, path.split("/")[0], began)


if __name__ == "__main__":
    for row in figures(Path(sys.argv[1])):
        print(json.dumps(row, ensure_ascii=False), flush=True)
