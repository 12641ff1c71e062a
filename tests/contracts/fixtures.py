"""The files of the scenarios: models, records, templates, a hub cache, a finished run. Each is made when it is first needed."""

from __future__ import annotations

import importlib.util
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo

from seektune import assembly, recipe_yaml
from seektune.run import Run

OWN_CODE = """
from transformers import Qwen2Config, Qwen2ForCausalLM


class OwnConfig(Qwen2Config):
    model_type = "own"


class OwnModel(Qwen2ForCausalLM):
    config_class = OwnConfig
"""
TOPICS = ("rivers", "towns", "rivers", "people")
WORDS = ("river", "town", "profit", "quarter", "company", "person", "dollars", "north")


def make(folder: Path) -> Path:
    """All files, in one folder; several models that differ in their weights."""
    zoo.tiny_folder(folder / "model")
    zoo.tiny_folder(folder / "other_model", seed=1)
    _rows(folder / "train.jsonl", instructions(12))
    _rows(folder / "other.jsonl", instructions(12, start=5))
    _rows(folder / "one_unfit_row.jsonl", [*instructions(11), {"instruction": "no output"}])
    _rows(
        folder / "labels.jsonl",
        [{"text": f"a {w} is here", "label": ("good", "bad")[i % 2]} for i, w in enumerate(WORDS)],
    )
    _rows(folder / "capitals.jsonl", capitals())
    _rows(folder / "marked.jsonl", marked())
    (folder / "other.jinja").write_text("{{ '<bos>' }}" + zoo.TEMPLATE)
    stage_files(folder)
    _answering(folder)
    _hub(folder)
    _own_code(folder)
    _pickled(folder)
    _finished(folder)
    return folder


def surround(patch: pytest.MonkeyPatch, folder: Path, place: Path) -> None:
    """Runs under `place`, caches of our own, no network, no progress on the screen."""
    import huggingface_hub.constants
    import transformers.dynamic_module_utils

    patch.setattr(assembly, "RUNS", place / "runs")
    patch.setenv("SEEKTUNE_CACHE", str(folder / "cache"))
    patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    patch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(folder / "modules"))
    patch.syspath_prepend(str(folder / "modules"))


def recipe_file(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "recipe.yaml"
    if not path.exists():
        path.write_text(recipe_yaml.dump(values))
    return path


def instructions(count: int, start: int = 0) -> list[dict[str, str]]:
    """Records of unequal length, that can be read as instructions and as plain text."""
    made = []
    for i in range(start, start + count):
        words = list(itertools.islice(itertools.cycle(WORDS), i % 8, i % 8 + 1 + i % 4))
        made.append({
            "instruction": f"say {i}", "input": WORDS[i % 8], "output": " ".join(words), "text": f"{i}: " + ", ".join(words),
            "topic": TOPICS[i % 4],
        })  # fmt: skip
    return made


def stage_files(folder: Path) -> Path:
    """The records for stages, and the files that their examples name: those of a kind are made by `files(folder)` in
    tests/stages/files_of_<kind>.py, where it needs any."""
    _rows(folder / "stages.jsonl", stage_records())
    for path in sorted((Path(__file__).parent.parent / "stages").glob("files_of_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.files(folder)
    return folder


def stage_records() -> list[dict[str, Any]]:
    """What stages look at, in Chinese and English: conversations and labelled texts, repeated, near each other, with numbers, names and marks."""
    made: list[dict[str, Any]] = []
    for i in range(24):
        word, other = WORDS[i % 8], WORDS[(i * 3 + 1) % 8]
        asked, said = (
            f"What did the {word} say about the {other} in {1990 + i}?",
            f"The {word} said that {i + 1}% of the {other} went north.",
        )
        if i % 3 == 0:
            asked, said = (
                f"第{i}家公司的利润是多少？请写信到 a{i}@example.com。",
                f"公司第{i}季度利润为{i + 1}.5亿元，比上年增长{i}%。",
            )
        made.append({"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}], "topic": TOPICS[i % 4],
                     "label": ("good", "bad", "good")[i % 3]})  # fmt: skip
    made.append(dict(made[4]))
    near = [dict(turn) for turn in made[5]["messages"]]
    near[1]["content"] += " Again."
    made.append({**made[5], "messages": near})
    made.append(
        {
            "messages": [{"role": "user", "content": "say"}, {"role": "assistant", "content": "word"}],
            "topic": "towns",
            "label": "bad",
        }
    )
    return made


def marked() -> list[dict[str, Any]]:
    """Texts with entities of two types."""
    made = []
    for i, word in enumerate(WORDS):
        text, spans = f"the {word} of 公司 in town {i}", [[4, 4 + len(word), "thing"]]
        made.append({"text": text, "spans": [*spans, [text.index("公司"), text.index("公司") + 2, "place"]]})
    return made


def capitals() -> list[dict[str, str]]:
    """The answering model says `Paris` to everything: right, right but for its case, wrong."""
    return [
        {"instruction": f"capital {i}", "output": answer}
        for i, answer in enumerate(["Paris", "Paris", "paris", "paris", "Rome", "Rome"])
    ]


def _rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _answering(folder: Path) -> None:
    """A model that has learnt one answer by heart."""
    tokenizer, model = zoo.tokenizer(), zoo.tiny("qwen2")
    prompts = [f"<user>{row['instruction']}<assistant>" for row in capitals()]
    rows = [tokenizer.encode(prompt + "Paris<eos>", add_special_tokens=False) for prompt in prompts]
    assert len({len(row) for row in rows}) == 1
    ids = torch.tensor(rows)
    labels = ids.clone()
    labels[:, : len(tokenizer.encode(prompts[0], add_special_tokens=False))] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    assert (model(input_ids=ids).logits.argmax(-1)[:, :-1] == ids[:, 1:])[labels[:, 1:] != -100].all()
    model.save_pretrained(folder / "answering")
    tokenizer.save_pretrained(folder / "answering")


def _hub(folder: Path) -> None:
    """What huggingface_hub keeps of a repository with a branch and a tag, each with weights of its own."""
    at = folder / "hub" / "models--owner--tiny"
    for ref, commit, model in (("main", "a" * 40, "model"), ("v2", "b" * 40, "other_model")):
        shutil.copytree(folder / model, at / "snapshots" / commit)
        (at / "refs").mkdir(exist_ok=True)
        (at / "refs" / ref).write_text(commit)


def _own_code(folder: Path) -> None:
    """A model whose architecture transformers does not know; its code lies beside it."""
    at = shutil.copytree(folder / "model", folder / "own_code")
    (at / "own.py").write_text(OWN_CODE)
    config = json.loads((at / "config.json").read_text())
    config |= {"model_type": "own", "architectures": ["OwnModel"]}
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (at / "config.json").write_text(json.dumps(config))


def _pickled(folder: Path) -> None:
    at = shutil.copytree(folder / "model", folder / "pickled")
    (at / "model.safetensors").unlink()
    torch.save(zoo.tiny("qwen2").state_dict(), at / "pytorch_model.bin")


def _finished(folder: Path) -> None:
    """Two finished runs, one of each model."""
    for name, model in (("finished_run", "model"), ("other_run", "other_model")):
        run = Run.create(folder, name)
        shutil.copytree(folder / model, run.model_folder)
        run.event("end", step=1)
