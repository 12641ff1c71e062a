"""Two stored evaluations: paired by content, with differences that are worked out another way here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from evaluate.fakes import Parrot, chat

from seektune import files
from seektune.errors import DataError
from seektune.evaluate import stored
from seektune.evaluate.compare import compare, compare_paths
from seektune.evaluate.evaluator import evaluate
from seektune.evaluate.measures.exact_match import ExactMatch
from seektune.evaluate.measures.f1 import F1
from seektune.evaluate.measures.perplexity import Perplexity

QUESTIONS = [f"q{i}" for i in range(12)]


def kept(
    path: Path, answers: dict[str, str], records: list[dict[str, Any]], measures: list[Any] | None = None
) -> stored.Evaluation:
    report = evaluate(Parrot(answers), records, measures or [ExactMatch(), F1()])
    return stored.read(stored.write(path, report, records, "parrot"))


def answered(right: int) -> dict[str, str]:
    """The first `right` questions right."""
    return {q: "yes" if i < right else "no" for i, q in enumerate(QUESTIONS)}


RECORDS = [chat(q, "yes") for q in QUESTIONS]


def test_differences_gains_and_losses(tmp_path: Path) -> None:
    worse = answered(3) | {"q11": "yes"}
    found = compare(kept(tmp_path / "a", worse, RECORDS), kept(tmp_path / "b", answered(10), RECORDS))
    row = found.differences["exact_match"]
    assert (row["before"], row["after"], row["n"]) == (pytest.approx(4 / 12), pytest.approx(10 / 12), 12)
    assert (row["gained"], row["lost"]) == (7, 1)
    assert row["p"] == pytest.approx(2 * (1 + 8) / 2**8)
    assert row["low"] < row["difference"] == pytest.approx(0.5)
    assert row["high"] > 0.5
    assert {change["prompt"] for change in found.changed} == {*QUESTIONS[3:10], "q11"}
    assert found.changed[0] | {"record": "", "values": []} == {
        "record": "",
        "prompt": "q3",
        "reference": "yes",
        "before": "no",
        "after": "yes",
        "values": [],
    }


def test_f1_is_compared_over_the_classes_of_both(tmp_path: Path) -> None:
    records = [chat("q0", "yes"), chat("q1", "no")]
    one = kept(tmp_path / "a", {"q0": "yes", "q1": "yes"}, records)
    other = kept(tmp_path / "b", {"q0": "yes", "q1": "no"}, records)
    found = compare(one, other).differences
    assert (found["f1/no"]["before"], found["f1/no"]["after"]) == (0.0, 1.0)
    assert found["f1"]["difference"] == pytest.approx(1 - (2 / 3) / 2)


def test_order_and_other_records_do_not_matter(tmp_path: Path) -> None:
    one = kept(tmp_path / "a", answered(3), RECORDS)
    other = kept(tmp_path / "b", answered(6) | {"new": "x"}, [chat("new", "x"), *RECORDS[:2:-1]])
    found = compare(one, other)
    assert (found.records, found.only_before, found.only_after) == (9, 3, 1)
    assert found.differences["exact_match"]["gained"] == 3


def test_a_record_that_stands_twice_is_paired_twice(tmp_path: Path) -> None:
    one = kept(tmp_path / "a", answered(0), RECORDS[:1] * 2)
    assert compare(one, kept(tmp_path / "b", answered(1), RECORDS[:1] * 3)).records == 2


def test_perplexity_is_compared_as_a_ratio(tmp_path: Path) -> None:
    texts = [{"text": "one two"}, {"text": "three"}]
    one = kept(tmp_path / "a", {}, texts, [Perplexity()])
    found = compare(one, kept(tmp_path / "b", {}, texts, [Perplexity()]))
    assert found.differences["perplexity"] == {
        "before": pytest.approx(7.389056),
        "after": pytest.approx(7.389056),
        "difference": 0.0,
        "low": 0.0,
        "high": 0.0,
        "n": 2,
    }
    assert found.changed == []


def test_nothing_in_common_is_told(tmp_path: Path) -> None:
    one = kept(tmp_path / "a", answered(1), RECORDS[:2])
    with pytest.raises(DataError, match="have no record in common; evaluate both with the same --data"):
        compare(one, kept(tmp_path / "b", answered(1), RECORDS[2:]))
    with pytest.raises(DataError, match="no measure with the same options"):
        compare(one, kept(tmp_path / "c", answered(1), RECORDS[:2], [ExactMatch("json")]))


def test_runs_are_compared_by_their_newest_evaluations_that_share_records(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    kept(stored.place(first), answered(1), RECORDS[:6])
    kept(stored.place(first), answered(2), RECORDS[:6])
    kept(stored.place(second), answered(5), RECORDS[:6])
    kept(stored.place(second), answered(9), RECORDS[6:])
    found = compare_paths(first, second)
    assert (found.differences["exact_match"]["before"], found.differences["exact_match"]["after"]) == (
        pytest.approx(2 / 6),
        pytest.approx(5 / 6),
    )
    assert compare_paths(stored.evaluations(first)[1].path, second).differences["exact_match"][
        "before"
    ] == pytest.approx(1 / 6)


def test_a_run_without_evaluations(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no stored evaluation; seektune evaluate .* --data FILE"):
        compare_paths(tmp_path, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "no json", '{"a": 1}'])
def test_what_is_no_evaluation(tmp_path: Path, text: str) -> None:
    files.write_text(tmp_path / "x.jsonl", text)
    with pytest.raises(DataError, match=r"x\.jsonl"):
        stored.read(tmp_path / "x.jsonl")


def test_another_format_is_refused(tmp_path: Path) -> None:
    files.write_text(tmp_path / "x.jsonl", '{"format": 99, "measures": []}')
    with pytest.raises(DataError, match="format 99; expected format 1"):
        stored.read(tmp_path / "x.jsonl")


def test_the_hash_of_a_record_is_that_of_its_content() -> None:
    assert stored.record_hash({"a": 1, "b": "é"}) == stored.record_hash({"b": "é", "a": 1})
    assert stored.record_hash({"a": 1}) != stored.record_hash({"a": 2})
