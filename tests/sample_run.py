"""A run folder as a training leaves it, with text that would break a careless page; made from numbers alone."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seektune import kinds
from seektune.contracts import Answer, Record
from seektune.evaluate import stored
from seektune.evaluate.evaluator import evaluate
from seektune.run import Run

XSS = "<script>document.title = 'hacked'</script><img src=x onerror=\"document.title = 'hacked'\">'&</pre>"
REFERENCE = '{"company": "海尔智家", "event": "acquisition", "amount": 120, "currency": "EUR", "direction": "up"}'
STEPS = 240


def sample_run(root: Path, steps: int = STEPS, name: str = "headlines-3") -> Run:
    """Finished, with two evaluations of 200 records, an alarm, one step that was not finite."""
    run = Run.create(root, name)
    write_metrics(run, steps)
    write_evaluations(run)
    run.write(
        "environment.json", {"seektune": "0.1.0", "packages": {"torch": "2.13.0"}, "git": None, "seeds": {"recipe": 17}}
    )
    inputs = [
        {
            "path": f"train {XSS}.jsonl",
            "shape": "instruction",
            "kept": 600,
            "dropped": 2,
            "reasons": {"empty answer": 2},
        }
    ]
    run.write("data.json", {"inputs": inputs, "records": 600, "supervised_share": 0.31, "examples": examples()})
    run.write(
        "plan.json", {"steps": steps, "trainable_parameters": 393216, "seconds": 100.0, "peak_memory_bytes": 700 << 20}
    )
    (run.path / "recipe.yaml").write_text(f"name: headlines\nmodel: {{path: base:tiny}}\n# {XSS}\n", encoding="utf-8")
    return run


def write_metrics(run: Run, steps: int) -> None:
    dice = random.Random(1)
    run.event("start", step=0, total_steps=steps)
    for step in range(1, steps + 1):
        part = step / steps
        loss = 0.25 + 3.2 * math.exp(-6 * part) + dice.gauss(0, 0.08)
        rate = 2e-4 * min(1, part / 0.1) * (0.5 + 0.5 * math.cos(math.pi * part))
        line = {
            "step": step,
            "progress": part,
            "tokens": 2048 * step,
            "supervised_tokens": 640 * step,
            "split": "train",
        }
        line |= {"loss": math.nan if step == 100 else loss, "learning_rate": rate, "grad_norm": 0.6 + dice.random()}
        run.append(line | {"tokens_per_second": 5200 + 300 * dice.random(), "time": 1.76e9 + step})
        if step % 40 == 0:
            run.append({"step": step, "progress": part, "split": "valid", "loss": loss + 0.1, "time": 1.76e9 + step})
            run.event("validation", step=step, loss=loss + 0.1)
            run.event("checkpoint", step=step, path=f"step-{step:06d}")
    run.event("non_finite", step=100, module="model.layers.3.mlp", records=["train.jsonl:17"])
    run.event("alarm", step=150, reason=f"gradient norm 12 times the median {XSS}")


class Canned:
    """An engine whose answers were written down before: right for the first `right` questions."""

    def __init__(self, right: int):
        self.right = right

    def generate(self, prompts: Sequence[Record], **sampling: Any) -> list[Answer]:
        wrong = [f"The company {XSS if i == 7 else 'is a company'}" for i in range(len(prompts))]
        return [Answer(REFERENCE if i < self.right else wrong[i], [1], i < self.right) for i in range(len(prompts))]


def write_evaluations(run: Run) -> None:
    asked = [f"Haier buys a rival for {i} million euros {XSS if i == 0 else ''}\nAnswer in JSON." for i in range(200)]
    records: list[Record] = [{"messages": [message("user", text), message("assistant", REFERENCE)]} for text in asked]
    held: dict[str, Any] = {}
    for when, right in (("before", 5), ("after", 183)):
        engine: Any = Canned(right)
        found = evaluate(engine, records, [kinds.build("evaluate", {"kind": "exact_match"})])
        stored.write(run.path / "evaluation" / f"{when}.jsonl", found, records, "model")
        held[when] = found.scores | {
            "perplexity": {"value": 9.2 if right == 5 else 1.31, "low": 1.2, "high": 9.9, "n": 200}
        }
    held["measured"] = {"seconds": 118.4, "tokens_per_second": 5321.0, "peak_memory_bytes": 655 << 20}
    held["proof"] = {
        "records": 20,
        "max_difference": 3.1e-6,
        "top1_agreement": 1.0,
        "stopped": "8 of 8",
        "passed": True,
    }
    run.write("report.json", held | {"require": {"exact_match": "> before + 0.05"}})


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def examples() -> list[list[list[str]]]:
    asked = [
        ["<|im_start|>user\n", "not learnt"],
        [f"Haier buys {XSS}\n", "not learnt"],
        ["<|im_end|>\n<|im_start|>assistant\n", "not learnt"],
    ]
    chinese = [
        ["<|im_start|>user\n海尔智家收购对手", "not learnt"],
        ["<|im_end|>\n<|im_start|>assistant\n", "not learnt"],
    ]
    answer = [['{"company": ', "learnt"], ['"海尔智家"', "learnt"], ["}", "learnt"], ["<|im_end|>", "end"]]
    return [asked + answer, [*chinese, ['{"company": "海尔', "learnt"], ['智家"}', "cut"], ["<|im_end|>", "cut"]]]
