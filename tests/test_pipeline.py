"""Pipelines: every mistake is one line, nothing is lost, and what was interrupted ends as if it had not been."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seektune import cli, files, pipeline
from seektune.data.options import Input
from seektune.data.stream import Found, stream
from seektune.errors import DataError, RecipeError

# Two stages that need all records: `Mixed` changes the order and notes that it ran, `Stopping` raises a signal half way.
STAGES = """
import os, signal
from dataclasses import dataclass
from seektune.contracts import Probe, option
from seektune.stages._spool import spool
from seektune.stages._work import work_of

@dataclass
class Mixed:
    def __call__(self, records):
        open("ran.txt", "a").write("x")
        held = spool(records, work_of(self))
        for i in work_of(self).random().permutation(len(held)):
            if i % 7 == 3:
                work_of(self).drop(held[int(i)], "seventh")
                continue
            work_of(self).keep()
            yield held[int(i)]
    def report(self):
        return work_of(self).report()

@dataclass
class Stopping:
    def __call__(self, records):
        for count, record in enumerate(records):
            if count == 300 and "STOP" in os.environ:
                os.kill(os.getpid(), int(os.environ["STOP"]))
            work_of(self).keep()
            yield record
    def report(self):
        return work_of(self).report()
"""
PIPELINE = """
input: [{path: raw.jsonl}]
stages:
  - {kind: length, least: 12}
  - {kind: "my_stages:Mixed"}
  - {kind: length, most: 60}
  - {kind: "my_stages:Stopping"}
