"""Pairs made by translating: which are taken, why others are not, how records look afterwards; `pivot` goes the same way."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import files_of_back_translate
import pytest
import sacrebleu

from seektune.contracts import Record
from seektune.passage import Passage
from seektune.stages import _synthetic
from seektune.stages._synthetic import MARK, Making, chrf
from seektune.stages._work import PLACE, Work
from seektune.stages.back_translate import BackTranslate
from seektune.stages.pivot import Pivot

TABLE = {"river": "mto", "town": "mji", "the": "", "north": "kaskazini", "公司": "kampuni", "利润": "faida"}


class Dictionary:
    """A translator word by word that keeps the order; what it does not know it says as it is."""

    def __init__(self, table: dict[str, str]):
        self.table = table
        self.answers = self
        self.asked = 0

    def translate(self, texts: list[str]) -> list[str | None]:
        self.asked += len(texts)
        return [
            None if len(t) > 60 else " ".join(filter(None, (self.table.get(w, w) for w in t.split()))) for t in texts
        ]


def made(records: list[Record], work: Work | None = None, **options: Any) -> tuple[list[Record], dict[str, Any]]:
    there = options.pop("there", [Dictionary(TABLE)])
    work = work or Work()
    out = list(Making("back_translate", work, there, **options).run(records))
    return out, work.report()


def back() -> list[Any]:
    return [Dictionary({there: here for here, there in TABLE.items() if there})]


def test_plain_text_becomes_a_pair_and_what_is_unfit_goes_with_its_reason() -> None:
    rows = [{"en": "river town"}, {"en": "unknown"}, {"en": "the"}, {"en": "  "}, {"en": "x" * 30}, {"en": "mto " * 16}]
    out, report = made(rows, column="en", into="sw", most=70)
    assert out == [{"en": "river town", "sw": "mto mji", MARK: "back_translate"}, {"en": "  "}]
    assert report["reasons"] == {"translated": 1, "the translation repeats the text": 2, "an empty translation": 1,
                                 "longer than the model takes": 1}  # fmt: skip
    assert (report["seen"], report["kept"], report["dropped"], report["changed"]) == (6, 2, 4, 1)
    assert report["translations"]["translated"] == 5
    assert report["translations"]["refused"]["no text to translate"] == 1


def test_a_pair_stays_and_the_made_one_stands_behind_it() -> None:
    rows = [{"en": "river", "sw": "mto", PLACE: "a:1"}, {"en": "unknown", "sw": "haijulikani", PLACE: "a:2"}]
    out, report = made(rows, column="en", into="sw", tag="<made> ")
    assert out == [rows[0], rows[0] | {"sw": "<made> mto", MARK: "back_translate"}, rows[1]]
    assert (report["kept"], report["added"], report["dropped"]) == (2, 1, 0)


def test_only_what_has_no_other_side_is_translated_where_so_asked() -> None:
    rows = [{"en": "river", "sw": "mto"}, {"en": "town"}]
    steps = [Dictionary(TABLE)]
    out, report = made(rows, column="en", into="sw", missing=True, there=steps)
    assert out == [rows[0], {"en": "town", "sw": "mji", MARK: "back_translate"}]
    assert steps[0].asked == 1
    assert report["translations"]["refused"] == {"has both sides": 1}


def test_conversations_and_plain_texts_need_no_columns() -> None:
    chat = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": "river"},
        ]
    }
    out, _ = made([chat, {"text": "公司 利润", "n": 1}, {"messages": [{"role": "assistant", "content": "town"}]}])
    assert out[0] == chat
    assert [turn["content"] for turn in out[1]["messages"]] == ["s", "mto", "river"]
    assert out[2] == {
        "messages": [{"role": "user", "content": "kampuni faida"}, {"role": "assistant", "content": "公司 利润"}],
        "n": 1, MARK: "back_translate",
    }  # fmt: skip
    assert [turn["role"] for turn in out[3]["messages"]] == ["user", "assistant"]
    [named], _ = made([{"en": "river"}], column="en")
    assert named["en"] == "river"
    assert [turn["content"] for turn in named["messages"]] == ["mto", "river"]


def test_the_way_back_decides() -> None:
    """`the` is lost on the way: what returns is near for the first text and far for the second."""
    rows = [{"en": "the north of the river town"}, {"en": "the the the the river"}]
    out, report = made(rows, column="en", into="sw", back=back(), least=50.0, ratio=9.0)
    scores = [chrf("north of river town", rows[0]["en"]), chrf("river", rows[1]["en"])]
    assert scores[0] > 50 > scores[1]
    assert [row["sw"] for row in out] == ["kaskazini of mto mji"]
    assert report["translations"]["round_trip_chrf"] == pytest.approx(sum(scores) / 2, abs=0.01)
    [example] = report["translations"]["refused_examples"]
    assert example["reason"] == "the way back differs"
    assert example["again"] == "river"


def test_chrf_is_that_of_its_definition() -> None:
    """Popović 2015 by loops over n-grams: mean precision and recall of orders 1 to 6, F with beta 2; spaces do not count."""
    found, expected = "the cat sat on mats", "the cat sits on the mat"

    def grams(text: str, n: int) -> dict[str, int]:
        text = text.replace(" ", "")
        made: dict[str, int] = {}
        for i in range(len(text) - n + 1):
            made[text[i : i + n]] = made.get(text[i : i + n], 0) + 1
        return made

    precision, recall = 0.0, 0.0
    for n in range(1, 7):
        a, b = grams(found, n), grams(expected, n)
        same = sum(min(count, b.get(gram, 0)) for gram, count in a.items())
        precision += same / sum(a.values()) / 6
        recall += same / sum(b.values()) / 6
    assert chrf(found, expected) == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))
    assert chrf("利润", "利润") == 100
    assert chrf("abc", "利润") == 0
    assert chrf(found, expected) == sacrebleu.sentence_chrf(found, [expected]).score


def test_sides_of_very_unlike_length_are_not_taken() -> None:
    table = {"一二三四": "one"} | {"river": "a b c d"}
    out, report = made([{"en": "river"}, {"en": "river x y z"}], column="en", into="sw", there=[Dictionary(table)])
    assert [row["sw"] for row in out] == ["a b c d x y z"]
    assert "one side has over 3 times the words" in report["reasons"]


def test_two_steps_and_what_breaks_off_between_them() -> None:
    steps = [Dictionary(TABLE), Dictionary({"mto": "河", "mji": "城"})]
    out, report = made([{"en": "river town"}, {"en": "the"}], column="en", into="zh", there=steps)
    assert [row["zh"] for row in out] == ["河 城"]
    assert report["translations"]["asked"] == 3  # the empty one is not handed on


def test_many_parts_keep_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_synthetic, "TOGETHER", 7)
    rows = [{"en": f"river {i}"} if i % 3 else {"en": "unknown"} for i in range(40)]
    random.Random(1).shuffle(rows)
    out, report = made(rows, column="en", into="sw")
    assert [row["en"] for row in out] == [row["en"] for row in rows if row["en"] != "unknown"]
    assert report["kept"] + report["dropped"] == 40


def test_the_stages_with_real_models_are_resumed_from_their_answers(tmp_path: Path) -> None:
    files_of_back_translate.files(tmp_path)
    one, two = str(tmp_path / "translator"), str(tmp_path / "other_translator")
    rows = [{"en": text, PLACE: f"a:{i}"} for i, text in enumerate(["The river", "公司的利润", "north"], 1)]
    stages = [BackTranslate(one, column="en", into="sw", ratio=100, max_new_tokens=8)]
    first = Passage(stages, tmp_path / "p1", answers=tmp_path / "answers")
    out = list(first.run(rows))
    assert first.reports[0]["translations"]["asked"] == 3
    again = Passage(stages, tmp_path / "p2", answers=tmp_path / "answers")
    assert list(again.run(rows)) == out
    assert again.reports[0]["translations"]["asked"] == 0
    through = Passage(
        [Pivot(one, two, column="en", into="zh", ratio=100, max_new_tokens=8)],
        tmp_path / "p3",
        answers=tmp_path / "answers",
    )
    assert list(through.run(rows)) != out
    assert through.reports[0]["translations"]["translated"] == 3
