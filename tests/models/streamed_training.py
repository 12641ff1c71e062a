"""A process of its own that trains LoRA on a folder and prints what it came to, and the most anonymous memory that it took.

    python streamed_training.py FOLDER SMALL stream|plain PRECISION LIMIT

SMALL is a tiny model on which the same is done first, so that what libraries set up is not counted. LIMIT in bytes, 0 for
none: of a cgroup that the process joins after that.
"""

import gc
import json
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from harness import documents

from seektune.data import pack
from seektune.models import isolation, load, streaming
from seektune.objectives.sft import SFT
from seektune.optimizers._groups import parameter_groups
from seektune.optimizers.adamw import AdamW
from seektune.train.precision import Precision, prepare_dtypes
from seektune.tuners.lora import LoRA

TOKENS = 40  # of a micro-batch


def held(kind: str) -> int:
    """Bytes of RssAnon or RssFile."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{kind}:")).split()[1])


def train(folder: str, stream: bool, precision: str, steps: int) -> list[float]:
    torch.manual_seed(3)
    model = load.open_model(load.Model(folder), stream=stream)
    model = LoRA(rank=2, target_modules=["q_proj", "v_proj"]).apply(model)
    prepare_dtypes(model, precision)
    isolation.isolate(model)
    model.train()
    if stream:
        streaming.cut_by(model, SimpleNamespace(rows="packed", records=None, tokens=TOKENS), 1)
    arithmetic, optimizer = Precision(precision, "cpu"), AdamW(learning_rate=1e-2).build(parameter_groups(model, 0.0))
    losses = []
    for step in range(steps):
        losses.append(0.0)
        for micro in pack.cut(documents(4, seed=step), tokens=None if stream else TOKENS):
            with arithmetic.autocast():
                loss = SFT().loss(model, micro)
            loss.total.backward()
            losses[-1] += float(loss.total.detach())
        optimizer.step()
        optimizer.zero_grad()
    return losses


def join_cgroup(limit: int) -> Path | None:
    """A group with this limit, which counts what its processes take from now on; None where this system lets us make none."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    for _, controllers, inside in lines:
        top = Path("/sys/fs/cgroup") / ("memory" if controllers else "")
        if controllers in ("", "memory"):
            try:
                group = top / inside.strip("/") / f"streamed-{time.time_ns()}"
                group.mkdir()
                (group / ("memory.limit_in_bytes" if controllers else "memory.max")).write_text(str(limit))
                (group / "cgroup.procs").write_text("0")
                return group
            except OSError:
                if group.exists():
                    group.rmdir()
    return None


def main(folder: str, small: str, how: str, precision: str, limit: str) -> None:
    train(small, how == "stream", precision, 1)
    gc.collect()
    before, most, done = held("RssAnon"), {"RssAnon": 0, "RssFile": 0}, threading.Event()
    group = join_cgroup(int(limit)) if int(limit) else None

    def watch() -> None:
        while not done.wait(0.005):
            most.update({kind: max(seen, held(kind)) for kind, seen in most.items()})

    watching = threading.Thread(target=watch)
    watching.start()
    began = time.process_time()
    losses = train(folder, how == "stream", precision, 2)
    done.set()
    watching.join()
    found = {"losses": losses, "anonymous": most["RssAnon"] - before, "file": most["RssFile"]}
    print(json.dumps(found | {"seconds": time.process_time() - began, "limited": str(group or "")}))


if __name__ == "__main__":
    main(*sys.argv[1:])
