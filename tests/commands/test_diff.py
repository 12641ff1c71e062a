"""Two versions of files: what was added, removed and changed, by key, by text and by place; cards and runs."""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seektune import console, pipeline
from seektune.commands._data import _versions, diff
from seektune.errors import DataError

EN = "The river number {} is the deepest of its country and flows north through {} towns."
ZH = "第{}家公司的利润比上年增长百分之{}，主要原因是海外市场的收入增加。"


@pytest.fixture(autouse=True)
def stdout_again() -> Any:
    yield
    console.use_stderr(False)


def rows(count: int = 40) -> list[dict[str, Any]]:
    return [{"id": i, "text": (EN, ZH)[i % 2].format(i * 7919, i * 31), "label": "ab"[i % 2]} for i in range(count)]


def write(path: Path, held: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in held), encoding="utf-8")
    return str(path)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    diff.arguments(parser)
    assert diff.run(parser.parse_args([*words, "--json"])) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_added_removed_and_changed_by_their_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = rows()
    new = [dict(row) for row in old]
    new[3]["text"] = new[3]["text"].replace("主要", "重要")
    new[4]["label"] = "z"
    del new[10]
    new.insert(0, {"id": 99, "text": "An own sentence about nothing else in these files.", "label": "a"})
    new.append({"id": 98, "text": "这是一个全新的记录。", "label": "b"})
    found = told(capsys, write(tmp_path / "old.jsonl", old), write(tmp_path / "new.jsonl", new))
    assert {name: found[name] for name in ("same", "added", "removed", "changed")} == {"same": 37, "added": 2, "removed": 1, "changed": 2}  # fmt: skip
    assert found["columns"] == {"text": 1, "label": 1}
    changed = {example["where"].rpartition(":")[2]: example for example in found["examples"]["changed"]}
    assert changed["4"]["fields"] == {"text": {"before": old[3]["text"], "after": new[4]["text"]}}
    assert changed["5"]["fields"] == {"label": {"before": "a", "after": "z"}}
    assert changed["5"]["to"].endswith("new.jsonl:6")
    assert found["examples"]["removed"][0]["record"] == old[10]
    assert [example["record"]["id"] for example in found["examples"]["added"]] == [99, 98]
    assert found["fingerprints"]["a"]["records"] == 40 and found["fingerprints"]["b"]["records"] == 41


