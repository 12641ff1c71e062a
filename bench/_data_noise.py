"""Noise: every fifth label of two real sets is made wrong. What does `filter_noise` find, and what does a model gain by it?

    python bench/_data_noise.py ../shared/data [--tiny] [SET ...]

Two students learn from dirty, cleaned and clean records and are tested on the real test records: TF-IDF with logistic
regression, and (`--tiny`, some ten minutes) base:tiny with `objective: classify`, the same number of steps each time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seektune.stages import _trust
from seektune.stages._work import Work, equip
from seektune.stages.filter_noise import FilterNoise

SEED = 7
FLIPPED = 0.2
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Set:
    """A set of labelled texts, and how base:tiny is trained on a part of it."""

    name: str
    tiny_train: int  # records
    tiny_test: int
    classes: int  # of them, the first by name, for base:tiny
    steps: int
    max_length: int


SETS = (Set("cls_banking77", 2500, 800, 20, 120, 64), Set("cls_chnsenticorp", 1500, 600, 2, 80, 96))


def figures(folder: Path, tiny: bool = False, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of the table, of some sets where `names` has any; those of base:tiny only where asked for."""
    return list(measured(folder, tiny, names))


def measured(folder: Path, tiny: bool, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The same, as they come."""
    for one in [one for one in SETS if not names or one.name in names]:
        train, test = read(folder / one.name / "train.jsonl"), read(folder / one.name / "test.jsonl")
        dirty = dirtied(train)
        left, seconds = filtered(dirty, column="text")
        yield from of_filter(one.name, dirty, left, seconds)
        yield from returned(one.name, "TF-IDF + logistic", dirty, left, train, test, logistic_accuracy)
        if tiny:
            some, tests = part(train, one, one.tiny_train), part(test, one, one.tiny_test)
            spoilt = dirtied(some)
            learn = lambda rows, test, one=one: tiny_accuracy(rows, test, one)  # noqa: E731
            cleaned = filtered(spoilt, column="text")[0]
            yield from returned(one.name, f"base:tiny on {len(some)} records", spoilt, cleaned, some, tests, learn)


def read(path: Path) -> Rows:
    return [json.loads(line) | {"label": str(json.loads(line)["label"])} for line in path.read_text().splitlines()]


def part(rows: Rows, one: Set, count: int) -> Rows:
    """Seeded: some records of some classes."""
    chosen = sorted({row["label"] for row in rows})[: one.classes]
    rows = [row for row in rows if row["label"] in chosen]
    order = np.random.default_rng(SEED).permutation(len(rows))[:count]
    return [rows[i] for i in order]


def dirtied(rows: Rows) -> Rows:
    """A fifth of the labels made wrong, to any other class alike; `true` holds what they were."""
    classes = sorted({row["label"] for row in rows})
    random = np.random.default_rng(SEED)
    made = list(rows)
    for i in random.permutation(len(rows))[: round(FLIPPED * len(rows))]:
        others = [name for name in classes if name != rows[i]["label"]]
        made[i] = {**rows[i], "label": str(random.choice(others)), "true": rows[i]["label"]}
    return made


def filtered(rows: Rows, **options: Any) -> tuple[Rows, float]:
    """(What is left, seconds)."""
    stage, began = FilterNoise(**options), time.perf_counter()
    equip(stage, Work())
    return list(stage(rows)), round(time.perf_counter() - began, 1)


def of_filter(name: str, dirty: Rows, left: Rows, seconds: float) -> list[dict[str, Any]]:
    wrong = sum("true" in row for row in dirty)
    still = sum("true" in row for row in left)
    dropped = (len(dirty) - wrong) - (len(left) - still)
    said = {"data": f"{name}, {len(dirty):,} records, {wrong:,} labels flipped", "seconds": seconds}
    return [
        row("wrong labels found", 1 - still / wrong, **said),
        row("right labels wrongly dropped", dropped / (len(dirty) - wrong), **said),
        row("wrong labels among what is left", still / len(left), **said),
    ]


def returned(
    name: str, student: str, dirty: Rows, cleaned: Rows, clean: Rows, test: Rows, learn: Any
) -> Iterator[dict[str, Any]]:
    """Accuracy after dirty, cleaned and clean records, and the share of the lost that came back."""
    found, data = dict[str, float](), f"{name}: {student}"
    for kind, records in {"dirty": dirty, "cleaned": cleaned, "clean": clean}.items():
        began = time.perf_counter()
        found[kind] = learn(bare(records), test)
        yield row(f"accuracy, {kind}", found[kind], data=data, seconds=round(time.perf_counter() - began, 1))
    lost = found["clean"] - found["dirty"]
    share = (found["cleaned"] - found["dirty"]) / lost if lost > 0 else float("nan")
    yield row("lost accuracy that came back", share, 0.5, share >= 0.5 if lost > 0 else None, data)


def row(
    figure: str,
    value: float,
    asked: Any = None,
    reached: bool | None = None,
    data: str = "",
    seconds: float | None = None,
) -> dict[str, Any]:
    return {"stage": "filter_noise", "figure": figure, "value": round(value, 4), "asked": asked, "reached": reached,
            "data": data, "seconds": seconds}  # fmt: skip


def bare(rows: Sequence[dict[str, Any]]) -> Rows:
    return [{"text": row["text"], "label": row["label"]} for row in rows]


# Students


def logistic_accuracy(train: Rows, test: Rows) -> float:
    from sklearn.linear_model import LogisticRegression

    features = _trust.Words()
    known = features.fit([row["text"] for row in train])
    model = LogisticRegression(C=10, max_iter=200, tol=1e-3).fit(known, [row["label"] for row in train])
    return float(model.score(features.rows([row["text"] for row in test]), [row["label"] for row in test]))


def tiny_accuracy(train: Rows, test: Rows, one: Set) -> float:
    """base:tiny becomes a classifier, on one core; the last checkpoint is tested."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, rows in (("train", train), ("test", bare(test))):
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / f"{file}.jsonl").write_text(text, encoding="utf-8")
        recipe = {
            "name": "student", "model": {"path": "base:tiny"}, "tuner": {"kind": "full"}, "objective": {"kind": "classify"},
            "data": {"train": [{"path": "train.jsonl"}], "valid": {"path": "test.jsonl"}, "max_length": one.max_length},
            "optimizer": {"kind": "adamw", "learning_rate": 1e-3}, "schedule": {"kind": "cosine", "warmup": 0.1},
            "train": {"steps": one.steps, "batch_size": 32, "device": "cpu"}, "evaluate": [{"kind": "accuracy"}],
        }  # fmt: skip
        (folder / "student.yaml").write_text(json.dumps(recipe))
        done = subprocess.run(
            [sys.executable, "-m", "seektune", "train", "student.yaml"], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode in (0, 1), done.stderr[-2000:]
        report = json.loads((folder / "runs" / "student" / "report.json").read_text())
    return float(report["after"]["accuracy"]["value"])


def main(arguments: list[str]) -> None:
    folder, *names = [argument for argument in arguments if argument != "--tiny"]
    for found in measured(Path(folder), "--tiny" in arguments, names):
        print(json.dumps(found, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
