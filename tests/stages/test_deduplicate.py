"""Near and equal texts against datasketch and against all pairs; which record stays; what is told."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seektune.errors import DataError
from seektune.stages._near import Groups
from seektune.stages._shingles import Bands, Shingles, Signatures, banded, jaccard, normalised
from seektune.stages._work import PLACE, Work, equip, work_of
from seektune.stages.deduplicate import Deduplicate

ENGLISH = (
    "river",
    "town",
    "profit",
    "quarter",
    "company",
    "person",
    "dollars",
    "north",
    "bridge",
    "letter",
    "market",
    "garden",
)
CHINESE = "公司第一季度的利润比上年增长百分之五银行客户贷款河流城市学校冬天花园引擎市场信件桥梁北方人民"


def text(numbers: random.Random, chinese: bool, words: int = 40) -> str:
    return "".join(numbers.choices(CHINESE, k=2 * words)) if chinese else " ".join(numbers.choices(ENGLISH, k=words))


def edited(numbers: random.Random, given: str, edits: int) -> str:
    letters = list(given)
    for _ in range(edits):
        letters[numbers.randrange(len(letters))] = numbers.choice("xyz")
    return "".join(letters)


def planted(count: int = 60, seed: int = 3) -> list[dict[str, Any]]:
    """Texts of both languages, a third of them with one to eight characters changed."""
    numbers, made = random.Random(seed), list[str]()
    for i in range(count):
        made.append(text(numbers, chinese=bool(i % 2)))
        if not i % 3:
            made.append(edited(numbers, made[-1], numbers.randrange(1, 9)))
    numbers.shuffle(made)
    return [{"text": one, PLACE: f"a.jsonl:{i}"} for i, one in enumerate(made, 1)]


def through(
    stage: Deduplicate, records: list[dict[str, Any]], processes: int = 0
) -> tuple[list[Any], dict[str, Any], list[Any]]:
    equip(stage, Work(processes=processes))
    out = list(stage(records))
    return out, stage.report(), work_of(stage).counts.lost


def sets(given: str, length: int) -> set[str]:
    """Shingles by slicing: the independent count."""
    chinese = sum("\u3400" <= c <= "\u9fff" for c in given)
    length = (length + 1) // 2 if 2 * chinese > len(given) else length
    return {given[i : i + length] for i in range(max(1, len(given) - length + 1))}


def similarity(one: str, other: str, length: int = 5) -> float:
    a, b = sets(one, length), sets(other, length)
    return len(a & b) / len(a | b)


def test_jaccard_is_that_of_sets_of_slices() -> None:
    texts = [normalised(record["text"]) for record in planted(20)] + ["ab", "ab。", "的", "a river a river"]
    shingles = Shingles(5)
    for one, other in itertools.combinations(texts, 2):
        assert jaccard(shingles.of(one), shingles.of(other)) == pytest.approx(similarity(one, other), abs=1e-9)


@pytest.mark.parametrize("true", [0.2, 0.5, 0.8])
def test_signatures_estimate_the_jaccard_as_well_as_those_of_datasketch(true: float) -> None:
    """Of sets whose Jaccard is known; the spread is that of a mean of 128 draws."""
    datasketch = pytest.importorskip("datasketch")
    random_, ours, theirs = np.random.default_rng(5), list[float](), list[float]()
    for _ in range(200):
        one, other = sets_of(random_.permutation(100_000)[:100].astype(np.uint32), round(100 * true))
        hashes = np.concatenate([one, other]) * np.uint32(2654435761)
        signatures = Signatures(128).of(hashes, np.array([0, len(one)]))
        ours.append(float((signatures[:, 0] == signatures[:, 1]).mean()))
        theirs.append(datasketched(datasketch, one).jaccard(datasketched(datasketch, other)))
    spread = np.sqrt(true * (1 - true) / 128)
    assert np.mean(ours) == pytest.approx(true, abs=3 * spread / np.sqrt(200))
    assert np.std(ours) == pytest.approx(spread, rel=0.2)
    assert np.std(ours) < 1.3 * np.std(theirs)


def sets_of(numbers: np.ndarray, both: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets that have `both` of all numbers in common and share out the others."""
    middle = both + (len(numbers) - both) // 2
    return numbers[:middle], np.concatenate([numbers[:both], numbers[middle:]])


def datasketched(datasketch: Any, numbers: np.ndarray) -> Any:
    made = datasketch.MinHash(128)
    made.update_batch([number.tobytes() for number in numbers])
    return made


