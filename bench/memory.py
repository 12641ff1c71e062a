"""What the plan predicts beside what a run takes: eleven recipes, each through `seektune train` in a process of its own.

    python bench/memory.py                          # all of them; memory and time, predicted and measured
    python bench/memory.py --only lora full-tiny    # some of them
    python bench/memory.py --json docs/figures/memory.json

Models are base:tiny and random ones, records are made up, runs take a few steps. Memory is the most that the process holds
while it trains; time is that of the training steps, and says something only where the machine does nothing else.
Exit code 1 where a prediction of memory is off by more than 10 %.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seektune import console, runtime
from seektune.models import load

WORDS = "the company reported a profit of three million dollars in the town near the river where people live".split(" ")  # noqa: SIM905
MEMORY_BAR, TIME_BAR = 0.10, 0.20
LLAMA = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 288, "intermediate_size": 768, "num_hidden_layers": 6,
         "num_attention_heads": 6, "num_key_value_heads": 6, "tie_word_embeddings": True}  # fmt: skip
QWEN2 = {"model_type": "qwen2", "vocab_size": 50000, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 12,
         "num_attention_heads": 8, "num_key_value_heads": 2, "tie_word_embeddings": True}  # fmt: skip
DEEPSEEK = {"model_type": "deepseek_v3", "vocab_size": 8192, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6,
            "num_attention_heads": 8, "num_key_value_heads": 8, "q_lora_rank": 96, "kv_lora_rank": 64, "qk_nope_head_dim": 32,
            "qk_rope_head_dim": 16, "v_head_dim": 32, "moe_intermediate_size": 192, "n_routed_experts": 16,
            "num_experts_per_tok": 4, "n_shared_experts": 1, "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1,
            "num_mtp_layers": 0}  # fmt: skip
BERT = {"model_type": "bert", "vocab_size": 8192, "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6,
        "num_attention_heads": 6}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One recipe. `config`: of a random model, None for base:tiny; `lengths`: mean and deviation of the log of words."""

    tuner: str
    config: dict[str, Any] | None = None
    objective: str = "sft"
    lengths: tuple[float, float] = (4.0, 0.8)
    settings: tuple[str, ...] = ()
    batch_size: int = 16
    most: int = 600  # words of a record
    steps: int = 20  # optimizer steps; enough to meet nearly every micro-batch that the plan counts with


