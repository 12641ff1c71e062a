"""Mixing, augmenting and attacking: shares over 100,000 records, accuracy on 200 labelled records, texts that fool a classifier.

    python bench/_data_mixture.py ../shared/data [mixture | augment | tuned | adversarial]

Two students learn from the small sets: TF-IDF with logistic regression (which is blind to the order of words), and base:tiny
tuned whole. The tables of synonyms are everyday ones, written down here as a user would, before anything was measured.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from _rows import row

from seektune import recipe, recipe_yaml
from seektune.contracts import Document
from seektune.data.origins import Origins
from seektune.data.tokens import Tokens
from seektune.sources.mixture import Mixture
from seektune.stages._edits import MARK
from seektune.stages._words import words
from seektune.stages._work import Work, equip, work_of
from seektune.stages.adversarial import Adversarial
from seektune.stages.augment import Augment

Figure = dict[str, Any]
SEEDS = (1, 2, 3, 4, 5)
FEW = 200
ENGLISH = """
good fine decent solid; great wonderful superb excellent terrific; bad poor lousy weak; awful terrible horrible dreadful; movie film picture;
funny amusing comic humorous; boring dull tedious tiresome; story tale plot; actor performer player; big large huge; small little minor;
smart clever bright intelligent; silly foolish stupid; beautiful lovely gorgeous; ugly hideous; love adore; hate detest loathe;
fast quick rapid; slow sluggish; strange odd weird peculiar; scary frightening chilling; sad sorrowful mournful; happy glad cheerful;
fresh new novel; old dated stale; rich lavish; moving touching affecting; powerful forceful strong; feeble flimsy; charming delightful engaging;
annoying irritating grating; interesting intriguing absorbing; entertaining enjoyable pleasing; perfect flawless; mess muddle; make create produce;
show display present; watch see view; end finish close; begin start open; often frequently; always constantly; never hardly; very quite truly really;
nearly almost; enough sufficient; attempt try effort; work piece; director filmmaker; audience viewers crowd; scene moment sequence; emotional heartfelt;
"""
CHINESE = """
好 不错 挺好; 很好 非常好 相当好; 差 糟糕 不好; 很差 太差 非常差; 喜欢 喜爱 爱; 讨厌 反感; 酒店 宾馆 旅馆; 房间 客房 屋子; 服务 招待; 服务员 工作人员; 干净 整洁 清洁; 脏 肮脏;
便宜 实惠 低廉; 贵 昂贵; 快 迅速; 慢 缓慢; 漂亮 好看 美观; 难看 丑; 方便 便利; 麻烦 繁琐; 问题 毛病; 质量 品质; 感觉 觉得; 满意 称心; 失望 扫兴; 推荐 建议; 购买 买; 书 书籍;
内容 文字; 作者 写作者; 电脑 机器 本子; 屏幕 显示屏; 声音 噪音; 安静 清静; 吵 嘈杂; 热情 亲切; 冷淡 冷漠; 舒服 舒适; 非常 十分 特别; 太 过于; 总是 老是; 有点 有些; 但是 不过 可是; 因为 由于; 所以 因此; 早餐 早饭; 位置 地点; 时候 时间;
"""
SETS: dict[str, tuple[str, str, str]] = {
    "cls_sst2": ("train.jsonl", "dev.jsonl", ENGLISH),
    "cls_chnsenticorp": ("train.jsonl", "test.jsonl", CHINESE),
}


def figures(folder: Path) -> list[Figure]:
    return [*mixed(folder), *augmented(folder), *tuned(folder), *attacked(folder)]


# ---- the mixture ----


def mixed(folder: Path) -> list[Figure]:
    """Largest departure of a share from what was asked, over all windows of 1,000 among the first 100,000 records."""
    found, counts, weights = [], [70_000, 3_000, 800], (7.0, 2.0, 1.0)
    arrays = {"records": np.arange(sum(counts)), "pieces": np.zeros(sum(counts), np.int32)}
    for at_end in ("repeat", "stop"):
        began = time.perf_counter()
        tokens = _Counted(arrays, {})
        tokens.origins = Origins(np.repeat([0, 1, 2], counts), ("base", "domain", "task"), weights)
        source = Mixture(at_end=at_end)  # type: ignore[arg-type]
        source.open(tokens, batch_size=32, unit=1, seed=17)
        batches = [[d.record for d in batch.documents] for batch in islice(source, 100_000 // 32 + 64)]
        which = tokens.origins.of_records[np.concatenate(batches)[:100_000]]
        taken = np.concatenate([np.zeros((1, 3)), np.cumsum(which[:, None] == np.arange(3), axis=0)])
        error = float(np.abs((taken[1000:] - taken[:-1000]) / 1000 - np.array(weights) / sum(weights)).max())
        data = f"100,000 draws of {counts[0]:,} : {counts[1]:,} : {counts[2]:,} records, 7 : 2 : 1"
        what = f"largest error of a share in a window of 1,000, at_end {at_end}"
        found.append(row("mixture", what, round(error, 5), data, began, "<= 0.01", error <= 0.01))
    return found


class _Counted(Tokens):
    """Documents of two tokens each, that are made when they are asked for."""

    def _document(self, number: int) -> Document:
        return Document(np.array([1, 2], np.int32), np.ones(2, np.float32), number)


# ---- augmentation, a student that counts words ----


def augmented(folder: Path) -> list[Figure]:
    """Accuracy of TF-IDF and logistic regression on 200 records, with four changed copies of each and without."""
    found = []
    for name in SETS:
        began = time.perf_counter()
        train, held = read(folder, name)
        with tempfile.TemporaryDirectory() as place:
            stage = Augment(table=table(Path(place), name), copies=4)
            runs = [_counted(_few(train, seed), held, stage, seed) for seed in SEEDS]
        data = f"{name}: {FEW} records, 5 seeds, {len(held):,} held out"
        plain, more = ([run[i] for run in runs] for i in (0, 1))
        found.append(
            row(
                "augment",
                "accuracy, TF-IDF + logistic: without → with copies",
                _both(plain, more),
                data,
                began,
                "more with than without",
                statistics.mean(more) > statistics.mean(plain),
            )
        )
    return found


def _counted(few: list[dict[str, Any]], held: list[dict[str, Any]], stage: Augment, seed: int) -> tuple[float, float]:
    equip(stage, Work(seed))
    return _accuracy(few, held), _accuracy(list(stage(few)), held)


def _accuracy(train: list[dict[str, Any]], held: list[dict[str, Any]]) -> float:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    counter = TfidfVectorizer(analyzer=lambda text: words(text.lower()), sublinear_tf=True)
    student = LogisticRegression(C=10, max_iter=500).fit(
        counter.fit_transform([r["text"] for r in train]), [r["label"] for r in train]
    )
    said = student.predict(counter.transform([r["text"] for r in held]))
    return float(np.mean(said == np.array([r["label"] for r in held])))


# ---- augmentation, a student that is a model ----


def tuned(folder: Path) -> list[Figure]:
    """Accuracy of base:tiny after the same steps on 200 records as they are, and made anew in each epoch."""
    name, found, began = "cls_sst2", list[tuple[float, float]](), time.perf_counter()
    train, held = read(folder, name)
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as text:
            place = Path(text)
            anew = [{"kind": "augment", "per_epoch": True, "table": table(place, name)}]
            both = [
                student(place / kind, _few(train, seed), held[:400], seed, stages, 8)[1]
                for kind, stages in (("plain", []), ("anew", anew))
            ]
            found.append((both[0], both[1]))
    plain, more = ([run[i] for run in found] for i in (0, 1))
    data = f"{name}: {FEW} records, 8 epochs, 5 seeds, 400 held out"
    return [
        row(
            "augment",
            "accuracy, base:tiny: without → anew in each epoch",
            _both(plain, more),
            data,
            began,
            "more with than without",
            statistics.mean(more) > statistics.mean(plain),
        )
    ]


def student(
    place: Path, train: list[dict[str, Any]], held: list[dict[str, Any]], seed: int, stages: list[Any], epochs: int
) -> tuple[Path, float]:
    """(run folder, accuracy) of base:tiny tuned whole to tell the labels apart."""
    place.mkdir(parents=True)
    _write(place / "train.jsonl", train)
    _write(place / "held.jsonl", held)
    values = {
        "name": "student", "seed": seed, "model": "base:tiny", "data": {"train": [{"path": "train.jsonl", "stages": stages}], "valid": {"path": "held.jsonl"}, "max_length": 64},
        "tuner": "full", "objective": "classify", "optimizer": {"kind": "adamw", "learning_rate": 3e-4}, "evaluate": [{"kind": "accuracy"}],
        "train": {"epochs": epochs, "batch_size": 16, "precision": "float32"},
    }  # fmt: skip
    (place / "recipe.yaml").write_text(recipe_yaml.dump(values), encoding="utf-8")
    with contextlib.chdir(place), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run = recipe.load("recipe.yaml").run()
        return place / run.path, run.read("report.json")["after"]["accuracy"]["value"]


# ---- the attack ----


def attacked(folder: Path) -> list[Figure]:
    """Share of the texts that base:tiny, tuned on 2,000 records, gets right, and that have a neighbour it gets wrong."""
    began = time.perf_counter()
    train, held = read(folder, "cls_sst2")
    with tempfile.TemporaryDirectory() as text:
        path, accuracy = student(Path(text) / "judge", train[:2000], held[:400], 1, [], 2)
        stage = Adversarial(model=str(path))
        equip(stage, Work())
        made = [record for record in stage(held[400:700]) if MARK in record]
        facts = work_of(stage).facts
    share = round(facts["flipped"] / facts["attacked"], 4)
    data = (
        f"cls_sst2: 300 held-out texts, {facts['attacked']} of which a classifier of accuracy {accuracy:.3f} gets right"
    )
    mean = round(statistics.mean(record["words_changed"] for record in made), 2) if made else None
    return [
        row("adversarial", "share flipped (epsilon 0.1, 5 steps, at most 20 % of the words)", share, data, began),
        row("adversarial", "words changed, on the mean", mean, data, began),
    ]


# ---- what they share ----


def read(folder: Path, name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(training records shuffled, held-out ones), with labels as text."""
    parts = []
    for file in SETS[name][:2]:
        lines = (folder / name / file).read_text(encoding="utf-8").splitlines()
        parts.append([{"text": r["text"], "label": str(r["label"])} for r in map(json.loads, lines)])
    random.Random(0).shuffle(parts[0])
    random.Random(0).shuffle(parts[1])
    return parts[0], parts[1]


def _few(train: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    return random.Random(seed).sample(train, FEW)


def table(place: Path, name: str) -> str:
    """The groups of synonyms as a table; each word of a group may stand for the others."""
    groups = [group.split() for group in SETS[name][2].replace("\n", " ").split(";") if group.strip()]
    rows = [[word, *(other for other in group if other != word)] for group in groups for word in group]
    path = place / f"{name}.csv"
    path.write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _both(plain: list[float], more: list[float]) -> str:
    """Means, and the standard deviation over the seeds."""
    return " → ".join(f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}" for values in (plain, more))


PARTS: dict[str, Callable[[Path], list[Figure]]] = {
    "mixture": mixed,
    "augment": augmented,
    "tuned": tuned,
    "adversarial": attacked,
}


def chosen(names: list[str]) -> Iterator[Callable[[Path], list[Figure]]]:
    yield from (PARTS[name] for name in names or PARTS)


if __name__ == "__main__":
    for part in chosen(sys.argv[2:]):
        for line in part(Path(sys.argv[1])):
            print(json.dumps(line, ensure_ascii=False), flush=True)
