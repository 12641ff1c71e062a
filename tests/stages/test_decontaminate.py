"""Shares against a count over sets of tuples; what is told of each evaluation set; unfit files."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from seektune import pipeline
from seektune.errors import DataError
from seektune.stages._evaluation import read
from seektune.stages._overlap import COMMON, Index, units
from seektune.stages._work import PLACE, Work, equip, work_of
from seektune.stages.decontaminate import Decontaminate

PASSAGE = "The river Congo is the deepest river of the world, and the second longest of Africa after the Nile."
ABSATZ = "公司第一季度的利润比上年增长百分之五，主要原因是海外市场的收入增加，管理费用下降。"


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def through(stage: Decontaminate, texts: list[Any]) -> tuple[list[Any], dict[str, Any], list[Any]]:
    records = [
        (row if isinstance(row, dict) else {"text": row}) | {PLACE: f"a.jsonl:{i}"} for i, row in enumerate(texts, 1)
    ]
    out = list(stage(records))
    return out, stage.report(), work_of(stage).counts.lost


def tuples(texts: list[str], n: int) -> set[tuple[str, ...]]:
    """Runs of words by slicing lists: the independent count."""
    found = set()
    for text in texts:
        words = re.findall(r"[\u4e00-\u9fff]|[a-z0-9]+", text.lower())
        found |= {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}
    return found


def test_a_question_is_found_without_its_answer() -> None:
    index = Index.of([[PASSAGE, ABSATZ + ABSATZ[::-1], "short"]], 8)
    assert (
        index.find([[PASSAGE, "an answer of our own which is as long as it is because it says a lot of things"]])[
            0
        ].share
        == 1.0
    )  # type: ignore[union-attr]
    assert index.find([["short"]]) == [None]


def test_words_and_chinese_characters() -> None:
    assert units("Profit of 1.5亿元, it's ＡＢ_c") == ["profit", "of", "1", "5", "亿", "元", "it", "s", "ab", "c"]


@pytest.mark.parametrize("n", [2, 3, 8])
def test_shares_are_those_of_sets_of_tuples(n: int) -> None:
    numbers = random.Random(n)
    words = ["river", "town", "profit", "year", "公", "司", "利", "润", "north", "west"]

    def text() -> str:
        return " ".join(numbers.choices(words, k=numbers.randrange(10, 40)))

    sets = [[text() + " " + text()] for _ in range(12)]
    batch = [[text()] for _ in range(30)] + [[sets[3][0][5:]], [sets[4][0] + " and " + text()]]
    found = Index.of(sets, n).find(batch)
    for texts, hit in zip(batch, found, strict=True):
        mine = tuples(texts, n)
        shares = []
        for other in (tuples(one, n) for one in sets):
            shares.append(len(mine & other) / min(len(mine), len(other)))
        assert (hit.share if hit else 0) == pytest.approx(max(shares))
        if hit:
            assert shares[hit.owner] == pytest.approx(max(shares))


def test_what_contains_and_what_is_contained_goes(tmp_path: Path) -> None:
    against = write(tmp_path / "evaluation.jsonl", [{"question": PASSAGE}, {"question": ABSATZ}])
    texts = [f"As an old book says: {PASSAGE.upper()} So it goes on and on, for many more words than that.", PASSAGE[: PASSAGE.index(",")], "An own text about other things and without any copy.",
             f"请回答：{ABSATZ}谢谢。", ABSATZ[2:20], "公司第一季度的天气很好，没有下雨，也没有刮风。"]  # fmt: skip
    out, report, lost = through(Decontaminate(against=against), texts)
    assert [record["text"] for record in out] == [texts[2], texts[5]]
    assert [line["detail"] for line in lost] == [f"evaluation.jsonl:{i} (share 1.00)" for i in (1, 1, 2, 2)]
    assert report["evaluation_sets"] == {"evaluation.jsonl": {"records": 2, "found": 2, "dropped": 4, "unfit": 0}}
    assert report["reasons"] == {"overlaps with evaluation.jsonl": 4}


def test_short_records_go_where_they_are_the_same(tmp_path: Path) -> None:
    against = write(
        tmp_path / "e.jsonl", [{"text": "Card lost!"}, {"text": "很好"}, {"question": "2 + 2?", "answer": "4"}]
    )
    texts = ["card lost", "my card is lost", "很好。", "很好吃", {"messages": [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]}]  # fmt: skip
    out, _, _ = through(Decontaminate(against=against), texts)
    assert [record["text"] for record in out] == ["my card is lost", "很好吃"]


def test_two_processes_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    against = write(tmp_path / "e.jsonl", [{"question": PASSAGE}, {"question": ABSATZ}])
    texts = [*[f"own text {i} of nothing in particular" for i in range(40)], PASSAGE, ABSATZ] * 2
    alone = through(Decontaminate(against=against), texts)
    monkeypatch.setattr("seektune.stages.decontaminate.WORTH_PROCESSES", 8)
    monkeypatch.setattr("seektune.stages.decontaminate.BATCH", 8)
    both = Decontaminate(against=against)
    equip(both, Work(processes=2))
    assert through(both, texts) == alone


def test_system_turns_are_no_overlap(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": PASSAGE},
        {"role": "user", "content": "one two three four five six seven eight"},
    ]
    against = write(tmp_path / "e.jsonl", [{"messages": turns}])
    other = [turns[0], {"role": "user", "content": "eight seven six five four three two one"}]
    out, _, _ = through(Decontaminate(against=against), [{"messages": other}, {"messages": turns[1:]}])
    assert [record["messages"] for record in out] == [other]
    assert read({"conversations": [{"from": "system", "value": "a"}, {"from": "human", "value": "b"}]}) == ["b"]


def test_a_phrase_of_the_whole_set_is_no_overlap() -> None:
    phrase = "choose the best answer for the following multiple choice question"
    sets = [[f"{phrase} number {i} of our set about {i * 7} rivers in town {i * 3}"] for i in range(COMMON + 5)]
    index = Index.of([*sets, [phrase]], 8)
    assert index.find([[f"{phrase} which is our own and has nothing of theirs"]]) == [None]
    assert index.find([sets[4]])[0].owner == 4  # type: ignore[union-attr]
    assert index.find([[phrase]])[0].owner == COMMON + 5  # type: ignore[union-attr]


def test_several_files_and_two_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = (
        write(tmp_path / "a" / "test.jsonl", [{"text": PASSAGE}]),
        write(tmp_path / "b" / "test.jsonl", [{"text": ABSATZ}, 5]),
    )
    _, report, lost = through(Decontaminate(against=[one, two]), [ABSATZ, "an own text"])
    assert report["evaluation_sets"] == {
        one: {"records": 1, "found": 0, "dropped": 0, "unfit": 0}, two: {"records": 1, "found": 1, "dropped": 1, "unfit": 1}}  # fmt: skip
    assert lost[0]["detail"] == f"{two}:1 (share 1.00)"


def test_a_set_without_texts_and_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"e\.jsonl: no record with a text; expected an evaluation set"):
        through(Decontaminate(against=write(tmp_path / "e.jsonl", [{"a": 1}])), ["x"])
    with pytest.raises(DataError, match=r"f\.jsonl: no such file"):
        through(Decontaminate(against=str(tmp_path / "f.jsonl")), ["x"])


def test_a_pipeline_finds_lists_of_files_beside_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sets").mkdir()
    write(tmp_path / "sets" / "e.jsonl", [{"text": PASSAGE}])
    write(tmp_path / "in.jsonl", [{"text": PASSAGE}, {"text": "an own text of a few words"}])
    (tmp_path / "p.yaml").write_text(
        "input: [{path: in.jsonl}]\nstages: [{kind: decontaminate, against: [sets/e.jsonl]}]\noutput: out.jsonl\n"
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    card = pipeline.run(pipeline.load(tmp_path / "p.yaml"), tmp_path / "cache")
    assert card["stages"][0]["evaluation_sets"]["e.jsonl"]["found"] == 1
    assert [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        "an own text of a few words"
    ]


def test_reviews_in_train_and_test_are_found(shared_data: Path) -> None:
    """131 texts stand in both (the set's README)."""
    folder = shared_data / "cls_chnsenticorp"
    train, test = ([json.loads(line)["text"] for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()] for name in ("train", "test"))  # fmt: skip
    out, report, _ = through(Decontaminate(against=str(folder / "test.jsonl")), train)
    both = set(train) & set(test)
    assert len(both) == 131
    assert both.isdisjoint(record["text"] for record in out)
    assert report["evaluation_sets"]["test.jsonl"]["found"] >= 131
