"""What base:tiny can do: greedy answers to held-out records, and their perplexity; writes docs/figures/base.json.

python bench/base.py [--metrics runs/base-tiny/metrics.jsonl] [--model base:tiny]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

FIGURES = Path("docs/figures/base.json")
RECORDS = 520


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="base:tiny")
    parser.add_argument("--metrics", type=Path, help="metrics.jsonl of the run that made the weights")
    options = parser.parse_args()
    figures = {"command": "python bench/base.py", "date": time.strftime("%Y-%m-%d"), "machine": machine()} | ability(
        options.model
    )
    if options.metrics:
        figures |= training(options.metrics)
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    print(json.dumps(figures, indent=2, ensure_ascii=False))
    return 0


def machine() -> str:
    from seektune import runtime

    return f"{runtime.usable_cores()} × {runtime.cpu_name()}"


def ability(path: str) -> dict:
    """Exact match of the last answer by task, and the perplexity of all answers."""
    from seektune.base import text
    from seektune.engine.opening import open_engine
    from seektune.evaluate.evaluator import evaluate
    from seektune.evaluate.measures.exact_match import ExactMatch
    from seektune.evaluate.measures.perplexity import Perplexity

    records = list(text.held_out(RECORDS))
    report = evaluate(open_engine(path), records, [ExactMatch(max_new_tokens=80), Perplexity()])
    right, asked = Counter[str](), Counter[str]()
    for record, hit in zip(records, report.values["exact_match"], strict=True):
        right[record["task"]] += hit or 0
        asked[record["task"]] += 1
    tasks = {task: f"{right[task]} of {asked[task]}" for task in asked}
    return {
        "perplexity": report.scores["perplexity"]["value"],
        "tasks": tasks | {"all": f"{right.total()} of {RECORDS}"},
    }


def training(metrics: Path) -> dict:
    rows = [row for row in map(json.loads, metrics.read_text().splitlines()) if row["split"] == "train"]
    first, last = ([row["loss"] for row in part] for part in (rows[:100], rows[-100:]))
    pairs = itertools.pairwise(rows)
    seconds = sum((after["tokens"] - before["tokens"]) / after["tokens_per_second"] for before, after in pairs)
    return {
        "tokens": rows[-1]["tokens"],
        "learnt_tokens": rows[-1]["supervised_tokens"],
        "steps": rows[-1]["step"],
        "minutes": round(seconds / 60, 1),
        "loss_first": round(statistics.mean(first), 3),
        "loss_last": round(statistics.mean(last), 3),
    }


if __name__ == "__main__":
    sys.exit(main())
