"""Our contender: the trainer that a recipe of this shape would get, set up by the functions that `seektune train` uses.

`profile` is the same step with timers and torch's profiler around it: where its time goes.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _shapes import OURS_INT8, SHAPES, bare_model, tuner_of

from seektune import assembly, draft
from seektune.contracts import Document, Event
from seektune.objectives.classify import Classify
from seektune.objectives.sft import SFT
from seektune.optimizers._groups import parameter_groups
from seektune.optimizers.adamw import AdamW
from seektune.run import Run
from seektune.schedules.constant import Constant
from seektune.sources.loader import Loader
from seektune.train.options import Train
from seektune.train.precision import Precision
from seektune.train.trainer import Trainer

RATE, DECAY = 1e-4, 0.01
PRODUCTS = tuple(f"aten::{name}" for name in ("mm", "addmm", "addmm_", "bmm", "baddbmm", "baddbmm_"))
Instant = tuple[float, float]  # wall clock, processor time of all threads
Ran = tuple[list[Instant], float, tuple[int, str]]  # ends of the steps, mean loss, the micro-batch and of what it is


def now() -> Instant:
    """When all that a GPU was asked for is done, too."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


class Clock:
    """Notes when each step has ended; calls `after[step]` then."""

    def __init__(self, after: dict[int, Callable[[], Any]] | None = None):
        self.ends: list[Instant] = []
        self.after = after or {}

    def observe(self, event: Event) -> None:
        if event.name == "step":
            self.ends.append(now())
            self.after.get(event.step, lambda: None)()


def ours(job: dict[str, Any], folder: Path) -> Ran:
    """One pass over the records."""
    clock = Clock()
    trainer = trainer_of(job, folder, [clock])
    trainer.fit()
    lines = trainer.run.metrics("train")
    records, tokens = trainer.layout.records, trainer.layout.tokens  # after the run: too little memory halves them
    micro = (records, "records") if records else (tokens or 0, "tokens")
    return clock.ends, sum(line["loss"] for line in lines) / len(lines), micro


def trainer_of(job: dict[str, Any], folder: Path, observers: list[Any], made: type[Trainer] = Trainer) -> Trainer:
    """As assembly.prepare makes it from a recipe, for one pass over `documents_of(job)`; saved once, after the last step."""
    shape, device = SHAPES[job["shape"]], torch.device(job.get("device", "cpu"))
    model, tuner = bare_model(shape, job["precision"], device.type), tuner_of(shape)
    objective = Classify() if shape.task == "classify" else SFT()
    model, proved = assembly.set_up(
        model, tuner, objective, job["precision"], "int8" if job["contender"] == OURS_INT8 else "none"
    )
    model = model.to(device)
    source = Loader(shuffle=False)
    source.open(documents_of(job), batch_size=job["batch_size"], unit=1, seed=0)
    steps = source.batches_per_epoch()
    options = Train(steps=steps, batch_size=job["batch_size"], precision=job["precision"], save_every=10**9)
    layout = draft.layout_of(model, objective, options, proved, device, 0)
    return made(
        model, tuner, objective, AdamW(RATE, DECAY).build(parameter_groups(model, DECAY)), Constant(), source,
        Run.create(folder, "run"), options, layout, Precision(job["precision"], device.type), steps, device, observers=observers,
    )  # fmt: skip


def documents_of(job: dict[str, Any]) -> list[Document]:
    """The records, the first batch of them twice."""
    labels = job.get("labels") or [None] * len(job["sequences"])
    records = list(zip(job["sequences"], labels, strict=True))
    return [
        Document(np.array(ids, np.int32), (np.arange(len(ids)) >= max(prompt, 1)).astype(np.float32), i, label)
        for i, ((ids, prompt), label) in enumerate(with_warm_up(records, job["batch_size"]))
    ]


def with_warm_up(records: list[Any], batch_size: int) -> list[Any]:
    return records[:batch_size] + records


# Where the time goes


class Phases(dict[str, list[float]]):
    """Seconds by phase: wall and processor."""

    @contextlib.contextmanager
    def of(self, name: str) -> Iterator[None]:
        began = now()
        try:
            yield
        finally:
            wall, processor = (end - start for start, end in zip(began, now(), strict=True))
            held = self.setdefault(name, [0.0, 0.0])
            held[0], held[1] = held[0] + wall, held[1] + processor


class Watched(Trainer):
    """The loop with timers around its parts; `phases` is set after it is made."""

    phases: Phases

    def _backward(self, batch: Any) -> Any:
        with self.phases.of("forward and backward"):
            return super()._backward(batch)

    def _update(self, *arguments: Any) -> Any:
        with self.phases.of("optimizer"):
            return super()._update(*arguments)


class WatchedObjective:
    """The objective, with a timer around its loss."""

    def __init__(self, objective: Any, phases: Phases):
        self.objective, self.phases = objective, phases

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objective, name)

    def loss(self, model: Any, batch: Any) -> Any:
        with self.phases.of("forward"):
            return self.objective.loss(model, batch)


