"""Planning before weights are read, through the same door as a run: what cannot fit is refused, what is not here is told."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import zoo

from seektune import assembly, console, draft, plan, recipe, tryout
from seektune.commands import check
from seektune.errors import InputError, RecipeError
from seektune.models import load


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))
    rows = [{"instruction": f"Which number is it? {i}", "output": f"It is {i}. " * (i % 7 + 1)} for i in range(40)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "numbers.yaml").write_text(
        "model: {path: model}\ndata: {train: train.jsonl}\ntuner: {kind: lora, rank: 4}\nobjective: sft\n"
        "train: {batch_size: 8, epochs: 2, precision: float32}\n"
    )
    yield tmp_path
    console.use_stderr(False)


def config_only(folder: Path, **values) -> Path:
    """A folder as a model's without its weights: config and tokenizer."""
    folder.mkdir()
    zoo.tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    check.arguments(parser)
    return check.run(parser.parse_args(["numbers.yaml", *words]))


@pytest.mark.parametrize(("tuner", "rows"), [("{kind: lora, rank: 4}", "packed"), ("{kind: full}", "padded")])
def test_a_draft_plans_what_the_open_run_plans(here, tuner, rows):
    zoo.tiny_folder(here / "model", "qwen3")
    settings = [f"tuner={tuner}", f"train.packing={str(rows == 'packed').lower()}"]
    reading = draft.read(recipe.load("numbers.yaml", settings))
    drafted, ready = draft.draft(reading), assembly.opened(reading)
    assert drafted.layout == ready.layout
    assert drafted.layout.rows == rows
    mine, its = drafted.plan.as_dict(), ready.plan.as_dict()
    for changing in ("memory_bytes", "peak_memory_bytes", "limit_bytes"):  # what the process holds just now
        mine.pop(changing)
        its.pop(changing)
    assert mine == its
    parts = [
        {name: size for name, size in found.plan.memory_bytes.items() if name != "process"}
        for found in (drafted, ready)
    ]
    assert parts[0] == parts[1]


def test_checkpointing_is_chosen_where_only_that_fits(here, monkeypatch):
    zoo.tiny_folder(here / "model", "llama")
    reading = draft.read(recipe.load("numbers.yaml", ["train.microbatch=8"]))  # `auto` would take a smaller one
    plain = draft.draft(reading)
    between = plain.plan.peak_memory_bytes - plain.plan.memory_bytes["activations"] // 3
    machine = replace(plan.here(torch.device("cpu")), memory_bytes=int(between / plan.ROOM))
    saved = draft.draft(reading, machine=machine).plan
    assert saved.setup.needs.footprint.recomputed
    assert saved.memory_bytes["activations"] < plain.plan.memory_bytes["activations"]
    assert not hasattr(plain.plan.setup.needs.footprint, "recomputed")


