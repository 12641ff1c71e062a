"""Each measure against numbers worked out by hand or by another formula."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from evaluate.fakes import Parrot, chat

from seektune.errors import DataError
from seektune.evaluate.evaluator import pools
from seektune.evaluate.measures import _records
from seektune.evaluate.measures.accuracy import Accuracy
from seektune.evaluate.measures.exact_match import ExactMatch, normal
from seektune.evaluate.measures.f1 import F1
from seektune.evaluate.measures.perplexity import Perplexity


def figures(measure: Any, values: dict[str, list[Any]]) -> dict[str, float]:
    return {
        name: float(value)
        for pool in pools(measure, values)
        for name, value in zip(pool.names, pool.values, strict=True)
    }


def test_perplexity_pools_tokens_not_records() -> None:
    found = figures(Perplexity(), {"perplexity": [[10.0, 2.0], [1.0, 8.0]]})
    assert found == {"perplexity": pytest.approx(math.exp(11 / 10))}


def test_perplexity_leaves_out_what_learns_nothing() -> None:
    assert Perplexity().measure(Parrot(), [{"text": "two words"}, {"text": ""}]) == {"perplexity": [[4.0, 2.0], None]}


def test_perplexity_beyond_all_numbers_is_infinite_not_an_error() -> None:
    assert figures(Perplexity(), {"perplexity": [[1e6, 1.0]]}) == {"perplexity": math.inf}


@pytest.mark.parametrize(
    ("how", "one", "other", "same"),
    [
        ("strip", " a\n", "a", True),
        ("strip", "A", "a", False),
        ("strip", "e\u0301", "\u00e9", True),
        ("json", '{"a": 1, "b": [2]}', '{ "b":[2.0],"a":1 }', True),
        ("json", '```json\n{"a": 1}\n```', '{"a":1}', True),
        ("json", '{"a": "1"}', '{"a": 1}', False),
        ("json", '{"a": true}', '{"a": 1}', False),
        ("json", "[1, 2]", "[2, 1]", False),
        ("json", '{"a": "é"}', '{"a": "\\u00e9"}', True),
        ("json", "no json", "no json", True),
        ("json", '{"a": 1', '{"a": 1}', False),
        ("words", "The  Answer: 42!", "the answer 42", True),
        ("words", "对。", "对", True),
        ("words", "12", "21", False),
        ("number", "so it is 1,234.0 apples.", "1234", True),
        ("number", "first 3, then 4", "#### 4", True),
        ("number", "-4", "4", False),
        ("number", "none", "0", False),
    ],
)
def test_normalisers(how: str, one: str, other: str, same: bool) -> None:
    assert (normal(one, how) == normal(other, how)) is same


def test_exact_match_compares_the_last_answer_without_its_thinking() -> None:
    records = [
        chat("a", "yes"),
        chat("b", "<think>x</think>yes"),
        chat("c", "no"),
        {"messages": [*chat("d", "wrong")["messages"], *chat("e", "five")["messages"]]},
        {"text": "asks nothing"},
    ]
    engine = Parrot({"a": "<think>hm</think>\n\nyes", "b": "yes", "c": "yes", "e": "five "})
    assert ExactMatch().measure(engine, records) == {"exact_match": [1, 0, 0, 1, None]}


def test_exact_match_of_records_without_answers_is_refused() -> None:
    with pytest.raises(DataError, match="none of 1 records ends with an answer"):
        ExactMatch().measure(Parrot(), [{"text": "a"}])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Positive.", ["positive"]),
        ("It is very positive, not positive", ["very positive"]),
        ("nonpositive", []),
        ("negative or positive", ["negative"]),
        ("我觉得是好评，不是差评", ["好评"]),
        ("<think>positive?</think> negative", ["negative"]),
        ("", []),
    ],
)
def test_the_class_that_is_named_first_counts(answer: str, expected: list[str]) -> None:
    assert _records.first_named(answer, ["positive", "very positive", "negative", "好评", "差评"]) == expected


def test_accuracy_of_a_language_model() -> None:
    records = [chat("a", "good"), chat("b", "Bad"), chat("c", "bad")]
    engine = Parrot({"a": "Good!", "b": "I say: bad", "c": "good, not bad"})
    assert Accuracy().measure(engine, records) == {"accuracy": [1, 1, 0]}


def classifier(several: bool = False) -> Parrot:
    engine = Parrot(labels=["x", "y", "z"], several=several)
    engine.rows = {"1": [0.7, 0.2, 0.1], "2": [0.1, 0.2, 0.7], "3": [0.6, 0.7, 0.2]}
    return engine


def test_accuracy_of_a_classifier() -> None:
    records = [{"text": "1", "label": "x"}, {"text": "2", "label": "y"}, {"text": "3", "label": "1"}]
    assert Accuracy().measure(classifier(), records) == {"accuracy": [1, 0, 1]}


def test_accuracy_where_several_classes_hold_asks_for_all_of_them() -> None:
    records = [{"text": "1", "label": ["x"]}, {"text": "2", "label": []}, {"text": "3", "label": ["y", "x"]}]
    assert Accuracy().measure(classifier(True), records) == {"accuracy": [1, 0, 1]}


def test_labels_that_the_model_does_not_know_are_refused() -> None:
    with pytest.raises(DataError, match="'xx' is no class of the model; did you mean 'x'"):
        Accuracy().measure(classifier(), [{"text": "1", "label": "xx"}])
    with pytest.raises(DataError, match="1 of 1 records have no 'label'"):
        Accuracy().measure(classifier(), [{"text": "1"}])


def by_hand(pairs: list[Any], average: str) -> dict[str, float]:
    """Precision, recall and F1 by counting, class by class."""
    found: dict[str, float] = {}
    names = sorted({name for pair in pairs for side in pair for name in side})
    total = {"hits": 0, "said": 0, "true": 0}
    support = {}
    for name in names:
        hits = sum(name in t and name in p for t, p in pairs)
        said, true = sum(name in p for _, p in pairs), sum(name in t for t, _ in pairs)
        total = {"hits": total["hits"] + hits, "said": total["said"] + said, "true": total["true"] + true}
        support[name] = true
        found |= three(hits, said, true, f"/{name}")
    if average == "micro":
        return found | three(total["hits"], total["said"], total["true"], "")
    weights = {name: 1 if average == "macro" else support[name] for name in names}
    for figure in ("f1", "precision", "recall"):
        found[figure] = sum(found[f"{figure}/{name}"] * weights[name] for name in names) / sum(weights.values())
    return found


def three(hits: int, said: int, true: int, suffix: str) -> dict[str, float]:
    precision, recall = (hits / said if said else 0.0), (hits / true if true else 0.0)
    both = precision + recall
    return {
        f"precision{suffix}": precision,
        f"recall{suffix}": recall,
        f"f1{suffix}": 2 * precision * recall / both if both else 0.0,
    }


@pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
@pytest.mark.parametrize("several", [False, True])
def test_f1_by_counting(average: Any, several: bool) -> None:
    chance = random.Random(1)
    pairs = [[chance.sample("abcd", chance.randint(0, 3) if several else 1) for _ in range(2)] for _ in range(60)]
    pairs[0][1] = []  # a language model that named none
    pairs[1][1] = ["never true"]
    assert figures(F1(average), {"f1": pairs}) == pytest.approx(by_hand(pairs, average))


def test_f1_of_a_worked_example() -> None:  # the one of scikit-learn's f1_score
    pairs = [[[t], [p]] for t, p in zip("012012", "021001", strict=True)]
    assert figures(F1("macro"), {"f1": pairs})["f1"] == pytest.approx(0.26666667)
    assert figures(F1("micro"), {"f1": pairs})["f1"] == pytest.approx(0.33333333)
    assert figures(F1("weighted"), {"f1": pairs})["f1"] == pytest.approx(0.26666667)
    assert [figures(F1(), {"f1": pairs})[f"f1/{c}"] for c in "012"] == pytest.approx([0.8, 0, 0])
