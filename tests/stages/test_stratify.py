"""Shares of classes: whole numbers by largest remainder, compared with worked examples and with the laws of the method."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.errors import DataError, RecipeError
from seektune.stages._groups import apportioned, bucket, exact
from seektune.stages._work import PLACE, Work, equip, work_of
from seektune.stages.stratify import Stratify


def labelled(**counts: int) -> list[dict[str, Any]]:
    """Records of these classes, mixed."""
    made = [{"text": f"{name} {i}", "label": name} for name, count in counts.items() for i in range(count)]
    return sorted(made, key=lambda record: record["text"][::-1])


def run(records: list[dict[str, Any]], seed: int = 17, **options: Any) -> tuple[list[dict[str, Any]], Work]:
    stage = Stratify(**options)
    equip(stage, Work(seed))
    return list(stage(records)), work_of(stage)


def has(out: list[dict[str, Any]], key: str = "label") -> dict[str, int]:
    return dict(Counter(record[key] for record in out))


def test_equal_takes_the_smallest_class() -> None:
    out, work = run(labelled(a=10, b=4, c=7))
    assert has(out) == {"a": 4, "b": 4, "c": 4}
    assert work.facts["limited_by"] == {"class": "b", "records": 4, "share": 0.333333}
    assert work.counts.reasons == {"more than its share: a": 6, "more than its share: c": 3}


def test_asked_shares_are_relative_and_others_go() -> None:
    out, work = run(labelled(a=70, b=30, c=50), shares={"a": 3, "b": 1})
    assert has(out) == {"a": 69, "b": 23} or has(out) == {"a": 70, "b": 23}
    assert work.counts.reasons["class not asked for"] == 50
    assert work.facts["within_5_percent"]


def test_as_is_keeps_the_shares() -> None:
    assert has(run(labelled(a=60, b=30, c=10), shares="as_is", size=50)[0]) == {"a": 30, "b": 15, "c": 5}


def test_a_larger_size_than_there_is() -> None:
    out, work = run(labelled(a=10, b=4), size=100)
    assert has(out) == {"a": 4, "b": 4}
    assert (work.facts["asked_size"], work.facts["size"]) == (100, 8)
    assert work.facts["limited_by"]["class"] == "b"


def test_repeats_where_asked_beside_the_first() -> None:
    out, work = run(labelled(a=10, b=4), repeat=True)
    assert has(out) == {"a": 10, "b": 10}
    times = Counter(record["text"] for record in out if record["label"] == "b")
    assert sorted(times.values()) == [2, 2, 3, 3]
    assert work.counts.added == 6
    texts = [record["text"] for record in out]
    assert texts == sorted(texts, key=lambda text: text[::-1])
    assert has(run(labelled(a=10, b=4), repeat=True, size=30)[0]) == {"a": 15, "b": 15}


def test_the_seed_chooses_and_nothing_else() -> None:
    records = labelled(a=50, b=10)
    one, again, other = (run(records, seed)[0] for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert has(one) == has(other)


def test_every_member_is_as_likely() -> None:
    """Each of ten records is among the two that are drawn in a fifth of 100 seeds: ± 4 standard deviations."""
    records = labelled(a=10, b=2)
    drawn = Counter(r["text"] for seed in range(100) for r in run(records, seed)[0] if r["label"] == "a")
    assert len(drawn) == 10
    assert all(abs(count - 20) < 16 for count in drawn.values())


def test_by_language() -> None:
    english = [
        "The river runs through the middle of the town.",
        "How do I change the password of my account?",
        "Three people have asked for their money back.",
    ]
    chinese = ["我的银行卡在哪里？", "今天天气很好，我们去公园吧。"]
    out, work = run([{"text": text} for text in english + chinese], by="language")
    assert work.facts["classes"] == {"en": {"had": 3, "has": 2}, "zh": {"had": 2, "has": 2}}
    assert [record["text"] for record in out if record["text"] in chinese] == chinese
    told = [{"text": text, "language": "x" if i else "y"} for i, text in enumerate(english)]  # a column goes first
    assert len(run(told, by="language")[0]) == 2


def test_by_length_and_source() -> None:
    records = [{"text": "字" * n, PLACE: f"{'a' if n < 60 else 'b'}.jsonl:{n}"} for n in (1, 49, 50, 199, 200, 5000)]
    out, work = run(records, by="length")
    assert sorted(work.facts["classes"]) == ["0-49", "1000+", "200-999", "50-199"]
    assert len(out) == 4
    assert sorted(len(r["text"]) for r in run(records, by="length", edges=[60, 201])[0])[-1] == 5000
    assert run(records, by="source")[1].facts["classes"] == {
        "a.jsonl": {"had": 3, "has": 3},
        "b.jsonl": {"had": 3, "has": 3},
    }


def test_buckets_begin_at_their_edges() -> None:
    assert [bucket(n, [50, 200]) for n in (0, 49, 50, 199, 200, 999)] == [
        "0-49",
        "0-49",
        "50-199",
        "50-199",
        "200+",
        "200+",
    ]


def test_classes_of_numbers_and_records_without_one() -> None:
    records = [{"text": "x", "label": i % 2} for i in range(10)] + [
        {"text": "none"},
        {"text": "two", "label": ["a", "b"]},
    ]
    out, work = run(records, shares={0: 1, 1: 1})
    assert has(out) == {0: 5, 1: 5}
    assert work.counts.reasons == {"no one label": 2}


def test_a_class_of_one_record_is_told() -> None:
    _, work = run(labelled(a=10, b=1))
    assert work.facts["single_records"] == ["b"]
    assert work.facts["size"] == 2


def test_rounding_that_misses_five_percent_is_told() -> None:
    _, work = run(labelled(a=90, b=10), shares={"a": 96.5, "b": 3.5}, size=20)
    assert not work.facts["within_5_percent"]
    assert work.facts["largest_error"] == {"class": "b", "relative": 0.428571, "asked_records": 0.7}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"shares": {"a": 1, "bb": 1}}, "no record of class 'bb'; "),
        ({"by": "lable"}, "no record has one 'lable'; did you mean 'label'"),
    ],
)
def test_what_cannot_be_sampled_is_told(options: dict[str, Any], line: str) -> None:
    with pytest.raises(DataError, match=line):
        run(labelled(a=3, b=3), **options)


def test_as_is_needs_a_size() -> None:
    with pytest.raises(RecipeError, match="size: missing beside `shares: as_is`"):
        Stratify(shares="as_is")


def test_a_worked_example_of_largest_remainders() -> None:
    """Shares 47, 16, 15.8, 12, 6.1, 3.1 of 10: quotas 4.7, 1.6, 1.58, 1.2, 0.61, 0.31; four are left for the largest rests."""
    shares = exact({"a": 47, "b": 16, "c": 15.8, "d": 12, "e": 6.1, "f": 3.1})
    assert apportioned(10, shares) == {"a": 5, "b": 2, "c": 1, "d": 1, "e": 1, "f": 0}


@settings(deadline=None)
@given(st.integers(0, 500), st.dictionaries(st.text(max_size=3), st.floats(0.001, 100), min_size=1, max_size=9))
def test_whole_numbers_add_up_and_are_near(size: int, weights: dict[str, float]) -> None:
    shares = exact(weights)
    assert sum(shares.values()) == 1
    counts = apportioned(size, shares)
    assert sum(counts.values()) == size
    assert all(abs(counts[name] - size * share) < 1 for name, share in shares.items())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=5), st.lists(st.integers(1, 20), min_size=5, max_size=5))
def test_no_larger_sample_would_fit(counts: list[int], weights: list[int]) -> None:
    """No record is taken twice, and one record more in all would ask more of a class than it has."""
    have = {f"c{i}": count for i, count in enumerate(counts)}
    shares = exact({name: weights[i] for i, name in enumerate(have)})
    if int(min(Fraction(have[name]) / share for name, share in shares.items())) == 0:
        return
    out, work = run(labelled(**have), shares={name: weights[i] for i, name in enumerate(have)})
    assert len({record["text"] for record in out}) == len(out) == work.facts["size"]
    assert any((len(out) + 1) * share > have[name] for name, share in shares.items())
