"""What it saves to compute a common prompt once: a training step on pairs and groups, with shared prefixes and without.

    python bench/share.py                                  # pairs and groups, on `tiny` and `llama-15m`
    python bench/share.py --shape qwen2-0.5b --records 1 --steps 1 --json out.json

Both contenders are our loop on the same random documents; each runs in a process of its own, in turn, and the best round
counts. Time is processor time of all threads, from the end of the first step to the end of the last; peak memory is that
of the process. Answers are learnt, prompts are not, as preferences and rewards have it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from _ours import DECAY, RATE, now  # noqa: E402
from _shapes import SHAPES, tuned_model  # noqa: E402

from seektune import runtime  # noqa: E402
from seektune.contracts import Batch, Document, Event, Loss  # noqa: E402

CASES = {  # prompt, answers
    "pairs": (400, (100, 100)),
    "unequal-pairs": (400, (60, 140)),
    "groups": (300, (150,) * 8),
}


def main() -> int:
    options = arguments().parse_args()
    if options.job:
        options.job[1].write_text(json.dumps(measured(json.loads(options.job[0].read_text()))), encoding="utf-8")
        return 0
    facts: dict[str, Any] = {
        "command": "python bench/share.py " + " ".join(sys.argv[1:]), "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu": runtime.cpu_name(), "threads": options.threads},
    }  # fmt: skip
    for shape in options.shape or ["tiny", "llama-15m"]:
        for case in options.case or CASES:
            facts[f"{shape}-{case}"] = compared(options, shape, case)
            if options.json:
                Path(options.json).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shape",
        action="append",
        choices=[n for n, s in SHAPES.items() if s.task == "lm"],
        help="may be repeated (default: tiny and llama-15m)",
    )
    parser.add_argument("--case", action="append", choices=list(CASES), help="may be repeated (default: all)")
    parser.add_argument("--prompt", type=int, help="another length of the prompt")
    parser.add_argument("--records", type=int, default=2, help="pairs or groups an optimizer step (default 2)")
    parser.add_argument("--steps", type=int, default=2, help="steps that are timed, after one that is not (default 2)")
    parser.add_argument("--rounds", type=int, default=2, help="processes a contender (default 2)")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="default: what suits the shape")
    parser.add_argument("--threads", type=int, default=runtime.usable_cores())
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file as well")
    parser.add_argument("--job", nargs=2, type=Path, help=argparse.SUPPRESS)
    return parser


def compared(options: argparse.Namespace, shape: str, case: str) -> dict[str, Any]:
    """The step with shared prefixes beside the same step without, in figures that a reader can take in."""
    prompt, answers = CASES[case]
    job = {"shape": shape, "case": case, "prompt": options.prompt or prompt, "answers": answers, "records": options.records,
           "steps": options.steps, "threads": options.threads,
           "precision": options.precision or (*SHAPES[shape].precisions, runtime.fast_precision())[0]}  # fmt: skip
    rounds = [[contend(job | {"share": share}) for share in (False, True)] for _ in range(options.rounds)]
    apart, shared = (min(found, key=lambda one: one["processor_seconds"]) for found in zip(*rounds, strict=True))
    figures = {"times_faster": round(apart["processor_seconds"] / shared["processor_seconds"], 2),
               "loss_differs_by": abs(apart["loss"] / shared["loss"] - 1)}  # fmt: skip
    for name, one in (("apart", apart), ("shared", shared)):
        figures[name] = {"row_tokens": one["row_tokens"], "processor_seconds": round(one["processor_seconds"], 2)} | {
            f"{key}_mib": one[f"{key}_memory_bytes"] >> 20 for key in ("peak", "step")
        }
    print(f"{shape} {case}: {json.dumps(job | figures)}", flush=True)
    return job | figures


def contend(job: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "job.json"), Path(folder, "result.json")
        asked.write_text(json.dumps(job), encoding="utf-8")
        own = {
            **runtime.LIBRARIES,
            **runtime.ALLOCATOR,
            "GOMP_SPINCOUNT": runtime.spin_count(),
            "OMP_NUM_THREADS": str(job["threads"]),
        }
        subprocess.run([sys.executable, __file__, "--job", asked, answered], env=dict(os.environ) | own, check=True)
        return json.loads(answered.read_text(encoding="utf-8"))


class Summed:
    """An objective whose unit is a pair or a group; what such objectives compute from the log-probs costs next to nothing."""

    unit: ClassVar[int] = 2
    head: ClassVar[str] = "lm"

    def __init__(self, unit: int) -> None:
        self.unit = unit  # type: ignore[misc]

    def loss(self, model: Any, batch: Batch) -> Loss:
        from seektune.models import forward

        losses, weights = forward.token_losses(model, batch)
        return Loss((losses * weights).sum(), float(weights.sum()))


def measured(job: dict[str, Any]) -> dict[str, Any]:
    """One contender: a few optimizer steps of the real loop, a micro-batch each."""
    import torch

    from seektune.models import isolation
    from seektune.optimizers._groups import parameter_groups
    from seektune.optimizers.adamw import AdamW
    from seektune.run import Run
    from seektune.schedules.constant import Constant
    from seektune.sources.loader import Loader
    from seektune.train.options import Train
    from seektune.train.precision import Precision
    from seektune.train.trainer import Layout, Trainer
    from seektune.tuners.full import Full

    torch.manual_seed(0)
    clock = Clock()
    model, steps, unit = tuned_model(SHAPES[job["shape"]], job["precision"]), 1 + job["steps"], len(job["answers"])
    proved = isolation.isolate(model, share=True)
    assert proved.shares, proved
    documents, source = made(job, SHAPES[job["shape"]].config["vocab_size"]), Loader(shuffle=False)
    source.open(documents, batch_size=job["records"], unit=unit, seed=0)
    layout, options = Layout("packed", records=job["records"], share=job["share"]), Train(steps=steps, save_every=10**9)
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder), "run")
        trainer = Trainer(
            model, Full(), Summed(unit), AdamW(RATE, DECAY).build(parameter_groups(model, DECAY)), Constant(), source, run,
            options, layout, Precision(job["precision"], "cpu"), steps, torch.device("cpu"), observers=[clock],
        )  # fmt: skip
        before = runtime.peak_rss()
        (micro, *_) = trainer._cut(documents[: job["records"] * unit])
        trainer.fit()
        loss = sum(line["loss"] for line in run.metrics("train")) / steps
    seconds = (clock.ends[-1][1] - clock.ends[0][1]) / job["steps"]
    return {"processor_seconds": seconds, "row_tokens": micro.ids.numel(), "document_tokens": micro.tokens, "loss": loss,
            "peak_memory_bytes": clock.peak, "step_memory_bytes": clock.peak - before}  # fmt: skip


class Clock:
    """When steps ended, and the peak of memory by then (saving comes later)."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []
        self.peak = 0

    def observe(self, event: Event) -> None:
        if event.name == "step":
            self.ends.append(now())
            self.peak = runtime.peak_rss()


def made(job: dict[str, Any], vocabulary: int) -> list[Document]:
    """Random pairs or groups; the prompt of a record is the same, and the first tokens of its answers are not."""
    random, found, prompt = np.random.default_rng(0), list[Document](), job["prompt"]
    for record in range(job["records"] * (1 + job["steps"])):
        question = random.integers(10, vocabulary, prompt)
        for i, length in enumerate(job["answers"]):
            ids = np.r_[question, i, random.integers(10, vocabulary, length - 1)].astype(np.int32)
            found.append(Document(ids, (np.arange(len(ids)) >= prompt).astype(np.float32), record))
    return found


if __name__ == "__main__":
    sys.exit(main())
