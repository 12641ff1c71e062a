"""`data version` with a real git and a real DVC, and a folder as its remote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seektune import cli, versioning
from seektune.errors import InputError, RecipeError

pytestmark = pytest.mark.skipif(
    not versioning.importlib.util.find_spec("dvc") or not shutil.which("git"),
    reason="needs git and dvc (extra: release)",
)

CLEAN = "input: [{path: raw/a.jsonl}]\nstages: [{kind: length, least: 5}]\noutput: out/clean.jsonl\n"
OTHER = "input: [{path: raw/b.jsonl}]\nstages: [{kind: length, least: 5}]\noutput: out/other.jsonl\n"
LAST = "input: [{path: out/clean.jsonl}]\nstages: [{kind: length, most: 40}]\noutput: out/short.jsonl\n"


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def rows(*texts: str) -> str:
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)


def texts(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two inputs and three pipelines; `seektune` is on the path, and git knows a name."""
    folder = tmp_path / "project"
    (folder / "raw").mkdir(parents=True)
    (folder / "raw/a.jsonl").write_text(rows("a first text", "no", "一段足够长的中文文本"), encoding="utf-8")
    (folder / "raw/b.jsonl").write_text(rows("another text of the other file"), encoding="utf-8")
    for name, text in (("clean", CLEAN), ("other", OTHER), ("last", LAST)):
        (folder / f"{name}.yaml").write_text(text)
    script = tmp_path / "bin/seektune"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m seektune "$@"\n')
    script.chmod(0o755)
    source = str(Path(versioning.__file__).parent.parent)
    for key, value in {
        "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": source, "SEEKTUNE_CACHE": str(tmp_path / "cache"),
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(folder)
    git(folder, "init", "-q")
    return folder


def test_one_input_changes_only_its_stages_run_and_the_old_version_comes_back(here: Path, tmp_path: Path) -> None:
    made = versioning.version(["clean.yaml", "other.yaml", "last.yaml"], tmp_path / "remote")
    assert sorted(made.ran) == ["clean", "last", "other"]
    assert sorted(made.added) == ["raw/a.jsonl", "raw/b.jsonl"]
    assert {"dvc.yaml", "dvc.lock", "clean.yaml", "raw/a.jsonl.dvc", "raw/.gitignore", "out/.gitignore"} <= set(
        made.staged
    )
    assert texts(here / "out/short.jsonl") == ["a first text", "一段足够长的中文文本"]
    git(here, "commit", "-q", "-m", "one")

    assert versioning.version([]).ran == []  # nothing has changed
    assert git(here, "status", "--porcelain") == ""

    (here / "raw/a.jsonl").write_text(rows("a first text", "and a second one"), encoding="utf-8")
    again = versioning.version([], tmp_path / "remote")
    assert again.ran == ["clean", "last"]  # what reads the output of `clean` follows; `other` does not run
    assert {"raw/a.jsonl.dvc", "dvc.lock"} == set(again.staged)
    assert texts(here / "out/short.jsonl") == ["a first text", "and a second one"]
    git(here, "commit", "-q", "-m", "two")

    git(here, "checkout", "-q", "HEAD~1")
    dvc(here, "checkout", "-q")
    assert texts(here / "raw/a.jsonl") == ["a first text", "no", "一段足够长的中文文本"]
    assert texts(here / "out/short.jsonl") == ["a first text", "一段足够长的中文文本"]
    assert json.loads((here / "out/clean.card.json").read_text())["input"]["rows"] == 3

    git(tmp_path, "clone", "-q", str(here), "elsewhere")  # the other machine has git and the remote alone
    git(tmp_path / "elsewhere", "checkout", "-q", git(here, "rev-parse", "HEAD").strip())
    dvc(tmp_path / "elsewhere", "pull", "-q")
    assert texts(tmp_path / "elsewhere/out/short.jsonl") == ["a first text", "一段足够长的中文文本"]


def dvc(folder: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, check=True, capture_output=True)


def test_a_changed_pipeline_runs_and_what_git_keeps_stays_with_git(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(here, "add", "raw/a.jsonl")
    git(here, "commit", "-q", "-m", "raw data in git")
    assert cli.main(["data", "version", "clean.yaml"]) == 0
    said = capsys.readouterr()
    assert "clean: ran" in said.out and 'next: git commit -m "Data: clean"' in said.out
    assert not (here / "raw/a.jsonl.dvc").exists()
    git(here, "commit", "-q", "-m", "one")
    (here / "clean.yaml").write_text(CLEAN.replace("least: 5", "least: 11"))
    assert cli.main(["data", "version", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["ran"] == ["clean"] and told["staged"] == ["clean.yaml", "dvc.lock"]
    assert texts(here / "out/clean.jsonl") == ["a first text"]


def test_stages_of_the_user_stay(here: Path) -> None:
    (here / "dvc.yaml").write_text("stages:\n  mine:  # made by hand\n    cmd: echo hello\n")
    versioning.version(["other.yaml"])
    text = (here / "dvc.yaml").read_text()
    assert "made by hand" in text and "seektune data run other.yaml" in text


def test_a_pipeline_that_fails_is_told(here: Path) -> None:
    (here / "clean.yaml").write_text(CLEAN.replace("least: 5", "least: 500"))
    with pytest.raises(versioning.RunFailedError, match=r"dvc repro: error: stages\.0: length dropped all 3 records"):
        versioning.version(["clean.yaml"])


def test_what_is_missing_is_named(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        RecipeError, match=r"claen\.yaml: no such file; expected a pipeline; did you mean 'clean\.yaml'\?"
    ):
        versioning.version(["claen.yaml"])
    with pytest.raises(InputError, match="no pipeline is under DVC yet; expected seektune data version PIPELINE"):
        versioning.version([])
    outside = tmp_path / "outside.jsonl"
    outside.write_text(rows("a text from elsewhere"))
    (here / "clean.yaml").write_text(CLEAN.replace("raw/a.jsonl", str(outside)))
    with pytest.raises(InputError, match=r"outside\.jsonl: lies outside of the git repository"):
        versioning.version(["clean.yaml"])
    shutil.rmtree(here / ".git")
    with pytest.raises(
        InputError, match="no git repository; expected one that holds the pipeline; run `git init` there"
    ):
        versioning.version(["clean.yaml"])
    monkeypatch.setattr(versioning.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"data version: needs dvc, which is not installed; pip install 'seektune\[release\]'"
    ):
        versioning.version(["clean.yaml"])