def test_seventy_billion_parameters_on_named_machines(here, capsys):
    config_only(here / "model", **zoo.LLAMA_70B)
    with pytest.raises(InputError, match=r"plan: .* will be needed and 80\.0 GiB are there; .*sharding over 2 devices"):
        call("train.precision=auto", "--device", "h100", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["facts"]["model"]["parameters"] > 70e9
    assert found["plan"]["memory_bytes"]["frozen weights"] == 2 * 70_553_706_496
    assert found["plan"]["machine"] == "h100"
    assert found["plan"]["time_from"].startswith("estimated for h100: 50%")
    assert any("holds no weights" in finding["line"] for finding in found["findings"])
    assert "dead" not in found["facts"]["model"]  # that needs weights
    assert call("train.precision=auto", "--device", "h100", "--devices", "8", "--json") == 0
    several = json.loads(capsys.readouterr().out)
    assert several["plan"]["memory_bytes"]["frozen weights"] == pytest.approx(2 * 70_553_706_496 / 8, abs=1)
    assert any("this version trains on one" in finding["line"] for finding in several["findings"])


def test_seventy_billion_parameters_are_streamed_through_16_gb(here, capsys):
    config_only(here / "model", **zoo.LLAMA_70B)
    assert call("train.precision=auto", "train.stream=true", "--device", "16g", "--json") == 0
    found = json.loads(capsys.readouterr().out)["plan"]
    assert found["fits"]
    assert found["memory_bytes"]["activations"] < 4 << 30  # what goes from layer to layer, and one layer's own


def test_a_streamed_draft_keeps_what_the_open_run_keeps(here):
    zoo.tiny_folder(here / "model", "llama")
    reading = draft.read(recipe.load("numbers.yaml", ["train.stream=true"]))
    drafted, ready = draft.draft(reading).plan, assembly.opened(reading).plan
    assert drafted.setup.checkpointing
    assert drafted.setup.checkpointing == ready.setup.checkpointing
    for part in ("activations", "logits", "allocator"):
        assert drafted.memory_bytes[part] == ready.memory_bytes[part], part


def test_memory_alone_has_no_time(here, capsys):
    zoo.tiny_folder(here / "model", "llama")
    capsys.readouterr()
    assert call("--device", "16g", "--json") == 0
    found = json.loads(capsys.readouterr().out)["plan"]
    assert found["limit_bytes"] == 16 << 30
    assert "seconds" not in found
    assert "time_from" not in found


def test_a_config_without_weights_is_planned_for_this_machine_too(here, capsys):
    zoo.tiny_folder(here / "whole", "llama")
    config_only(here / "model", **json.loads((here / "whole" / "config.json").read_text()))
    capsys.readouterr()
    assert call("--json") == 0
    found = json.loads(capsys.readouterr().out)["plan"]
    assert found["seconds"] > 0
    assert found["time_from"].startswith("estimated for this machine: 60%")


def test_training_without_weights_is_refused_as_before(here):
    config_only(here / "model", **zoo.LLAMA_70B)
    with pytest.raises(InputError, match="no weights"):
        assembly.prepare(recipe.load("numbers.yaml"))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--device", "h1000"], "--device: found 'h1000'"),
        (["--devices", "4"], "--devices: 4 devices, and none is named"),
        (["--device", "h100", "--devices", "0"], "--devices: found 0"),
    ],
)
def test_devices_that_make_no_sense_are_told_before_anything_is_read(here, words, line):
    with pytest.raises(RecipeError, match=line):
        call(*words)


# ---- a run that cannot fit


def test_a_run_that_cannot_fit_is_refused_before_its_weights_are_read(here, monkeypatch):
    zoo.tiny_folder(here / "model", "llama")
    monkeypatch.setattr(draft, "SMALL", 0)
    monkeypatch.setattr(plan, "memory_limit", lambda device: 40 << 20)
    monkeypatch.setattr(load, "open_model", None)  # opening would fail otherwise than refusing does
    with pytest.raises(InputError, match=r"plan: .* will be needed and 40\.0 MiB are there") as raised:
        assembly.run(recipe.load("numbers.yaml"))
    assert raised.value.exit_code == 2
    assert not (here / "runs").exists()


def test_a_small_model_is_opened_and_refused_all_the_same(here, monkeypatch):
    zoo.tiny_folder(here / "model", "llama")
    monkeypatch.setattr(plan, "memory_limit", lambda device: 40 << 20)
    with pytest.raises(InputError, match=r"will be needed and 40\.0 MiB are there"):
        assembly.prepare(recipe.load("numbers.yaml"))


def test_the_band_of_the_prediction_lets_a_run_begin(here):
    zoo.tiny_folder(here / "model", "llama")
    found = draft.draft(draft.read(recipe.load("numbers.yaml"))).plan
    peak = found.peak_memory_bytes
    tight, without = (replace(found, limit_bytes=int(share * peak)) for share in (0.92, 0.88))
    assert not tight.fits
    assert not tight.hopeless
    draft.refuse(tight)
    assert [finding.severity for finding in tryout.memory(tight)] == ["warning"]
    with pytest.raises(InputError):
        draft.refuse(without)
    assert [finding.severity for finding in tryout.memory(without)] == ["error"]


def test_the_micro_batch_is_kept_for_a_resume(here):
    zoo.tiny_folder(here / "model", "llama")
    ready = assembly.prepare(recipe.load("numbers.yaml"))
    decided = ready.decisions | {"microbatch_tokens": 77, "microbatch_records": 3}
    again = assembly.prepare(recipe.load("numbers.yaml"), decided)
    assert (again.layout.tokens, again.layout.records) == (77, 3)
    drafted = draft.draft(draft.read(recipe.load("numbers.yaml"), decided), decided)
    assert (drafted.layout.tokens, drafted.layout.records) == (77, 3)
