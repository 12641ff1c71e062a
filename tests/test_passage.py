"""Stages on the records of a recipe's input: what training sees, where each record stood, what data.json tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zoo

from seektune import draft, passage, recipe
from seektune.data.store import Records
from seektune.errors import DataError
from seektune.stages.length import Length

RECIPE = (
    "model: {path: model}\n"
    "data:\n"
    "  train:\n"
    "    - {path: one.jsonl, stages: [{kind: length, least: 30}]}\n"
    "    - {path: two.jsonl}\n"
    "tuner: {kind: lora, rank: 4}\nobjective: sft\ntrain: {steps: 2, batch_size: 4, precision: float32}\n"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))
    zoo.tiny_folder(tmp_path / "model")
    for name, count in (("one", 20), ("two", 6)):
        rows = [{"instruction": f"{name} {i}", "output": "word " * (i + 1)} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "staged.yaml").write_text(RECIPE)
    return tmp_path


def read(*settings: str) -> Any:
    return draft.read(recipe.load("staged.yaml", settings)).data


def test_training_sees_what_the_stages_left_and_where_it_stood(here: Path) -> None:
    data = read()
    texts = ["\n".join(turn["content"] for turn in record["messages"]) for record in data.train]
    first = [text for text in texts if text.startswith("one")]
    assert len(texts) == len(data.train_tokens) == len(first) + 6
    assert 0 < len(first) < 20
    assert all(len(text) >= 30 for text in first)
    assert data.train.where(0) == f"{here / 'one.jsonl'}:{20 - len(first) + 1}"
    assert data.train.where(len(first)) == f"{here / 'two.jsonl'}:1"
    assert [data.train.source(i) for i in (0, len(first))] == [0, 1]


def test_data_json_tells_what_each_stage_did(here: Path) -> None:
    one, two = read().facts()["train"]["inputs"]["inputs"]
    [told] = one["stages"]
    assert (told["kind"], told["seen"], told["options"]["least"]) == ("length", 20, 30)
    assert told["kept"] + told["dropped"] == 20
    assert told["dropped"] == told["reasons"]["shorter than 30 characters"] > 0
    assert "stages" not in two


def test_a_second_run_reads_what_the_first_has_made(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read()
    monkeypatch.setattr(Length, "each", None)  # would fail if it were called
    assert read().fingerprints == before.fingerprints


def test_other_options_and_other_records_are_not_taken_for_the_same(here: Path) -> None:
    before = read().fingerprints
    assert read("data.train.0.stages.0.least=40").fingerprints != before
    lines = (here / "one.jsonl").read_text().splitlines()
    (here / "one.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    assert read().fingerprints != before


def test_a_file_behind_an_option_that_has_changed_is_read_again(here: Path) -> None:
    """Lists of files too: what a stage compares with is as much a part of the result as its options."""
    (here / "held_out.jsonl").write_text(json.dumps({"text": "nothing that stands in the records at all"}) + "\n")
    stage = "data.train.0.stages=[{kind: decontaminate, against: [held_out.jsonl], n: 3}]"
    before = len(read(stage).train)
    (here / "held_out.jsonl").write_text(json.dumps({"text": "one 12\n" + "word " * 13}) + "\n")
    assert len(read(stage).train) < before == 26


def test_a_stage_that_drops_all_is_named_with_its_place_in_the_recipe(here: Path) -> None:
    with pytest.raises(
        DataError, match=r"data\.train\.0\.stages\.0: length dropped all 20 records .* shorter than 9000"
    ):
        read("data.train.0.stages.0.least=9000")


def test_held_out_records_of_a_file_of_their_own_go_through_no_stage(here: Path) -> None:
    data = read("data.valid={path: one.jsonl}")
    assert data.valid is not None
    assert len(data.valid) == 20


def test_places_go_through_text_and_back() -> None:
    assert passage._parted("a:b.jsonl:12") == ("a:b.jsonl", 12)
    assert passage._parted("a.parquet record 7") == ("a.parquet", -7)
    assert passage._parted("anything") == ("anything", 1)
    records = Records.of([{"text": "one"}, {"text": "two"}])
    assert [record["_where"] for record in passage.placed(records)] == ["record 1", "record 2"]