def test_a_key_finds_what_changed_altogether(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = rows(6)
    new = [
        old[5],
        {"id": 2, "text": "nothing of the old one", "label": "a"},
        *old[:2],
        {"id": 77, "text": old[4]["text"], "label": "a"},
    ]
    found = told(capsys, write(tmp_path / "a.jsonl", old), write(tmp_path / "b.jsonl", new), "--key", "id")
    assert (found["same"], found["added"], found["removed"], found["changed"]) == (3, 1, 2, 1)
    assert found["matched"] == {"key": 1}


def test_a_record_that_was_replaced_is_found_by_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = rows(6)
    new = [dict(row) for row in old]
    new[2] = {"text": "nothing of the old one at all", "label": "a"}
    found = told(capsys, write(tmp_path / "a.jsonl", old), write(tmp_path / "b.jsonl", new))
    assert (found["changed"], found["matched"]["place"], found["same"]) == (1, 1, 5)


def test_order_and_repetitions_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = rows(5)
    a = write(tmp_path / "a.jsonl", old)
    found = told(capsys, a, write(tmp_path / "b.jsonl", old[::-1]))
    assert (found["same"], found["added"], found["removed"], found["changed"]) == (5, 0, 0, 0)
    assert found["fingerprints"]["a"]["content"] == found["fingerprints"]["b"]["content"]
    assert found["fingerprints"]["a"]["order"] != found["fingerprints"]["b"]["order"]
    found = told(capsys, a, write(tmp_path / "b.jsonl", [*old, old[0], old[0]]))
    assert (found["same"], found["added"], found["removed"]) == (5, 2, 0)


def test_multisets_are_counted_as_python_counts_them() -> None:
    numbers = random.Random(1)
    one, other = ([numbers.randrange(6) for _ in range(30)] for _ in range(2))
    digests = [np.array([[n, n * n] for n in side], np.uint64) for side in (one, other)]
    left = _versions._only(*digests)
    assert Counter(np.array(one)[left].tolist()) == Counter(one) - Counter(other)
    assert _versions._only(digests[0][:0], digests[1]).tolist() == []
    assert _versions._only(digests[0], digests[1][:0]).all()


def test_words_for_a_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    diff.arguments(parser)
    old = rows(4)
    a, b = (
        write(tmp_path / "a.jsonl", old),
        write(tmp_path / "b.jsonl", [*old[1:], {"text": "nothing like it", "label": "a"}]),
    )
    assert diff.run(parser.parse_args([a, b])) == 0
    said = capsys.readouterr().out
    assert "different records" in said
    assert "same 3   added 1   removed 1   changed 0" in said
    assert f"- {a}:1" in said and f"+ {b}:4" in said
    assert diff.run(parser.parse_args([a, a])) == 0
    assert "the same records in the same order" in capsys.readouterr().out


def test_a_card_stands_for_its_file_and_a_run_for_its_fingerprint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = rows(8)
    write(tmp_path / "in.jsonl", [*old, old[0]])
    (tmp_path / "p.yaml").write_text("input: [{path: in.jsonl}]\nstages: [{kind: deduplicate}]\noutput: out.jsonl\n")
    card = pipeline.run(pipeline.load(tmp_path / "p.yaml"), tmp_path / "cache")
    found = told(capsys, str(tmp_path / "out.card.json"), str(tmp_path / "in.jsonl"))
    assert (found["same"], found["added"]) == (8, 1)
    assert found["fingerprints"]["a"] == card["output"]["fingerprint"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "data.json").write_text(json.dumps({"fingerprint": {"train": card["output"]["fingerprint"]}}))
    found = told(capsys, str(tmp_path / "run"), str(tmp_path / "out.jsonl"))
    assert found["compared"] is False
    assert found["fingerprints"]["a"] == found["fingerprints"]["b"]


def test_what_is_wrong_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write(tmp_path / "a.jsonl", rows(4)), write(tmp_path / "b.jsonl", rows(3))
    with pytest.raises(
        DataError, match=r"a\.jsonl: no record has 'idd'; expected the name of a column; did you mean 'id'"
    ):
        told(capsys, a, b, "--key", "idd")
    with pytest.raises(DataError, match=r"a\.jsonl: some records have the same 'label'"):
        told(capsys, a, b, "--key", "label")
    with pytest.raises(DataError, match=r"gone\.jsonl: no such file"):
        told(capsys, a, str(tmp_path / "gone.jsonl"))
    (tmp_path / "c.jsonl").write_text('{"text": "a whole row"}\n{"text": \n')
    assert "1 rows are no records" in told(capsys, a, str(tmp_path / "c.jsonl"))["notes"][0]


def test_texts_of_very_many_are_not_compared_and_that_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_versions, "COMPARED", 1)
    old = rows(6)
    new = [old[1] | {"text": old[1]["text"] + "了"}, *old[2:]]
    found = told(capsys, write(tmp_path / "a.jsonl", old), write(tmp_path / "b.jsonl", new))
    assert (found["added"], found["removed"], found["changed"]) == (1, 2, 0)
    assert "--key finds them" in found["notes"][0]


def test_the_nearest_pairs_are_taken_first() -> None:
    edges = [(0.6, 0, 0), (0.9, 0, 1), (0.7, 1, 1), (0.5, 1, 0), (0.4, 2, 2)]
    assert _versions._matched(edges) == {0: 1, 1: 0}
