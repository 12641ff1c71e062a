"""What the frozen-prefix cache gives: tokens a second of the first epoch, of the later ones, and of the run without it.

    python bench/cache.py                                   # all shapes, freeze and LoRA on the top quarter, beside two peers
    python bench/cache.py --shape mid-24 --tuner freeze --contenders seektune-cached seektune-plain

Every contender is a process of its own and trains the same records for some epochs; the first step of a process is left
out. `bound` is the ratio of the operations that are left: what the cache could give if nothing else took time. Processor
time stands beside the clock: on a busy machine only the first can be compared.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import _peers  # noqa: E402
import _shapes  # noqa: E402
from _records import drawn  # noqa: E402

from seektune import runtime  # noqa: E402

MID = {"model_type": "qwen2", "tie_word_embeddings": True, "vocab_size": 8192, "hidden_size": 384, "intermediate_size": 1024,
       "num_hidden_layers": 24, "num_attention_heads": 6, "num_key_value_heads": 2}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"config": _shapes.SHAPES["tiny"].config, "precision": "float32"},
    "llama-15m": {"config": _shapes.SHAPES["llama-15m"].config, "precision": "float32"},
    "mid-24": {"config": MID, "precision": "float32"},
}
TUNERS = ("freeze", "lora")
CACHED, PLAIN = "seektune-cached", "seektune-plain"
OURS, PEERS = (CACHED, PLAIN), ("trl packing", "hf trainer grouped")
FROZEN = 0.75
RATE = 1e-4


def main() -> int:
    options = arguments().parse_args()
    if options.child:
        child(*options.child)
        return 0
    tables = [measure(options, shape, tuner) for shape in options.shape or SHAPES for tuner in options.tuner or TUNERS]
    if options.json:
        facts = {"command": "python bench/cache.py " + " ".join(sys.argv[1:]), "date": time.strftime("%Y-%m-%d"),
                 "cpu": runtime.cpu_name(), "threads": options.threads, "load": os.getloadavg()[0], "tables": tables}  # fmt: skip
        Path(options.json).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", action="append", choices=list(SHAPES), help="may be repeated (default: all)")
    parser.add_argument("--tuner", action="append", choices=TUNERS, help="may be repeated (default: both)")
    parser.add_argument("--count", type=int, default=48, help="records (default 48)")
    parser.add_argument("--batch-size", type=int, default=8, help="records an optimizer step (default 8)")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="default: float32, which every CPU has")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (without peers)")
    parser.add_argument("--threads", type=int, default=runtime.usable_cores())
    parser.add_argument("--contenders", nargs="+", choices=[*OURS, *PEERS], metavar="NAME")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file as well")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    return parser


def measure(options: argparse.Namespace, shape: str, tuner: str) -> dict[str, Any]:
    """One table: the same records through each contender."""
    config = SHAPES[shape]["config"]
    made = drawn("alpaca-like", options.count, config["vocab_size"], seed=17)
    total = sum(len(ids) for ids, _ in made)
    job = {"shape": shape, "tuner": tuner, "precision": options.precision or SHAPES[shape]["precision"], "threads": options.threads,
           "batch_size": options.batch_size, "epochs": options.epochs, "sequences": made, "device": options.device,
           "packed_length": max(max(len(ids) for ids, _ in made), round(total / len(made) * options.batch_size))}  # fmt: skip
    with_peers = importlib.util.find_spec("trl") is not None and options.device == "cpu"
    names = options.contenders or [*OURS, *(PEERS if with_peers else ())]
    found = {name: run(job | {"contender": name}) for name in names}
    table = {
        "shape": shape,
        "tuner": tuner,
        "precision": job["precision"],
        "records": len(made),
        "tokens": total,
        "contenders": found,
    }
    show(table)
    return table


def run(job: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "job.json"), Path(folder, "result.json")
        asked.write_text(json.dumps(job), encoding="utf-8")
        own = (
            {**runtime.LIBRARIES, **runtime.ALLOCATOR, "GOMP_SPINCOUNT": runtime.spin_count()}
            if job["contender"] in OURS
            else {}
        )
        environment = (
            os.environ | own | {"OMP_NUM_THREADS": str(job["threads"]), "SEEKTUNE_CACHE": folder, "HF_HUB_OFFLINE": "1"}
        )
        command = [sys.executable, str(Path(__file__).resolve()), "--child", str(asked), str(answered)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if answered.exists():
            return json.loads(answered.read_text(encoding="utf-8"))
        return {"failed": (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]}


def show(table: dict[str, Any]) -> None:
    print(
        f"## {table['shape']}, {table['tuner']}, {table['precision']}: {table['records']} records, {table['tokens']:,} tokens\n"
    )
    print("| contender | tokens/s, epoch 1 | later | tokens per processor second, epoch 1 | later | peak memory |")
    print("|---|---:|---:|---:|---:|---:|")
    found = table["contenders"]
    for name, one in found.items():
        if "failed" in one:
            print(f"| {name} | did not run: {one['failed']} | | | | |")
            continue
        speeds = [
            f"{one[key]:,.0f}" if one.get(key) else ""
            for key in ("first", "later", "first_processor", "later_processor")
        ]
        print(f"| {name} | {' | '.join(speeds)} | {one['peak_memory_bytes'] / 2**20:,.0f} MiB |")
    cached = found.get(CACHED, {})
    if cached.get("later"):
        parts = ", ".join(f"{name} {100 * share:.1f} %" for name, share in cached["parts"].items())
        print(f"\n{cached['frozen']} of {cached['layers']} layers frozen; {cached['bytes_per_token']:,} bytes a token. "
              f"Processor time of a later step: {parts}.")  # fmt: skip
        print(f"Operations without the cache over those with it, at most: {cached['bound']:.2f}.")
        for other in (PLAIN, *PEERS):
            if (one := found.get(other, {})).get("later"):
                print(f"Later epochs are {cached['later_processor'] / one['later_processor']:.2f} × {other} by processor time, "
                      f"{cached['later'] / one['later']:.2f} × by the clock.")  # fmt: skip
    print(flush=True)


# ---- in a process of its own ----


def child(job_file: str, result_file: str) -> None:
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import torch

    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        result = (ours if job["contender"] in OURS else theirs)(job, Path(folder))
    result["peak_memory_bytes"] = runtime.peak_rss()
    Path(result_file).write_text(json.dumps(result), encoding="utf-8")


def opened(job: dict[str, Any]) -> tuple[Any, Any]:
    """(model with random weights, a tuner of its top quarter that is yet to be applied)."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from seektune.tuners.freeze import Freeze
    from seektune.tuners.lora import LoRA

    shape = SHAPES[job["shape"]]["config"]
    config = AutoConfig.for_model(**shape, max_position_embeddings=4096, pad_token_id=0, eos_token_id=2)
    total = config.num_hidden_layers
    frozen = Freeze(layers=FROZEN).frozen(total)
    upper = "|".join(map(str, range(frozen, total)))
    tuner = (
        Freeze(layers=FROZEN)
        if job["tuner"] == "freeze"
        else LoRA(rank=8, target_modules=rf".*layers\.({upper})\..*_proj")
    )
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32), tuner


