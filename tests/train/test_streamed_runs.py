"""Runs with `train.stream`: the numbers, the adapter and the resume are those of any other run."""

import shutil

import pytest
import torch
import zoo
from checkup import Setting
from safetensors.torch import load_file

from seektune import assembly, doctor
from seektune.run import Run
from seektune.train import checkpoint
from seektune.train.options import Train


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def recipe_of(here, stream, name, **train):
    given = {"steps": 4, "batch_size": 6, "microbatch": 2, "save_every": 2, "keep": 4, "precision": "float32"} | train
    folder = here / "model"
    if not folder.exists():
        zoo.tiny_folder(folder, "llama")
    made = Setting(here, here).recipe(folder=folder, rate=1e-2, train=Train(device="cpu", stream=stream, **given))
    made.name = name
    return made


def trained(recipe, resume=False):
    """Through training alone, with what `run` would write before."""
    run = Run.open(assembly.RUNS / recipe.name) if resume else None
    ready = assembly.prepare(recipe, run.read("plan.json")["decisions"] if run else None)
    if run is None:
        run = Run.create(assembly.RUNS, recipe.name)
        assembly._describe(ready, run)
    assembly._train(ready, run)
    return ready, run


def adapter(run, step=4):
    return load_file(run.checkpoint_folder(step) / "trainable.safetensors")


def test_a_streamed_run_trains_to_the_same_numbers_in_one_forward_a_step(here):
    calls = []
    runs = []
    for stream in (False, True):
        recipe = recipe_of(here, stream, f"run-{stream}")
        ready, run = trained(recipe)
        runs.append(run)
        calls.append(ready.layout.whole)
    assert calls == [False, True]
    plain, streamed = ([row["loss"] for row in run.metrics("train")] for run in runs)
    assert streamed == pytest.approx(plain, rel=1e-5)
    for name, value in adapter(runs[0]).items():
        assert torch.allclose(value, adapter(runs[1])[name], rtol=1e-3, atol=1e-5), name
    assert runs[1].read("plan.json")["decisions"]["stream"] is True


def test_a_streamed_run_resumes_to_the_same_bits(here):
    recipe = recipe_of(here, True, "whole")
    _, whole = trained(recipe)
    shutil.copytree(whole.path, assembly.RUNS / "cut")
    cut = Run.open(assembly.RUNS / "cut")
    shutil.rmtree(cut.checkpoint_folder(4))
    assert checkpoint.latest(cut.checkpoints_folder).name == "step-000002"
    recipe.name = "cut"
    _, resumed = trained(recipe, resume=True)
    for name, value in adapter(whole).items():
        assert torch.equal(value, adapter(resumed)[name]), name
    assert [row["loss"] for row in resumed.metrics("train")] == [row["loss"] for row in whole.metrics("train")]


def test_out_of_memory_halves_the_chunks_and_changes_no_number(here, monkeypatch):
    from seektune.models import streaming

    expected = trained(recipe_of(here, True, "enough", microbatch=4))[1]
    inner, failed = streaming.Visit.backward, []

    def backward(self, *arguments):
        if not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("out of memory")
        return inner(self, *arguments)

    recipe = recipe_of(here, True, "short", microbatch=4)
    ready = assembly.prepare(recipe)
    run = Run.create(assembly.RUNS, recipe.name)
    assembly._describe(ready, run)
    monkeypatch.setattr(streaming.Visit, "backward", backward)
    assembly._train(ready, run)
    assert [event["microbatch"] for event in run.events("out_of_memory")] == [2]
    losses = [row["loss"] for row in run.metrics("train")]
    assert losses == pytest.approx([row["loss"] for row in expected.metrics("train")], rel=1e-5)


def test_check_tells_what_travels_and_the_plan_what_is_held(here):
    ready = assembly.prepare(recipe_of(here, True, "checked"))
    streamed = doctor.model_facts(ready)["streamed_bytes"]
    block = 4 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32)
    assert streamed == {"a layer": block, "a step": 2 * 3 * block}
    ends = 4 * (2 * zoo.VOCAB * 32 + 32)
    assert ready.plan.memory_bytes["frozen weights"] == 2 * block + ends
    assert ready.plan.memory_bytes["block inputs"] > 0