def profile(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One pass with timers, then one with torch's profiler (which slows small operators down): phases and operators.

    On a GPU the time of operators is that of their kernels; these are listed as well.
    """
    trainer = trainer_of(job, folder, [], Watched)
    assert isinstance(trainer, Watched)
    phases = trainer.phases = Phases()
    trainer.objective = WatchedObjective(trainer.objective, phases)
    one = trainer.total_steps  # a warm-up and the pass; the second pass begins with the batch of the warm-up again
    gpu = trainer.device.type == "cuda"
    activity = torch.profiler.ProfilerActivity
    activities = [activity.CPU, activity.CUDA] if gpu else [activity.CPU]
    profiler = torch.profiler.profile(activities=activities, record_shapes=True, acc_events=True)
    seen: dict[str, list[float]] = {}

    def first_pass_over() -> None:
        seen.update({name: list(times) for name, times in phases.items()})
        seen["waiting for records"] = [trainer.tally.waiting - waited[0], 0.0]

    def warmed_up() -> None:
        phases.clear()
        waited.append(trainer.tally.waiting)

    waited: list[float] = []
    clock = Clock({1: warmed_up, one: first_pass_over, one + 1: profiler.start})
    trainer.observers = [clock]
    trainer.total_steps = 2 * one
    trainer.fit()
    profiler.stop()
    wall, processor = (end - start for start, end in zip(clock.ends[0], clock.ends[one - 1], strict=True))
    found = {"seconds": wall, "processor_seconds": processor, "steps": one - 1, "phases": split(seen, wall, processor)}
    events, sized = profiler.key_averages(), profiler.key_averages(group_by_input_shape=True)
    time_of = on_gpu if gpu else on_cpu
    if gpu:
        found["kernels"] = operators([one for one in events if is_kernel(one)], time_of)
        events, sized = ([one for one in some if not is_on_gpu(one)] for some in (events, sized))
    return found | {"operators": operators(events, time_of), "products": products(sized, trainer.model, time_of)}


def split(seen: dict[str, list[float]], wall: float, processor: float) -> dict[str, list[float]]:
    """Phases that do not overlap; they sum up to the whole."""
    none = [0.0, 0.0]
    both = seen["forward and backward"]
    forward, update, waiting = (seen.get(name, none) for name in ("forward", "optimizer", "waiting for records"))
    backward = [b - f for b, f in zip(both, forward, strict=True)]
    parts = {
        "forward": forward,
        "backward": backward,
        "optimizer": update,
        "waiting for records": waiting,
    }
    rest = [whole - sum(times[i] for times in parts.values()) for i, whole in enumerate((wall, processor))]
    return parts | {"log and rest": rest}


def on_cpu(event: Any) -> float:
    """Seconds in the operator itself."""
    return event.self_cpu_time_total / 1e6


def on_gpu(event: Any) -> float:
    """Seconds of the kernels that the operator itself has started; of a kernel, its own."""
    return event.self_device_time_total / 1e6


def is_on_gpu(event: Any) -> bool:
    return event.device_type != torch.autograd.DeviceType.CPU


def is_kernel(event: Any) -> bool:
    """A kernel or a copy; what the code has named spans kernels that are there themselves."""
    return is_on_gpu(event) and not event.is_user_annotation


def operators(events: Sequence[Any], time_of: Callable[[Any], float]) -> list[dict[str, Any]]:
    """By the time spent in the operator itself, most first."""
    found = [one for one in events if time_of(one) > 0]
    total = sum(map(time_of, found))
    rows = [
        {"name": one.key, "seconds": time_of(one), "share": time_of(one) / total, "calls": one.count} for one in found
    ]
    return sorted(rows, key=lambda row: -row["seconds"])


def products(sized: Sequence[Any], model: torch.nn.Module, time_of: Callable[[Any], float]) -> list[dict[str, Any]]:
    """Matrix products by the shapes of what they multiply (n: tokens, or whatever else is no width of the model), with their rate."""
    widths = {size for parameter in model.parameters() for size in parameter.shape} | {1}
    found: dict[tuple[str, str], list[float]] = {}
    for one in sized:
        if one.key in PRODUCTS:
            first = int("add" in one.key)  # behind what is added to; where the product is put comes last
            left, right = one.input_shapes[first : first + 2]
            names = ("×".join(str(size) if size in widths else "n" for size in shape) for shape in (left, right))
            held = found.setdefault((one.key, " ".join(names)), [0.0, 0, 0.0])
            held[0] += time_of(one)
            held[1] += one.count
            held[2] += 2.0 * one.count * math.prod(left) * right[-1]
    total = sum(map(time_of, sized))
    rows = [
        {"name": name, "shapes": shapes, "seconds": seconds, "share": seconds / total, "calls": calls,
         "flops_per_second": flops / max(seconds, 1e-9)}
        for (name, shapes), (seconds, calls, flops) in found.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -row["seconds"])