CASES = {
    "lora": Case("{kind: lora, rank: 16}"),
    "full-tiny": Case("{kind: full}"),
    "freeze": Case("{kind: freeze, layers: 0.5}", settings=("train.microbatch=4",)),
    "classify": Case("{kind: full}", objective="classify", batch_size=32),
    "llama-15m-fp32": Case("{kind: full}", LLAMA),
    "llama-15m-bf16": Case("{kind: full}", LLAMA, settings=("train.precision=bfloat16",)),
    "qwen2-mid-lora": Case("{kind: lora, rank: 8}", QWEN2, settings=("train.precision=bfloat16",), batch_size=8),
    "deepseek-moe": Case("{kind: lora, rank: 8}", DEEPSEEK, batch_size=8),
    "bert-classify": Case("{kind: full}", BERT, objective="classify", batch_size=32, most=200, steps=10),
    "long-checkpointed": Case("{kind: full}", LLAMA, lengths=(7.3, 0.2), most=2000, batch_size=4,
                              settings=("train.activation_checkpointing=true", "data.max_length=2048"), steps=6),
    "padded": Case("{kind: lora, rank: 8}", LLAMA, settings=("train.packing=false", "train.microbatch=8")),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--steps", type=int, help="optimizer steps of each run (default: the recipe's, 6 to 20)")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rows = [measured(name, Path(place), options.steps or CASES[name].steps) for name in options.only or CASES]
    show(rows)
    if options.json:
        facts = {"command": "python bench/memory.py " + " ".join(sys.argv[1:]), "date": time.strftime("%Y-%m-%d"),
                 "machine": f"{runtime.usable_cores()} × {runtime.cpu_name()}", "rows": rows}  # fmt: skip
        Path(options.json).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 1 if any("failed" in row or abs(row["memory_ratio"] - 1) > MEMORY_BAR for row in rows) else 0


def measured(name: str, place: Path, steps: int) -> dict[str, Any]:
    """One run, and what its report says of the plan."""
    case = CASES[name]
    recipe = place / f"{name}.yaml"
    recipe.write_text(written(case, name, place, steps), encoding="utf-8")
    command = [sys.executable, "-m", "seektune", "train", str(recipe), *case.settings]
    environment = os.environ | {"SEEKTUNE_CACHE": str(place / "cache")}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    report = place / "runs" / name / "report.json"
    if not report.exists():
        return {"name": name, "failed": (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]}
    found = json.loads(report.read_text(encoding="utf-8"))
    memory, seconds = found["comparison"]["peak_memory_bytes"], found["comparison"]["seconds"]
    print(f"{name}: {memory['predicted'] / memory['measured']:.2f}", file=sys.stderr, flush=True)
    return {
        "name": name,
        "memory_predicted": memory["predicted"],
        "memory_measured": memory["measured"],
        "memory_ratio": memory["predicted"] / memory["measured"],
        "seconds_predicted": seconds["predicted"],
        "seconds_measured": seconds["measured"],
        "seconds_ratio": seconds["predicted"] / seconds["measured"],
        "parts": found["plan"]["memory_bytes"],
    }


def written(case: Case, name: str, place: Path, steps: int) -> str:
    """The recipe, with its records and its model beside it."""
    model = "base:tiny" if case.config is None else str(model_folder(case.config, place / f"model-{name}"))
    records(case, place / f"{name}.jsonl", case.batch_size * (steps + 2))
    rate = "2e-4" if "lora" in case.tuner else "2e-5"
    return (
        f"name: {name}\nmodel: {{path: {model}}}\ndata: {{train: {name}.jsonl, max_length: 1024}}\n"
        f"tuner: {case.tuner}\nobjective: {case.objective}\noptimizer: {{kind: adamw, learning_rate: {rate}}}\n"
        f"train: {{steps: {steps}, batch_size: {case.batch_size}, precision: float32}}\n"
    )


def records(case: Case, file: Path, count: int) -> None:
    """Made-up ones of skewed lengths: conversations, or texts with one of four labels."""
    random = np.random.default_rng(17)

    def text(words: int) -> str:
        return " ".join(random.choice(WORDS, max(1, words)))

    rows = []
    for length in np.clip(random.lognormal(*case.lengths, count), 4, case.most).astype(int):
        if case.objective == "classify":
            rows.append({"text": text(length), "label": f"label {random.integers(4)}"})
        else:
            rows.append({"instruction": text(length // 2), "output": text(length - length // 2)})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def model_folder(config: dict[str, Any], folder: Path) -> Path:
    """A random model with base:tiny's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    values = AutoConfig.for_model(
        **config, max_position_embeddings=4096, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )
    auto: Any = AutoModelForSequenceClassification if config["model_type"] == "bert" else AutoModelForCausalLM
    auto.from_config(values, dtype=torch.float32).save_pretrained(folder)
    AutoTokenizer.from_pretrained(load.folder_of(load.Model(path="base:tiny"))).save_pretrained(folder)
    return folder


def show(rows: list[dict[str, Any]]) -> None:
    cells = [
        [row["name"], row["failed"], "", "", "", "", ""]
        if "failed" in row
        else [
            row["name"],
            console.size(row["memory_predicted"]),
            console.size(row["memory_measured"]),
            f"{row['memory_ratio']:.2f}",
            console.duration(row["seconds_predicted"]),
            console.duration(row["seconds_measured"]),
            f"{row['seconds_ratio']:.2f}",
        ]
        for row in rows
    ]
    console.table(["recipe", "memory, predicted", "measured", "ratio", "time, predicted", "measured", "ratio"], cells)


if __name__ == "__main__":
    sys.exit(main())
