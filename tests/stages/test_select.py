"""Near and far records, compared with scikit-learn's own TF-IDF and cosine."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_distances

from seektune.errors import DataError
from seektune.stages._tfidf import terms
from seektune.stages._work import Work, equip, work_of
from seektune.stages.select import Select

CARDS = [
    "My card has not arrived yet.",
    "When will the new card arrive?",
    "信用卡的额度怎么提高",
    "花呗账单什么时候还款",
]
RECORDS = [
    "The card has not arrived.",
    "信用卡额度可以提高吗",
    "The river runs north of the town.",
    "昨天下了一场大雨，河水涨了。",
    "花呗账单什么时候还款？",
    "",
    "!!!",
]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return written(tmp_path / "target.jsonl", CARDS)


def written(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    return path


def run(texts: list[str], **options: Any) -> tuple[list[dict[str, Any]], Work]:
    stage = Select(**{name: str(v) if name == "target" else v for name, v in options.items()})
    return list(stage([{"text": text} for text in texts])), work_of(stage)


def by_sklearn(to: str) -> np.ndarray:
    rows = TfidfVectorizer(analyzer=terms).fit_transform([*RECORDS, *CARDS])
    records, cards = rows[: len(RECORDS)], rows[len(RECORDS) :]
    if to == "nearest":
        return cosine_distances(records, cards).min(1)
    return cosine_distances(records, np.asarray(cards.mean(axis=0))).ravel()


@pytest.mark.parametrize("to", ["nearest", "centre"])
def test_distances_are_those_of_sklearn(to: str, target: Path) -> None:
    out, _ = run(RECORDS, target=target, best=7, to=to, add="far")
    assert [record["far"] for record in out] == pytest.approx(by_sklearn(to).tolist(), abs=1e-4)


def test_keeps_what_is_nearer_than_the_bound(target: Path) -> None:
    out, work = run(RECORDS, target=target, distance=0.7)
    assert [r["text"] for r in out] == [t for t, d in zip(RECORDS, by_sklearn("nearest"), strict=True) if d < 0.7]
    assert [r["text"] for r in out] == [RECORDS[0], RECORDS[1], RECORDS[4]]
    assert work.counts.reasons == {"0.7 or further from the target": 4}
    assert work.counts.lost[-1]["detail"] == "distance 1.000"


def test_three_tenths_where_nothing_is_asked(target: Path) -> None:
    assert [r["text"] for r in run(RECORDS, target=target)[0]] == [RECORDS[4]]
    assert run(RECORDS, target=target)[1].facts["bound"] == 0.3


def test_the_best_in_their_own_order(target: Path) -> None:
    out, work = run(RECORDS[::-1], target=target, best=3)
    assert [r["text"] for r in out] == [RECORDS[4], RECORDS[1], RECORDS[0]]
    assert work.counts.reasons == {"not among the 3 nearest": 4}
    assert len(run(RECORDS, target=target, best=2, distance=0.3)[0]) == 1  # both hold
    assert len(run(["a b"] * 9, target=target, best=4)[0]) == 4  # of equal ones the first


def test_auto_takes_its_bound_from_the_examples(target: Path) -> None:
    rows = TfidfVectorizer(analyzer=terms).fit_transform([*RECORDS, *CARDS])[len(RECORDS) :]
    among = cosine_distances(rows)
    np.fill_diagonal(among, 1)
    _, work = run(RECORDS, target=target, distance="auto")
    assert work.facts["bound"] == pytest.approx(np.quantile(among.min(1), 0.9), abs=1e-4)


def test_the_centre_of_the_others(target: Path) -> None:
    rows = TfidfVectorizer(analyzer=terms).fit_transform([*RECORDS, *CARDS])[len(RECORDS) :].toarray()
    apart = [cosine_distances(rows[[i]], np.delete(rows, i, 0).mean(0)[None])[0, 0] for i in range(len(rows))]
    _, work = run(RECORDS, target=target, distance=1.0, to="centre")
    assert work.facts["target"]["between"]["50%"] == pytest.approx(np.median(apart), abs=1e-4)


def test_a_folder_and_one_field(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    written(tmp_path / "task" / "a.jsonl", CARDS[:2])
    written(tmp_path / "task" / "b.jsonl", CARDS[2:])
    stage = Select(str(tmp_path / "task"), best=1, column="text")
    given = [{"text": "The river.", "title": CARDS[0]}, {"text": CARDS[0], "title": "The river."}]
    assert list(stage(given)) == given[1:]
    assert work_of(stage).facts["target"]["examples"] == 4


def test_a_target_without_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"number": 3}\n')
    with pytest.raises(DataError, match=r"t\.jsonl: none of 1 rows has text; expected examples of the task"):
        run(RECORDS, target=tmp_path / "t.jsonl")
    with pytest.raises(DataError, match="no such file"):
        run(RECORDS, target=tmp_path / "gone.jsonl")


def test_two_processes_give_the_same(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seektune.stages._tfidf.WORTH_PROCESSES", 4)
    stage = Select(str(target), best=7, add="far")
    equip(stage, Work(processes=2))
    assert list(stage([{"text": text} for text in RECORDS])) == run(RECORDS, target=target, best=7, add="far")[0]


def test_finds_the_domain_in_real_text(tmp_path: Path, shared_data: Path) -> None:
    """200 questions about cards among 200 instructions: what `auto` keeps is nearly all of the domain."""
    lines = (shared_data / "cls_banking77" / "train.jsonl").read_text().splitlines()
    cards = [json.loads(line)["text"] for line in random.Random(0).sample(lines, 400)]
    lines = (shared_data / "instruct_en_alpaca" / "alpaca_en.jsonl").read_text().splitlines()[:200]
    others = [json.loads(line)["instruction"] for line in lines]
    out, _ = run(cards[200:] + others, target=written(tmp_path / "t.jsonl", cards[:200]), distance="auto")
    found = [r["text"] in cards for r in out]
    assert sum(found) / len(found) > 0.9
    assert sum(found) > 0.8 * 200
