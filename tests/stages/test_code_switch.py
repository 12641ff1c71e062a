"""Words of the other language: how many, where, how they stand in the text; lexicons given, learnt and broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seektune.errors import DataError
from seektune.stages._words import words
from seektune.stages._work import PLACE, Work, equip
from seektune.stages.code_switch import CodeSwitch, read_lexicon, switched

LEXICON = {"river": [("mto", 1.0)], "town": [("mji", 1.0)], "apples": [("苹果", 1.0)], "喜欢": [("like", 1.0)]}


def run(
    stage: CodeSwitch, records: list[dict[str, Any]], seed: int = 17
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    equip(stage, Work(seed))
    return list(stage(records)), stage.report()


def all_of(text: str) -> str:
    return switched(text, LEXICON, 1.0, np.random.default_rng(0))[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The river, the TOWN.", "The mto, the MJI."),
        ("River 42 town!", "Mto 42 mji!"),
        ("I eat apples.", "I eat 苹果."),
        ("我喜欢你", "我 like 你"),
        ("喜欢", "like"),
        ("nothing known", "nothing known"),
        ("", ""),
    ],
)
def test_what_is_around_the_words_stays(text: str, expected: str) -> None:
    assert all_of(text) == expected


def test_the_share_holds_on_average() -> None:
    """Of the words in all, the fraction in between by chance: 0.2 × 7 words are 1.4 on average."""
    text = "the river the town the river town"
    counts = [switched(text, LEXICON, 0.2, np.random.default_rng(i))[1] for i in range(2000)]
    assert set(counts) == {1, 2}
    assert np.mean(counts) == pytest.approx(1.4, abs=0.04)


def test_translations_are_drawn_by_their_weight() -> None:
    entries = {"bank": [("benki", 3.0), ("ukingo", 1.0)]}
    drawn = [switched("bank", entries, 1.0, np.random.default_rng(i))[0] for i in range(2000)]
    assert drawn.count("benki") / 2000 == pytest.approx(0.75, abs=0.03)


def test_a_lexicon_of_the_users(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.tsv"
    path.write_text("# words\nriver\tmto\n\nTown\tmji\t2\nnew york\tniu york\n", encoding="utf-8")
    stage = CodeSwitch(str(path), share=1.0, column="sw", keep=False)
    out, report = run(stage, [{"sw": "river town", "n": 1}, {"sw": "sea"}, {"n": 2}])
    assert out == [{"sw": "mto mji", "n": 1, "synthetic": "code_switch"}, {"sw": "sea"}, {"n": 2}]
    assert (report["seen"], report["kept"], report["changed"], report["added"]) == (3, 3, 1, 0)
    assert report["words_replaced"] == 2
    assert report["entries_of_several_words"] == 1


def test_the_record_stays_beside_the_switched_one(tmp_path: Path) -> None:
    (tmp_path / "l.tsv").write_text("公司\tcompany\n")
    record = {
        "messages": [{"role": "user", "content": "公司在哪里？"}, {"role": "assistant", "content": "公司"}],
        PLACE: "a:1",
    }
    out, report = run(CodeSwitch(str(tmp_path / "l.tsv"), share=1.0), [record])
    assert out[0] == record
    assert [turn["content"] for turn in out[1]["messages"]] == ["company 在哪里？", "公司"]
    assert out[1][PLACE] == "a:1"
    assert report["added"] == 1


def test_learnt_from_the_records_themselves() -> None:
    """Every text has a word of its own language for each number; only some are together."""
    swahili, english = ["moja", "mbili", "tatu", "nne", "tano"], ["one", "two", "three", "four", "five"]
    rows = [
        {"sw": f"{swahili[i]} {swahili[j]}", "en": f"{english[j]} {english[i]}"}
        for i in range(5)
        for j in range(5)
        if i != j
    ]
    out, report = run(CodeSwitch(column="sw", other="en", share=1.0, keep=False), rows)
    assert report["entries"] == dict(zip(swahili, english, strict=True))
    assert report["agreement"] == 1.0
    assert [row["sw"] for row in out] == [" ".join(reversed(row["en"].split())) for row in rows]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("river\n", "lexicon.tsv:1: found 'river'; expected word, tab, translation"),
        ("river\tmto\ntown\tmji\tmany\n", "lexicon.tsv:2: could not convert"),
        ("river\tmto\t-1\n", "lexicon.tsv:1: a weight of -1"),
        ("# nothing\n", "lexicon.tsv: holds no entry"),
    ],
)
def test_a_broken_lexicon_is_told_with_its_line(text: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "lexicon.tsv"
    path.write_text(text)
    with pytest.raises(DataError) as told:
        read_lexicon(path, Work())
    assert line in str(told.value)


def test_a_missing_lexicon_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        run(CodeSwitch(str(tmp_path / "none.tsv")), [])


def test_real_swahili_words_find_their_english(shared_data: Path) -> None:
    lines = (shared_data / "mt_en_sw" / "dev.jsonl").read_text(encoding="utf-8").splitlines()[:900]
    rows = [json.loads(line) for line in lines]
    stage = CodeSwitch(column="sw", other="en")
    _out, report = run(stage, rows)
    equip(stage, Work())
    entries = stage._learnt(rows, Work())
    known = {"nchi": "country", "rais": "president", "serikali": "government", "haki": "rights", "polisi": "police"}
    assert {word: entries[word][0][0] for word in known} == known
    assert report["added"] > 0.8 * len(rows)
    total = sum(len(words(row["sw"])) for row in rows)
    assert 0.1 < report["words_replaced"] / total < 0.21


def test_real_chinese_words_find_their_english(shared_data: Path) -> None:
    lines = (shared_data / "mt_en_zh" / "tatoeba_en_zh.jsonl").read_text(encoding="utf-8").splitlines()[:3000]
    entries = CodeSwitch(column="zh", other="en")._learnt([json.loads(line) for line in lines], Work())
    assert entries["她"][0][0] == "she"
    assert entries["我"][0][0] == "i"