def test_bands_meet_as_often_as_the_formula_says() -> None:
    bands = Bands.at(0.5, 32)
    numbers = np.random.default_rng(0)
    one = numbers.integers(0, 1 << 32, (32, 20000), dtype=np.uint32)
    other = np.where(numbers.random(one.shape) < 0.5, one, one + np.uint32(1))
    met = (bands.of(one) == bands.of(other)).any(axis=0).mean()
    assert met == pytest.approx(bands.chance(0.5), abs=0.01)
    assert Bands.at(0.8, 128).chance(0.8) >= 0.97 > Bands(128 // 8, 8).chance(0.8)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_finds_the_near_ones_of_all_pairs(threshold: float) -> None:
    """The reference compares everything with everything."""
    records = planted()
    kept = list[str]()
    for record in records:
        given = normalised(record["text"])
        if all(similarity(given, other) < threshold for other in kept):
            kept.append(given)
    out, report, _ = through(Deduplicate(threshold=threshold), records)
    assert [normalised(record["text"]) for record in out] == kept
    assert report["reasons"] == {"near text": len(records) - len(kept)}


def test_the_drops_name_what_they_repeat() -> None:
    records = [{"text": "The river  is NORTH of the town."}, {"text": "公司第一季度利润增长。"}, {"text": "the river is north of the town."},
               {"text": "The river is north of the town!"}, {"text": "公司第一季度利润增长。", "label": "b"}]  # fmt: skip
    given = [record | {PLACE: f"a.jsonl:{i}"} for i, record in enumerate(records, 1)]
    out, report, lost = through(Deduplicate(), given)
    assert out == given[:2]
    assert [(line["where"], line["reason"]) for line in lost] == [
        ("a.jsonl:3", "equal text"), ("a.jsonl:4", "near text"), ("a.jsonl:5", "equal text")]  # fmt: skip
    assert [line["detail"].split(" (")[0] for line in lost] == [
        "repeats a.jsonl:1",
        "repeats a.jsonl:1",
        "repeats a.jsonl:2",
    ]
    true = similarity("the river is north of the town.", "the river is north of the town!")
    assert lost[1]["detail"].endswith(f"(Jaccard {true:.2f})")
    assert report["clusters"] == 2
    assert report["largest_clusters"][0] == {"where": "a.jsonl:1", "records": 3}
    assert report["other_label_than_the_kept"] == 1


def test_the_longest_stays_in_its_place() -> None:
    base = text(random.Random(1), chinese=False)
    records = [{"text": base}, {"text": "another one"}, {"text": base + " again"}, {"text": base.upper()}]
    out, _, lost = through(Deduplicate(keep="longest"), records)
    assert out == [records[1], records[2]]
    assert [line["reason"] for line in lost] == ["near text", "near text"]


def test_a_chain_does_not_lose_its_ends() -> None:
    """Each step is near the one before; what is far from the kept one stays."""
    numbers, steps = random.Random(2), [text(random.Random(9), chinese=False, words=60)]
    for _ in range(12):
        steps.append(edited(numbers, steps[-1], 5))
    out, _, _ = through(Deduplicate(threshold=0.7), [{"text": step} for step in steps])
    kept = [record["text"] for record in out]
    assert len(kept) > 1
    assert all(similarity(one, other) < 0.8 for one, other in itertools.combinations(kept, 2))  # a pair at 0.7 may miss
    assert all(max(similarity(step, one) for one in kept) >= 0.7 for step in steps)


def test_null_finds_equal_texts_only_and_without_text_nothing_repeats() -> None:
    records = [{"text": "one two three four five"}, {"text": "one two three four five."}, {"text": "One two three four five"},
               {"text": " "}, {"text": " "}]  # fmt: skip
    out, report, _ = through(Deduplicate(threshold=None), records)
    assert out == [records[0], records[1], records[3], records[4]]
    assert report["without_text"] == 2
    out, report, _ = through(Deduplicate(threshold=0.1), [{"other": 1}, {"text": "…"}, {"other": 1}, {"text": ""}])
    assert (len(out), report["without_text"]) == (4, 3)


def test_many_near_ones_of_one_template_are_bounded_and_found() -> None:
    numbers = random.Random(4)
    base = text(numbers, chinese=True, words=60)
    records = [{"text": edited(numbers, base, 1)} for _ in range(400)]
    out, report, _ = through(Deduplicate(threshold=0.7), records)
    assert len(out) < 5
    assert report["compared_pairs"] < 400 * 32


def test_groups_hold_whoever_shares_a_band() -> None:
    groups = Groups.of(np.array([[7, 8, 7, 9], [1, 1, 2, 2]], np.uint64), np.arange(4))
    assert groups.meeting(0) == []
    groups.keep(0)
    groups.keep(3)
    assert groups.meeting(2) == [0, 3]
    assert groups.meeting(1) == [0]


def test_two_processes_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    records = planted(40)
    monkeypatch.setattr("seektune.stages._sketches.WORTH_PROCESSES", 8)
    monkeypatch.setattr("seektune.stages._sketches.BATCH", 8)
    assert through(Deduplicate(), records, processes=2) == through(Deduplicate(), records)


def test_a_text_of_any_length_takes_its_turn() -> None:
    long = "".join(random.Random(6).choices(CHINESE, k=300_000))
    made = banded(["短", long, "a", long], Shingles(5), Signatures(16), Bands(4, 4))
    assert made.shape == (4, 4)
    assert (made[:, 1] == made[:, 3]).all()
    assert (made[:, 0] != made[:, 2]).any()


def test_a_column_that_no_record_has_is_told() -> None:
    with pytest.raises(DataError, match=r"a\.jsonl:1: no record has a text in 'txet'; did you mean 'text'"):
        through(Deduplicate(column="txet"), planted(3))


def test_repeated_reviews_are_found(shared_data: Path) -> None:
    """180 rows of this set repeat an earlier one (its README)."""
    import json

    lines = (shared_data / "cls_chnsenticorp" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    _, report, _ = through(Deduplicate(threshold=None), rows)
    assert report["dropped"] == len(rows) - len({normalised(row["text"]) for row in rows}) >= 180
