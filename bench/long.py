"""How memory grows with the length of a document: one training step on one document, a process each, the most it ever held.

    python bench/long.py                                           # base:tiny's shape up to 32,768 tokens
    python bench/long.py --shape qwen2-0.5b --lengths 2048 8192 --precisions bfloat16 --json out.json

LoRA on all linear layers; the last 512 tokens of the document are learnt. Each figure is what came on top of what the process
held before the step (model, libraries). The C library hands every tensor back at once here, so that tensors are counted and
not the holes of its heap; in a run, which keeps the heap for speed, these come on top (the plan's `allocator`).
`ratio`: the figure over the one before it; with twice the length 2 is linear. Memory does not depend on how busy a machine
is, so these figures may be taken while it works; the processor time beside them is of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

LENGTHS = [1024, 2048, 4096, 8192, 16384, 32768]
WAYS = ("plain", "half recompute", "recompute", "recompute, pieces", "recompute, pieces, offload")
LEARNT = 512


def main() -> int:
    options = arguments().parse_args()
    if options.job:
        print(json.dumps(one(json.loads(options.job))))
        return 0
    rows = []
    for precision in options.precisions:
        for way in options.ways:
            found = [process(options, way, precision, length) for length in options.lengths]
            rows.append({"way": way, "precision": precision, "figures": found})
            show(rows[-1])
    if options.json:
        facts = {"command": "python bench/long.py " + " ".join(sys.argv[1:]), "date": time.strftime("%Y-%m-%d"),
                 "machine": {"cpu": cpu(), "threads": options.threads}, "shape": options.shape, "layers": options.layers, "lengths": options.lengths, "rows": rows}  # fmt: skip
        Path(options.json).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="tiny", help="a shape of bench/step.py (default: tiny)")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument(
        "--layers", type=int, help="other than the shape has (attention over 32,768 tokens takes its time)"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser


def process(options: Any, way: str, precision: str, length: int) -> dict[str, Any]:
    job = {"shape": options.shape, "way": way, "precision": precision, "length": length, "threads": options.threads,
           "layers": options.layers}  # fmt: skip
    command = [sys.executable, str(Path(__file__).resolve()), "--job", json.dumps(job)]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{way} at {length}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def one(job: dict[str, Any]) -> dict[str, Any]:
    """A step on a short document, so that libraries are there, and one on the document that is measured."""
    warnings.simplefilter("ignore")
    import numpy as np
    import torch
    from _shapes import SHAPES, bare_model, tuner_of

    from seektune import assembly, runtime
    from seektune.contracts import Document
    from seektune.data import pack
    from seektune.objectives.sft import SFT
    from seektune.train.precision import Precision

    torch.manual_seed(0)
    torch.set_num_threads(job["threads"])
    shape = SHAPES[job["shape"]]
    if job["layers"]:
        shape.config["num_hidden_layers"] = job["layers"]
    objective = SFT()
    model, _ = assembly.set_up(bare_model(shape, job["precision"]), tuner_of(shape), objective, job["precision"])
    model.train()
    arithmetic = Precision(job["precision"], "cpu")

    def step(length: int) -> None:
        ids = np.random.default_rng(0).integers(10, 4000, length).astype(np.int32)
        weights = (np.arange(length) >= max(1, length - LEARNT)).astype(np.float32)
        [micro] = pack.cut([Document(ids, weights, 0)])
        with arithmetic.autocast():
            loss = objective.loss(model, micro)
        loss.total.backward()

    with tempfile.TemporaryDirectory() as folder:
        save(model, job["way"], Path(folder))
        step(600)
        runtime.reset_peak_rss()
        held, began = runtime.peak_rss(), time.process_time()
        step(job["length"])
        return {
            "length": job["length"],
            "held_bytes": held,
            "step_bytes": runtime.peak_rss() - held,
            "processor_seconds": time.process_time() - began,
        }


def save(model: Any, way: str, folder: Path) -> None:
    if way == "plain":
        return
    from contextlib import nullcontext

    from seektune.models import pieces, recompute
    from seektune.models.offload import Shelf

    every = len(recompute.recomputable(model))
    shelf = Shelf(folder)
    count = every // 2 if way.startswith("half") else every
    recompute.recompute(model, count, shelf.keeping if "offload" in way else nullcontext)
    pieces.chunk(model, pieces.TOKENS if "pieces" in way else None)


def show(row: dict[str, Any]) -> None:
    print(f"\n{row['way']}, {row['precision']}")
    print(f"{'tokens':>8} {'step':>12} {'ratio':>6} {'a token':>10} {'processor':>10}")
    before = 0
    for figure in row["figures"]:
        used = figure["step_bytes"]
        ratio = f"{used / before:.2f}" if before else ""
        cells = (
            f"{figure['length']:>8,} {used / 2**20:>8,.0f} MiB {ratio:>6} {used / figure['length'] / 1024:>6,.1f} KiB"
        )
        print(f"{cells} {figure['processor_seconds']:>8.1f} s", flush=True)
        before = used


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
