"""The evaluator: asks once, counts what it leaves out, keeps the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from evaluate.fakes import Parrot, chat

from seektune.errors import RecipeError
from seektune.evaluate.evaluator import evaluate
from seektune.evaluate.measures.accuracy import Accuracy
from seektune.evaluate.measures.exact_match import ExactMatch
from seektune.evaluate.measures.f1 import F1
from seektune.evaluate.measures.perplexity import Perplexity
from seektune.evaluate.significance import wilson

RECORDS = [chat("a", "good"), chat("b", "bad"), chat("c", "bad")]
ANSWERS = {"a": "good", "b": "bad", "c": "good"}


def test_scores_answers_and_values() -> None:
    report = evaluate(Parrot(ANSWERS), RECORDS, [ExactMatch()])
    low, high = wilson(2, 3)
    assert report.scores == {"exact_match": {"value": pytest.approx(2 / 3), "low": low, "high": high, "n": 3}}
    assert report.values == {"exact_match": [1, 1, 0]}
    assert report.answers[2] == {"prompt": "c", "reference": "bad", "answer": "good", "stopped": True}
    assert report.measures == [{"kind": "exact_match", "normalise": "strip", "max_new_tokens": 256}]


def test_what_several_measures_ask_for_is_made_once() -> None:
    engine = Parrot(ANSWERS)
    evaluate(engine, RECORDS, [Accuracy(), F1()])
    assert engine.calls == {"generate": 1}
    evaluate(engine, RECORDS, [Accuracy(max_new_tokens=5), F1(max_new_tokens=6)])
    assert engine.calls == {"generate": 3}, "other settings, other answers"


def test_a_classifier_is_asked_once_and_its_classes_are_the_answers() -> None:
    engine = Parrot(labels=["x", "y"])
    engine.rows = {"one": [0.9, 0.1], "two": [0.2, 0.8]}
    report = evaluate(engine, [{"text": "one", "label": "x"}, {"text": "two", "label": "x"}], [Accuracy(), F1()])
    assert engine.calls == {"classify": 1}
    assert report.answers == [
        {"prompt": "one", "reference": "x", "answer": "x", "stopped": None},
        {"prompt": "two", "reference": "x", "answer": "y", "stopped": None},
    ]
    assert report.scores["f1/x"]["value"] == pytest.approx(2 / 3)


def test_skipped_records_are_counted() -> None:
    report = evaluate(Parrot(ANSWERS), [*RECORDS, {"text": "no question"}], [ExactMatch()])
    assert (report.scores["exact_match"]["n"], report.scores["exact_match"]["skipped"]) == (3, 1)
    assert report.values["exact_match"][3] is None
    assert report.answers[3]["prompt"] == "no question"


def test_a_figure_that_is_not_finite_is_none_with_a_reason() -> None:
    engine = Parrot()
    engine.score = lambda records: [(1e9, 1.0)]  # type: ignore[method-assign]
    score = evaluate(engine, [{"text": "a"}], [Perplexity()]).scores["perplexity"]
    assert (score["value"], score["reason"]) == (None, "not finite (inf)")


@dataclass
class Length:
    """A user's own measure: a number a record, and one for all."""

    level = 2

    def measure(self, engine: Any, records: Any) -> dict[str, Any]:
        return {"length": [len(r["text"]) for r in records], "records": len(records)}


def test_a_measure_of_the_users_own() -> None:
    report = evaluate(Parrot(), [{"text": "abc"}, {"text": "a"}], [Length()])
    assert report.scores["length"]["value"] == 2.0
    assert report.scores["records"] == {"value": 2, "low": None, "high": None, "n": 2}


def test_two_measures_of_one_name_are_refused() -> None:
    with pytest.raises(RecipeError, match="two measures give 'exact_match'"):
        evaluate(Parrot(ANSWERS), RECORDS, [ExactMatch(), ExactMatch("json")])