output: out/clean.jsonl
processes: 2
"""
PLAIN = "input: [{path: raw.jsonl}]\nstages: [{kind: length, least: 5}]\noutput: out/clean.jsonl\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))
    rows = [{"text": f"第{i}条 " + "word " * (i % 14), "label": "ab"[i % 2]} for i in range(600)]
    rows.append({"text": "the only one of its class", "label": "rare"})
    write(rows)
    Path("plain.yaml").write_text(PLAIN)
    return tmp_path


def write(rows: list[Any], name: str = "raw.jsonl", more: str = "") -> None:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + more, encoding="utf-8")


def lines(path: str) -> list[Any]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def refused(text: str) -> list[str]:
    Path("bad.yaml").write_text(text)
    with pytest.raises((RecipeError, DataError)) as error:
        pipeline.run(pipeline.load("bad.yaml"))
    return error.value.problems


def test_numbers_of_the_card_add_up_and_nothing_is_lost(here: Path) -> None:
    write([{"text": f"text {i}"} for i in range(40)] + [{"text": "no"}, {"text": ["a"]}], more='{"text": "half')
    card = pipeline.run(pipeline.load("plain.yaml"))
    assert (card["input"]["rows"], card["input"]["kept"], card["input"]["dropped"]) == (43, 41, 2)
    [stage] = card["stages"]
    assert (stage["seen"], stage["kept"], stage["dropped"]) == (41, 40, 1)
    assert card["output"]["fingerprint"]["records"] == len(lines("out/clean.jsonl")) == 40
    dropped = lines("out/clean.dropped.jsonl")
    assert [(d["stage"], re.sub(r".*/", "", d["where"])) for d in dropped] == [
        ("read", "raw.jsonl:42"),
        ("read", "raw.jsonl:43"),
        ("length", "raw.jsonl:41"),
    ]
    assert dropped[2]["reason"] == "shorter than 5 characters" and dropped[2]["record"] == {"text": "no"}
    assert json.loads(Path("out/clean.card.json").read_text()) == json.loads(json.dumps(card))
    assert "1 × `text` is a list" in Path("out/clean.card.md").read_text()


def test_an_unfit_row_is_one_line_and_the_rest_is_processed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write([{"text": "a good record"}, {"text": {"nested": 1}}, {"text": "another good one"}])
    assert cli.main(["data", "run", "plain.yaml"]) == 0
    [said] = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert said.endswith("raw.jsonl:2: `text` is an object; expected text")
    assert len(lines("out/clean.jsonl")) == 2


def test_strict_stops_at_the_first_unfit_row(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write([{"text": "a good record"}, {"text": {"nested": 1}}, {"text": 7}])
    assert cli.main(["data", "run", "plain.yaml", "strict=true"]) == 2
    [said] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert said.endswith("raw.jsonl:2: `text` is an object; expected text; or strict: false to pass such rows by")
    assert not Path("out/clean.jsonl").exists()


def test_a_stage_that_is_mistyped(here: Path) -> None:
    [line] = refused(
        "input: [{path: raw.jsonl}]\nstages:\n  - {kind: length}\n  - {kind: lenght, least: 3}\noutput: a.jsonl\n"
    )
    assert line.startswith("bad.yaml:4: ") and "'lenght'" in line and "did you mean 'length'?" in line
    assert not Path("a.jsonl").exists()


def test_all_mistakes_are_told_at_once_with_their_lines(here: Path) -> None:
    found = refused(
        "input: [{pth: raw.jsonl}]\nstages:\n  - {kind: length, leest: 3}\n  - {kind: length, least: many}\noutput: a.csv\nsed: 3\n"
    )
    for number, words in (
        (1, "did you mean 'path'?"),
        (3, "did you mean 'least'?"),
        (4, "many"),
        (5, "a name that ends in .jsonl"),
        (6, "did you mean 'seed'?"),
    ):
        assert any(line.startswith(f"bad.yaml:{number}: ") and words in line for line in found), (number, found)


def test_files_that_are_not_there(here: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"plian\.yaml: no such file; expected a pipeline; did you mean 'plain\.yaml'\?"
    ):
        pipeline.load("plian.yaml")
    [line] = refused(PLAIN.replace("raw.jsonl", "rw.jsonl"))
    assert "rw.jsonl: no such file" in line and "did you mean 'raw.jsonl'?" in line


def test_a_stage_that_drops_all_stops_and_says_why(here: Path) -> None:
    [line] = refused(
        "input: [{path: raw.jsonl}]\nstages: [{kind: length}, {kind: length, least: 9999}]\noutput: a.jsonl\n"
    )
    assert line == ("stages.1: length dropped all 601 records (601 × shorter than 9999 characters); expected some that are left; "
                    "loosen its options")  # fmt: skip
    assert not Path("a.jsonl").exists()


def test_rows_that_are_all_unfit(here: Path) -> None:
    write([{"text": 7}, {"text": []}])
    [line] = refused(PLAIN)
    assert "no record came through" in line and "1 × `text` is a number" in line


@pytest.mark.parametrize(
    ("path", "output"),
    [
        ("raw.jsonl", "raw.jsonl"),
        ("raw.jsonl", "./x/../raw.jsonl"),
        ("*.jsonl", "new.jsonl"),
        (".", "sub/new.jsonl"),
        ("**/*.jsonl", "sub/new.jsonl"),
        ("clean.dropped.jsonl", "clean.jsonl"),
    ],
)
def test_an_output_among_the_inputs_is_refused(path: str, output: str, here: Path) -> None:
    write([{"text": "a record that was dropped"}], "clean.dropped.jsonl")
    before = Path("raw.jsonl").read_bytes()
    [line] = refused(f"input: [{{path: '{path}'}}]\noutput: {output}\n")
    assert "would be written over, or among, the inputs" in line and "write it into another folder" in line
    assert Path("raw.jsonl").read_bytes() == before


def test_an_output_beside_its_input_is_fine(here: Path) -> None:
    pipeline.run(pipeline.load("plain.yaml", ["output=clean.jsonl"]))
    assert Path("clean.jsonl").is_file()


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_every_kind_of_output_holds_the_same(name: str, here: Path) -> None:
    card = pipeline.run(pipeline.load("plain.yaml", [f"output=out/{name}"]))
    found = [row for _, row in stream([Input(path=f"out/{name}")], Found())]
    assert len(found) == card["output"]["fingerprint"]["records"]
    pipeline.run(pipeline.load("plain.yaml"))
    assert found == lines("out/clean.jsonl")
    assert Path("out/a.card.md").is_file() and Path("out/a.dropped.jsonl").is_file()


def test_settings_replace_those_of_the_file(here: Path) -> None:
    read = pipeline.load("plain.yaml", ["seed=3", "stages.0.least=300", "input.0.format=label"])
    assert (read.seed, read.stages[0].least, read.input[0].format) == (3, 300, "label")  # type: ignore[attr-defined]
    with pytest.raises(RecipeError, match=r"argument 2: found 'seed'; expected a setting such as seed=3"):
        pipeline.load("plain.yaml", ["seed"])


def test_a_pipeline_is_found_from_elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    pipeline.run(pipeline.load("../plain.yaml"))
    assert (here / "out/clean.jsonl").is_file()


@pytest.mark.parametrize("operation", ["write", "sync", "rename"])
def test_a_full_disk_is_told_and_the_next_run_goes_on(
    operation: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(done: str, path: Path) -> None:
        if done == operation and "clean" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "before", full)
        assert cli.main(["data", "run", "plain.yaml"]) == 4
    [said] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert said.endswith(
        "could not be written (No space left on device); make room and run it again: it goes on from where it was"
    )
    assert not Path("out/clean.jsonl").exists()
    assert cli.main(["data", "run", "plain.yaml"]) == 0
    assert [p.name for p in Path("out").iterdir() if p.name.startswith(".")] == []


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    source = os.pathsep.join([str(Path(pipeline.__file__).parent.parent), "."])
    words = [sys.executable, "-m", "seektune", "data", "run", "p.yaml"]
    return subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": source, **environment}
    )


def outcome() -> tuple[bytes, bytes, Any]:
    """The files of a run without what the clock tells."""
    card = json.loads(Path("out/clean.card.json").read_text())
    for one in (card, *card["stages"]):
        one.pop("seconds")
    return Path("out/clean.jsonl").read_bytes(), Path("out/clean.dropped.jsonl").read_bytes(), card | {"made": ""}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_passage_goes_on_with_the_same_result(number: signal.Signals, here: Path) -> None:
    Path("my_stages.py").write_text(STAGES)
    Path("p.yaml").write_text(PIPELINE)
    assert run(SEEKTUNE_CACHE="one").returncode == 0
    expected = outcome()
    assert len(expected[0].splitlines()) > 300 and len(expected[1].splitlines()) > 100
    for path in Path("out").iterdir():
        path.unlink()
    Path("ran.txt").unlink()

    stopped = run(SEEKTUNE_CACHE="two", STOP=str(int(number)))
    assert stopped.returncode == (3 if number == signal.SIGINT else -9), stopped.stderr
    assert number == signal.SIGKILL or "error: stopped; the same command goes on from where it was" in stopped.stderr
    assert not Path("out/clean.jsonl").exists()
    again = run(SEEKTUNE_CACHE="two")
    assert again.returncode == 0, again.stderr
    assert outcome() == expected
    assert Path("ran.txt").read_text() == "x"  # the stages before the kept place did not run again
    assert not [p for p in Path("two").rglob("*") if p.name.startswith("before-")]
