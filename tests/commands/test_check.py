from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import zoo

from seektune import console
from seektune.commands import check
from seektune.errors import InputError


@pytest.fixture(autouse=True)
def stdout_again() -> Iterator[None]:
    yield
    console.use_stderr(False)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    zoo.tiny_folder(tmp_path / "model", "qwen2")
    rows = [{"instruction": f"Which number is it? {i}", "output": f"It is {i}."} for i in range(20)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "numbers.yaml").write_text(
        "model: {path: model, dtype: float32}\ndata: {train: train.jsonl, valid: {fraction: 0.2}}\n"
        "tuner: {kind: lora, target_modules: [q_proj]}\nobjective: sft\n"
        "train: {batch_size: 4, epochs: 2, precision: float32}\n"
    )
    return tmp_path / "numbers.yaml"


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    check.arguments(parser)
    return check.run(parser.parse_args(words))


def test_check_tells_and_writes_no_run(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = recipe.parent / "check.html"
    assert call(str(recipe), "train.epochs=1", "--html", str(page)) == 0
    out = capsys.readouterr().out
    assert "train.jsonl:" in out
    assert "no findings" in out
    assert "numbers" in page.read_text(encoding="utf-8")
    made = {path.name for path in recipe.parent.iterdir()}
    assert made == {"model", "train.jsonl", "numbers.yaml", "cache", "check.html"}


def test_check_as_json(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(str(recipe), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == "numbers"
    assert found["findings"] == []
    assert found["facts"]["data"]["records"] == {"train": 16, "held out": 4}
    assert found["facts"]["model"]["adapted"] == {"self_attn.q_proj": 3}
    assert found["plan"]["steps"] == 8
    assert found["plan"]["seconds"] > 0


def test_an_error_stops(recipe: Path) -> None:
    rows = [{"instruction": f"{i} and so on, " * 40 * (i % 2) + f"{i}?", "output": f"It is {i}."} for i in range(20)]
    (recipe.parent / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"have no token to learn after cutting at data\.max_length: 100") as raised:
        call(str(recipe), "data.max_length=100")
    assert len(raised.value.problems) == 1
    assert raised.value.exit_code == 2
