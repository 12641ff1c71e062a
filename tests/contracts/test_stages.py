"""What every stage promises: counts that add up, nothing lost, the order kept, the same from the same seed in any number of processes."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import every
import fixtures
import pytest

from seektune import kinds
from seektune.contracts import Record
from seektune.passage import Passage
from seektune.stages._work import PLACE, bare

KINDS = every.of("stage")


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The files that examples name, in the current folder."""
    folder = fixtures.stage_files(tmp_path_factory.mktemp("stages"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def records() -> list[Record]:
    return [record | {PLACE: f"stages.jsonl:{i}"} for i, record in enumerate(fixtures.stage_records(), 1)]


def passed(
    kind: str, folder: Path, given: Any = None, seed: int = 17, processes: int = 0
) -> tuple[list[Record], dict[str, Any], list[Any]]:
    """(what came out, report, what was dropped)."""
    passage = Passage([kinds.build("stage", every.plain("stage", kind))], folder, seed, processes)
    out = list(passage.run(records() if given is None else given))
    return out, passage.reports[0], list(passage.lost())


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_adds_up_and_nothing_is_lost(kind: str, tmp_path: Path) -> None:
    out, report, lost = passed(kind, tmp_path)
    assert report["seen"] == len(records())
    assert report["kept"] + report["dropped"] == report["seen"]
    assert report["kept"] + report["added"] == len(out) == report["fingerprint"]["records"]
    assert len(lost) == report["dropped"]
    assert all(line["reason"] and line["where"].startswith("stages.jsonl:") and line["stage"] == kind for line in lost)
    assert report["changed"] <= report["kept"]
    assert all(len(shown) <= 10 for shown in report["examples"].values())
    json.dumps(report)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_changed_keeps_its_order_and_its_place(kind: str, tmp_path: Path) -> None:
    given = records()
    out, *_ = passed(kind, tmp_path, given)
    places = [record[PLACE] for record in given]
    kept = [places.index(record[PLACE]) for record in out if record in given]
    assert kept == sorted(kept)
    assert {record[PLACE] for record in out} <= set(places)


@pytest.mark.parametrize("kind", KINDS)
def test_records_that_were_given_stay_as_they_are(kind: str, tmp_path: Path) -> None:
    given = records()
    before = copy.deepcopy(given)
    passed(kind, tmp_path, given)
    assert given == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_in_two_processes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, report, _ = passed(kind, tmp_path / "one")
    monkeypatch.setattr("seektune.stages._each.WORTH_PROCESSES", 8)
    again, repeated, _ = passed(kind, tmp_path / "two", processes=2)
    assert again == out
    assert {**repeated, "seconds": 0} == {**report, "seconds": 0}


@pytest.mark.parametrize("kind", KINDS)
def test_can_be_sent_to_a_process(kind: str) -> None:
    stage = kinds.build("stage", every.plain("stage", kind))
    assert pickle.loads(pickle.dumps(stage)) == stage


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_comes_of_nothing(kind: str, tmp_path: Path) -> None:
    out, report, _ = passed(kind, tmp_path, [])
    assert out == []
    assert report["seen"] == report["kept"] == report["dropped"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_is_no_part_of_a_record(kind: str, tmp_path: Path) -> None:
    """What comes out does not depend on where the records stood."""
    moved = [bare(record) | {PLACE: f"other.jsonl:{i}"} for i, record in enumerate(records(), 5)]
    assert [bare(r) for r in passed(kind, tmp_path / "a")[0]] == [
        bare(r) for r in passed(kind, tmp_path / "b", moved)[0]
    ]
