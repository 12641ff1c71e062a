"""The rules of the gate, each by itself, against numbers computed another way."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seektune.errors import DataError
from seektune.stages._audit import COLUMNS, id_of
from seektune.stages._lengths import dispersion, fitting_range
from seektune.stages._work import PLACE, work_of
from seektune.stages.gate import Gate, small_data

OFF: dict[str, Any] = {"records": None, "negative_share": None, "dispersion": None, "label_accuracy": None}


def run(given: list[dict[str, Any]], /, **options: Any) -> dict[str, Any]:
    """The rules in the report; only those that are asked are on."""
    stage = Gate(**({"on_fail": "warn"} | OFF | options))
    assert list(stage(given)) == given
    return work_of(stage).report()


def labelled(**counts: int) -> list[dict[str, Any]]:
    return [{"text": f"{name} {i}", "label": name} for name, count in counts.items() for i in range(count)]


def test_enough_records() -> None:
    assert run(labelled(a=8), records=8)["verdict"] == "fit"
    told = run(labelled(a=7), records=8)
    assert told["verdict"] == "unfit"
    assert told["rules"]["records"] == {"fit": False, "found": 7, "asked": 8}


def test_stops_with_every_rule_that_is_broken() -> None:
    with pytest.raises(DataError) as error:
        list(Gate("stop", negative="bad", label_accuracy=None)(labelled(good=5, bad=5)))
    first, second = error.value.problems
    assert first.startswith("gate.records: 10 records; expected at least 5,000; ")
    assert second.startswith("gate.negative_share: 50.0% of the labels are 'bad'; expected 15% to 20%; ")
    assert list(Gate("stop", **OFF)(labelled(good=5, bad=5))) == labelled(good=5, bad=5)


def test_methods_for_few_records_are_those_there_are() -> None:
    assert "tuner: lora" in small_data(4000)
    assert "tuner: freeze" in small_data(400)
    assert "tuner" not in small_data(40)
    assert small_data(400).endswith("or set gate.records: 400")


@pytest.mark.parametrize(("bad", "fit"), [(14, False), (15, True), (18, True), (20, True), (21, False)])
def test_the_share_of_the_negative_class(bad: int, fit: bool) -> None:
    rule = run(labelled(good=100 - bad, bad=bad), negative_share=(0.15, 0.2), negative="bad")["rules"]["negative_share"]
    assert (rule["fit"], rule["found"]) == (fit, bad / 100)


def test_a_negative_class_that_cannot_be_looked_at() -> None:
    def rule(records: list[dict[str, Any]], **options: Any) -> Any:
        return run(records, negative_share=(0.15, 0.2), **options)["rules"]["negative_share"]

    assert rule(labelled(good=5, bad=1))["skipped"] == "no negative class is named (gate.negative)"
    assert rule(labelled(a=5, b=1, c=1), negative="b")["skipped"] == "the labels are of 3 classes, not of two"
    assert rule([{"text": "x", "label": 0}, {"text": "y", "label": 1}], negative=0)["found"] == 0.5
    with pytest.raises(DataError, match="no record of class 'badd'; did you mean 'bad'"):
        list(Gate("stop", **OFF | {"negative": "badd", "negative_share": (0.1, 0.2)})(labelled(good=5, bad=1)))


def test_dispersion_is_variance_over_mean() -> None:
    """Poisson lengths have 1; a mean of 10 and a standard deviation of 20 has 40."""
    poisson = np.random.default_rng(0).poisson(20, 20_000).tolist()
    assert dispersion(poisson) == pytest.approx(1, abs=0.05)
    assert dispersion([0, 0, 0, 0, 50]) == pytest.approx(40)
    assert dispersion([]) == dispersion([0, 0]) == 0


def test_which_lengths_break_the_rule() -> None:
    """Against taking them away one after the other, by numpy, with equal lengths together."""
    for seed in range(20):
        lengths = [int(x) for x in np.random.default_rng(seed).lognormal(3, 0.8, 60)]
        left = list(lengths)
        while dispersion(left) > 2:
            mean = np.mean(left)
            furthest = max(sorted(set(left), reverse=True), key=lambda value: abs(value - mean))
            left = [value for value in left if value != furthest]
        low, high = fitting_range(lengths, 2)
        assert [value for value in lengths if low <= value <= high] == left


def test_records_that_break_the_length_rule_are_named() -> None:
    texts = ["one two three four"] * 20 + ["我们今天去公园散步"] * 20 + ["word " * 300]
    records = [{"text": text, PLACE: f"a.jsonl:{i}"} for i, text in enumerate(texts, 1)]
    rule = run(records, dispersion=2.0)["rules"]["dispersion"]
    assert rule["fit"] is False
    assert rule["outside"] == 1
    assert rule["furthest"] == [{"where": "a.jsonl:41", "length": 300}]
    with pytest.raises(
        DataError, match=r"a\.jsonl:41 has 300.*expected at most 2; \{kind: length, unit: words, .* keeps 40 of 41"
    ):
        list(Gate("stop", **OFF | {"dispersion": 2.0})(records))
    low, high = rule["fitting"]
    assert run(records[:-1], dispersion=2.0)["verdict"] == "fit"
    assert low <= 4 <= high < 300


def sentiments(flipped: float, chinese: bool) -> list[dict[str, Any]]:
    """600 records that tell their class by one word of several; a share of the labels is turned round."""
    words = {"good": ["good", "fine", "lovely", "great"], "bad": ["bad", "poor", "awful", "broken"]}
    if chinese:
        words = {"good": ["满意", "喜欢", "漂亮", "舒服"], "bad": ["失望", "讨厌", "难看", "吵闹"]}
    random_ = random.Random(1)
    made = []
    for i in range(600):
        label = ("good", "bad")[i % 2]
        word, filler = (
            random_.choice(words[label]),
            random_.choice(["房间", "酒店", "早餐"] if chinese else ["room", "hotel"]),
        )
        text = f"{filler}{word}，我们下次再来看看" if chinese else f"the {filler} was {word}, we stayed {i % 9} nights"
        made.append({"text": text, "label": {"good": "bad", "bad": "good"}[label] if i < flipped * 600 else label})
    return made


@pytest.mark.parametrize("chinese", [False, True])
@pytest.mark.parametrize("flipped", [0.0, 0.1])
def test_the_estimate_finds_turned_labels(flipped: float, chinese: bool) -> None:
    rule = run(sentiments(flipped, chinese), label_accuracy=0.95)["rules"]["label_accuracy"]
    assert rule["accuracy"] == pytest.approx(1 - flipped, abs=0.02)
    assert rule["fit"] is (flipped == 0)


def test_labels_that_cannot_be_estimated() -> None:
    def rule(records: list[dict[str, Any]]) -> Any:
        return run(records, label_accuracy=0.95)["rules"]["label_accuracy"]

    assert rule([{"text": "x"}] * 9)["skipped"] == "no record has one 'label'"
    few = "fewer than two classes have two different texts"
    assert rule(labelled(a=9, b=1))["skipped"] == few
    assert rule([{"text": "!!", "label": "ab"[i % 2]} for i in range(20)])["skipped"] == few
    assert rule([*sentiments(0, False), {"text": "x", "label": "rare"}])["not_judged"] == 1


def audited(path: Path, records: list[dict[str, Any]], said: list[str]) -> Path:
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for record, right in zip(records, said, strict=False):
            writer.writerow(["", id_of(record, record["label"]), record["text"], record["label"], right])
    return path


def test_an_audit_goes_before_the_estimate(tmp_path: Path) -> None:
    records = labelled(good=50, bad=50)
    path = audited(tmp_path / "a.csv", records, ["yes"] * 38 + ["no", "bad", ""])
    rule = run(records, label_accuracy=0.95, audit=str(path))["rules"]["label_accuracy"]
    assert (rule["by"], rule["right"], rule["judged"], rule["fit"]) == ("audit", 38, 40, False)
    assert rule["confused"] == [
        {"label": "good", "right_label": None, "count": 1},
        {"label": "good", "right_label": "bad", "count": 1},
    ]
    left = run(records[:38] + records[50:], label_accuracy=0.95, audit=str(path))["rules"]["label_accuracy"]
    assert (left["accuracy"], left["gone"], left["fit"]) == (1.0, 2, True)
    with pytest.raises(DataError, match="none of its 40 judged records is among these"):
        run([{"text": "x", "label": "good"}, {"text": "x", "label": "bad"}], label_accuracy=0.95, audit=str(path))


def test_a_verdict_reaches_a_card(tmp_path: Path) -> None:
    from seektune import files, pipeline

    (tmp_path / "in.jsonl").write_text('{"text": "a b c", "label": "x"}\n' * 3)
    (tmp_path / "p.yaml").write_text(
        "input: in.jsonl\nstages: [{kind: gate, on_fail: warn, records: 5}]\noutput: out.jsonl\n"
    )
    pipeline.run(pipeline.load(tmp_path / "p.yaml"), tmp_path / "cache")
    [told] = files.read_json(tmp_path / "out.card.json")["stages"]
    assert told["verdict"] == "unfit"
    assert told["rules"]["records"] == {"fit": False, "found": 3, "asked": 5}