def ours(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Three epochs in the trainer, with the cache or without."""
    import numpy as np
    import torch

    from seektune import assembly
    from seektune.contracts import Document, Event
    from seektune.data.tokens import Tokens
    from seektune.objectives.sft import SFT
    from seektune.optimizers._groups import parameter_groups
    from seektune.optimizers.adamw import AdamW
    from seektune.run import Run
    from seektune.schedules.constant import Constant
    from seektune.sources.loader import Loader
    from seektune.train import prefix_cache
    from seektune.train.options import Train
    from seektune.train.precision import Precision
    from seektune.train.trainer import Layout, Trainer

    model, tuner = opened(job)
    model, proved = assembly.set_up(model, tuner, SFT(), job["precision"])
    model = model.to(job["device"])
    documents = [
        Document(np.array(ids, np.int32), (np.arange(len(ids)) >= prompt).astype(np.float32), i)
        for i, (ids, prompt) in enumerate(job["sequences"])
    ]
    source = Loader()
    source.open(documents, batch_size=job["batch_size"], unit=1, seed=0)
    steps, device, layout = job["epochs"] * source.batches_per_epoch(), torch.device(job["device"]), Layout(proved.rows)
    cache = None
    if job["contender"] == CACHED:
        decided = prefix_cache.decide(True, model, Tokens.of(documents), layout, job["precision"], job["epochs"])
        cache = decided.cache
    marks: list[tuple[float, float, int]] = []

    class Clock:
        def observe(self, event: Event) -> None:
            if event.name == "step":
                if device.type == "cuda":
                    torch.cuda.synchronize()
                marks.append((*_peers.now(), event.values["tokens"]))

    trainer = Trainer(
        model, tuner, SFT(), AdamW(RATE).build(parameter_groups(model, 0.01)), Constant(), source, Run.create(folder, "run"),
        Train(steps=steps, batch_size=job["batch_size"], save_every=10**9), layout, Precision(job["precision"], device.type), steps,
        device, observers=[Clock()], prefix=cache,
    )  # fmt: skip
    spent = watch(trainer, lambda: len(marks) >= source.batches_per_epoch())
    trainer.fit()
    edge = source.batches_per_epoch() - 1
    found = speeds(marks, edge)
    if cache is not None:
        later = marks[-1][1] - marks[edge][1]
        found["parts"] = {name: seconds / later for name, seconds in spent.items()}
        found["parts"]["forward and backward"] = 1 - sum(found["parts"].values())
        found |= {"bytes_per_token": cache.proof.bytes_per_token, **bound(model, cache.layer, documents)}
    return found


def watch(trainer: Any, later: Callable[[], bool]) -> dict[str, float]:
    """Processor seconds of two parts of later steps: the states put in place, the update."""
    spent = {"states": 0.0, "update": 0.0}

    def timed(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began = time.process_time()
            result = own(*arguments)
            spent[name] += (time.process_time() - began) * later()
            return result

        return call

    if trainer.prefix is not None:
        trainer.prefix.attach = timed("states", trainer.prefix.attach)
    trainer._update = timed("update", trainer._update)
    return spent


def speeds(marks: list[tuple[float, float, int]], edge: int) -> dict[str, Any]:
    """Tokens a second by the clock and by the processor: of the first epoch without its first step, of all later ones."""

    def rate(first: int, last: int, which: int) -> float:
        return (marks[last][2] - marks[first][2]) / (marks[last][which] - marks[first][which])

    last = len(marks) - 1
    return {"first": rate(0, edge, 0), "later": rate(edge, last, 0),
            "first_processor": rate(0, edge, 1), "later_processor": rate(edge, last, 1)}  # fmt: skip


def bound(model: Any, layer: int, documents: list[Any]) -> dict[str, Any]:
    """Operations of a step over those that are left once the lower layers are not run."""
    from seektune.models import cost, layers

    work, total = cost.work_of(model), len(layers.blocks(model)[1])
    lengths, learnt = [len(d) for d in documents], sum(float(d.weights.sum()) for d in documents)
    whole = work.training(lengths, learnt)
    below = work.forward(lengths, 0) * layer / total
    return {"bound": whole / (whole - below), "frozen": layer, "layers": total}


def theirs(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A peer with the same parameters trained: no epoch differs from another there."""
    from seektune.train.precision import prepare_dtypes

    def made(_: dict[str, Any]) -> Any:
        model, tuner = opened(job)
        model = tuner.apply(model)
        prepare_dtypes(model, job["precision"])
        return model

    _peers.model_of = made
    found = _peers.timed(
        job, (_peers.trl if job["contender"].startswith("trl ") else _peers.hugging_face)(job, folder)[0]
    )
    return {
        "later": found["tokens"] / found["seconds"],
        "later_processor": found["tokens"] / found["processor_seconds"],
    }


if __name__ == "__main__":
    sys.exit(main())
