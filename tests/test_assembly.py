"""Whole runs on tiny models: every recipe of the repository, resumed, continued, merged; what lies in the run folder afterwards."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import zoo

from seektune import assembly, draft, recipe
from seektune.errors import InputError, RefusedError
from seektune.evaluate import stored
from seektune.models import isolation
from seektune.run import Run
from seektune.train.options import Train

QUESTIONS = ["What is the name?", "名字是什么？", "Where is it?"]


def conversations(path, count, shift=0):
    rows = [
        {
            "instruction": QUESTIONS[i % 3],
            "input": f"It is {i + shift}.",
            "output": f"{i + shift} {'yes' if i % 2 else 'no'}",
        }
        for i in range(count)
    ]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    return path


def labelled(path, count):
    rows = [
        {"text": f"{'good' if i % 2 else 'bad'} thing {i}", "label": "up" if i % 2 else "down"} for i in range(count)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def texts(path, count):
    path.write_text("\n".join(json.dumps({"text": f"Number {i} follows number {i - 1}."}) for i in range(count)) + "\n")
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path


COMMON = [
    "train.steps=3",
    "train.epochs=null",
    "train.batch_size=4",
    "train.precision=float32",
    "require={}",
    "data.valid.fraction=0.25",
]
DATA = {"sft_lora": conversations, "sft_full": conversations, "classify": labelled, "pretrain": texts}


def run_of(here, story, *more, architecture="qwen2", name="one"):
    data = DATA[story](here / f"{story}.jsonl", 24)
    model = here / f"model-{architecture}"
    if not model.exists():
        zoo.tiny_folder(model, architecture)
    settings = [f"model.path={model}", f"data.train.0.path={data}", f"name={name}", *COMMON, *more]
    return recipe.load(assembly_recipe(story), settings).run()


def assembly_recipe(story):
    return Path(__file__).resolve().parent.parent / "recipes" / f"{story}.yaml"


@pytest.mark.parametrize("story", ["sft_lora", "sft_full", "classify", "pretrain"])
def test_every_recipe_runs_and_its_folder_is_whole(here, story):
    run = run_of(here, story)
    assert run.status == "finished"
    for name in (
        "recipe.yaml",
        "environment.json",
        "data.json",
        "plan.json",
        "metrics.jsonl",
        "events.jsonl",
        "report.json",
        "report.html",
        "model",
    ):
        assert (run.path / name).exists(), name
    assert [line["step"] for line in run.metrics("train")] == [1, 2, 3]
    report = run.read("report.json")
    assert set(report["before"]) == set(report["after"]) != set()
    assert report["comparison"]["peak_memory_bytes"]["measured"] > 0
    assert report["proof"]
    recipe.load(run.path / "recipe.yaml")  # as resolved; loads from anywhere


def test_a_bert_classifier_runs(here):
    run = run_of(here, "classify", architecture="bert")
    assert run.read("plan.json")["decisions"]["rows"] == "packed"


def test_a_model_that_cannot_be_packed_runs_and_says_so(here):
    run = run_of(here, "sft_lora", "evaluate=[{kind: perplexity}]", architecture="deepseek_v32")
    decisions = run.read("plan.json")["decisions"]
    assert decisions["rows"] == "equal"
    assert "sparse index" in decisions["isolation"]


def test_prefixes_are_shared_where_rows_are_packed_and_it_was_proved():
    model, pairs = zoo.tiny("qwen2"), SimpleNamespace(head="lm", unit=2)

    def layout(share=True, decided=None, **train):
        proved = isolation.isolate(model, share=share)
        return draft.layout_of(model, pairs, Train(steps=1, **train), proved, torch.device("cpu"), 0, decided)

    assert layout().share
    assert not layout(share=False).share  # as for an objective whose unit is one document
    assert not layout(packing=False).share
    decided = {"rows": "packed", "microbatch_records": 1, "microbatch_tokens": 64}
    assert not layout(decided=decided).share  # a run from before
    assert layout(share=False, decided=decided | {"share": True}).share


def test_continue_starts_from_an_old_result(here):
    first = run_of(here, "sft_full")
    second = run_of(here, "sft_full", f"model={{continue: {first.path}}}", name="two")
    old, new = stored.read(first.path / "evaluation/after.jsonl"), stored.read(second.path / "evaluation/before.jsonl")
    assert new.head["scores"]["perplexity"]["value"] == pytest.approx(
        old.head["scores"]["perplexity"]["value"], rel=1e-2
    )


def test_new_tokens_train_and_save_their_rows_only(here):
    run = run_of(here, "sft_lora", "model.new_tokens=['<ticker>', '<fund>']")
    from safetensors import safe_open

    with safe_open(run.path / "model" / "adapter_model.safetensors", "pt") as opened:
        rows = {
            name: opened.get_slice(name).get_shape()
            for name in opened.keys()  # noqa: SIM118
            if "token_adapter" in name or "embed" in name
        }
    assert [shape[0] for shape in rows.values()] == [2]


def test_a_requirement_that_is_not_met_is_told_after_everything_is_saved(here):
    with pytest.raises(RefusedError, match=r"require.perplexity: not met"):
        run_of(here, "sft_full", "require={perplexity: '< 0'}")
    run = Run.open("runs/one")
    assert run.status == "finished"
    assert (run.path / "report.html").exists()


def test_a_name_that_is_taken_is_refused_before_anything_is_read(here):
    run_of(here, "pretrain")
    before = sorted(p.stat().st_mtime_ns for p in (here / "runs").rglob("*"))
    with pytest.raises(InputError, match="one"):
        run_of(here, "pretrain")
    assert sorted(p.stat().st_mtime_ns for p in (here / "runs").rglob("*")) == before


def test_data_that_changed_since_are_refused_on_resume(here):
    run = run_of(here, "pretrain")
    texts(here / "pretrain.jsonl", 23)
    with pytest.raises(InputError, match="data files have changed since this run began"):
        recipe.resume(Run.open(run.path))


def test_check_writes_nothing(here):
    data = conversations(here / "c.jsonl", 12)
    zoo.tiny_folder(here / "m", "llama")
    settings = [f"model.path={here / 'm'}", f"data.train.0.path={data}", *COMMON]
    ready = assembly.prepare(recipe.load(assembly_recipe("sft_lora"), settings))
    assert ready.total_steps == 3
    assert not (here / "runs").exists()
