"""The only training loop. It knows batches, losses and steps; methods, models and files arrive as arguments.

One step: fresh batch → annotate → cut into micro-batches → sums of losses backward → divide once → clip → step → log.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from .. import files, runtime
from ..contracts import Batch, Document, Event, Loss, Objective, Observer, Schedule, Source, Tuner
from ..data import pack
from ..errors import RunFailedError, StoppedError, problem
from ..run import Run
from . import checkpoint
from .ahead import Ahead, Read, moved, pinned
from .options import Train
from .precision import Precision
from .prefix_cache import PrefixCache

RELEASE_AFTER = 2.0  # seconds between two times that unused memory is given back, at least
RELEASE_GROWN = (
    1.05  # and only when the process holds so many times what a micro-batch needed right after the last time
)
LESS_MEMORY = "two settings that would help: train.activation_checkpointing=true, or a smaller data.max_length"


@dataclass
class Layout:
    """How micro-batches are made: packed rows or padded ones (models/isolation.py), and how large."""

    rows: Literal["packed", "padded", "equal"]
    pad_id: int = 0
    records: int | None = None  # units a micro-batch, where the recipe says so
    tokens: int | None = 4096  # tokens a micro-batch otherwise
    share: bool = False  # what the documents of a unit begin with alike stands in a packed row once
    whole: bool = (
        False  # a step is one batch, of which each layer takes a micro-batch after the other (models/streaming.py)
    )


@dataclass
class Tally:
    """What a run has seen so far; part of every checkpoint."""

    step: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    skipped: int = 0  # steps with a non-finite loss or gradient
    skipped_in_a_row: int = 0
    best_step: int | None = None
    best_loss: float | None = None
    seconds: float = 0.0
    waiting: float = 0.0  # of these, seconds spent waiting for data


@dataclass
class StepResult:
    loss: float
    grad_norm: float
    weight: float
    metrics: dict[str, float]
    finite: bool
    culprit: str = ""


@dataclass
class Trainer:
    """`fit()` trains to the end, a stop or an error. All state that matters is in `tally`, model, optimizer and source."""

    model: torch.nn.Module
    tuner: Tuner
    objective: Objective
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    source: Source
    run: Run
    options: Train
    layout: Layout
    precision: Precision
    total_steps: int
    device: torch.device
    valid: Sequence[Document] = ()
    observers: Sequence[Observer] = ()
    where: Callable[[int], str] = lambda record: f"record {record}"  # names a record in messages
    smaller: Callable[[], str] = lambda: LESS_MEMORY  # what to change where memory does not suffice
    prefix: PrefixCache | None = None  # where the lower layers are run once per document
    tally: Tally = field(default_factory=Tally)
    _stop: str = ""  # why to stop after this step
    _saved: int = -1  # step of the last checkpoint
    _rates: list[float] = field(default_factory=list)  # peak learning rate of each parameter group
    _last_scale: float = 1.0
    _released: float = 0.0  # when unused memory was last given back
    _fresh: bool = True  # no micro-batch has ended since
    _needed: int = 0  # bytes that the process held after the micro-batch that needed most, of those that came first after a release
    _read: Read | None = None  # the batch of this step, with what was prepared of it
    _position: dict[str, Any] | None = None  # of the source, behind the batch that was trained last

    # ---- the life of a run ----

    def fit(self) -> Tally:
        """Raises StoppedError (saved, can be resumed) and RunFailedError (the last good checkpoint stands)."""
        self._rates = self._rates or [group["lr"] for group in self.optimizer.param_groups]
        self._tell("start", total_steps=self.total_steps)
        previous = self._catch_signals()
        try:
            self._open_prefix()
            self._position = self.source.state_dict()
            with Ahead(self.source, self._prepare) as reads:
                for read in reads if not self._over else ():
                    self._one(read)
                    if self._over:
                        break
                self._finish()
        except Exception as error:
            if reason := files.refused_by_disk(error):
                raise cannot_write(self.run, reason) from error
            raise
        finally:
            self._close_prefix()
            for number, handler in previous.items():
                signal.signal(number, handler)
        return self.tally

    def _open_prefix(self) -> None:
        if self.prefix is not None:
            self.prefix.open(self.model)
            self._tell("prefix_cache", layer=self.prefix.layer, documents=self.prefix.documents)
            self._pass_on_news()

    def _close_prefix(self) -> None:
        if self.prefix is not None:
            self.prefix.close()
            self._pass_on_news()

    def _pass_on_news(self) -> None:
        for line in self.prefix.news() if self.prefix is not None else ():
            self._tell("prefix_cache", said=line)

    @property
    def _over(self) -> bool:
        return self.tally.step >= self.total_steps or bool(self._stop)

    def resume(self, path: Path | None) -> None:
        """Go on from a checkpoint folder: parameters, optimizer, schedule, random states, data order, tallies.

        None, where a run was killed before its first checkpoint: from the start, without the lines of that attempt.
        """
        self.run.sweep()
        if path is None:
            self.run.truncate_after(0)
            return
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        facts = checkpoint.load(path, self.model, self.optimizer)
        self.source.load_state_dict(facts["source"])
        self.precision.load_state_dict(facts["scale"])
        if halved := facts.get("records"):  # where memory did not suffice
            self.layout.records = min(halved, self.layout.records or halved)
        self.tally = Tally(**facts["tally"])
        self._saved = self.tally.step
        checkpoint.rotate(path.parent, self.options.keep, self.tally.best_step)  # a kill may have come before that
        self.run.truncate_after(self.tally.step)
        self._tell("resume", checkpoint=path.name)

    def _one(self, read: Read) -> None:
        started, batch = time.perf_counter() - read.waited, read.batch
        self._read = read
        result = self._step(batch)
        self._read, self._position = None, read.state
        self.tally.step += 1
        tokens = batch.tokens
        self.tally.tokens += tokens
        self.tally.supervised_tokens += sum(int((d.weights != 0).sum()) for d in batch.documents)
        seconds = time.perf_counter() - started
        self.tally.seconds += seconds
        self.tally.waiting += read.waited
        self._log(result, tokens / seconds, read.waited)
        self._pass_on_news()
        if not result.finite:
            self._non_finite(result, batch)
        step, options = self.tally.step, self.options
        if self.valid and (step == self.total_steps or (options.validate_every and step % options.validate_every == 0)):
            self.validate()
        if step % options.save_every == 0 or step == self.total_steps:
            self.save()

    def _finish(self) -> None:
        if self.tally.step < self.total_steps and self._stop:
            self.save()
            self._tell("stop", reason=self._stop)
            if self._stop.startswith("signal"):
                raise StoppedError(
                    f"stopped after step {self.tally.step} and saved; go on with: seektune train --resume {self.run.path}"
                )
        self._tell("end", steps=self.tally.step, best_step=self.tally.best_step)

    # ---- one step ----

    def _step(self, batch: Batch) -> StepResult:
        """Forward, backward and update. Out of memory: once more with half the micro-batch; the gradient is the same."""
        progress = (self.tally.step + 0.5) / self.total_steps  # the rate of a step is that of its middle
        self.tuner.advance(self.model, progress)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self.schedule(progress)
        self.model.train()
        while True:
            before = torch.get_rng_state()
            try:
                return self._update(*self._backward(batch))
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or not self._smaller(batch):
                    raise
                torch.set_rng_state(before)

    def _backward(self, batch: Batch) -> tuple[float, float, dict[str, float]]:
        """Gradients of the *sum* of losses, scaled by a power of two; returns (sum, weight, metrics)."""
        self.optimizer.zero_grad(set_to_none=True)
        fresh = Batch(batch.documents)
        if annotate := getattr(self.objective, "annotate", None):
            annotate(self.model, fresh)
        scale = self._scale(batch)
        totals, weight, tallied = list[torch.Tensor](), 0.0, dict[str, tuple[float, float]]()
        for micro in self._micros(batch, fresh.documents):
            if self.prefix is not None:
                self.prefix.attach(self.model, micro)
            with self.precision.autocast():
                loss = self.objective.loss(self.model, micro)
            self.precision.scale(loss.total * scale).backward()
            self._release()
            totals, weight = [*totals, loss.total.detach()], weight + loss.weight
            for name, (value, count) in loss.metrics.items():
                held = tallied.get(name, (0.0, 0.0))
                tallied[name] = (held[0] + value, held[1] + count)
        total = sum(map(float, totals))  # at the end: each of them has a GPU waited for
        return total, weight, {name: value / count for name, (value, count) in tallied.items() if count}

    def _release(self) -> None:
        """Give the system what the heap holds and nobody uses, when it has grown: rows of ever new lengths leave holes in it.

        Not oftener: the next micro-batch takes its pages again one by one, which is 6 % of a step of Qwen2-0.5B's shape.
        """
        if self.device.type != "cpu":
            return
        held = runtime.rss()
        if self._fresh:
            self._fresh, self._needed = False, max(self._needed, held)
        elif held > RELEASE_GROWN * self._needed and time.perf_counter() - self._released > RELEASE_AFTER:
            runtime.release_memory()
            self._fresh, self._released = True, time.perf_counter()

    def _update(self, total: float, weight: float, metrics: dict[str, float]) -> StepResult:
        """Divide once by the summed weight, clip, step; a non-finite step is not taken."""
        if weight <= 0:
            raise RunFailedError(f"step {self.tally.step + 1}: no token of the batch is learnt")
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        self.precision.unscale(self.optimizer)
        grads: list[torch.Tensor] = [p.grad for p in parameters if p.grad is not None]
        torch._foreach_mul_(grads, 1.0 / (weight * self._last_scale))
        norm = float(torch.nn.utils.get_total_norm(grads))
        finite = math.isfinite(norm) and math.isfinite(total)
        culprit = "" if finite else self._culprit()
        if finite:
            if self.options.clip is not None and norm > self.options.clip:
                torch._foreach_mul_(grads, self.options.clip / (norm + 1e-6))
            self.precision.step(self.optimizer)
        else:
            self.precision.skip(self.optimizer)
        return StepResult(total / weight, norm, weight, metrics, finite, culprit)

    def _scale(self, batch: Batch) -> float:
        """A power of two near 1 / learnt tokens: keeps half precision in range, and changes no other bit."""
        learnt = sum(float(d.weights.sum()) for d in batch.documents)
        self._last_scale = 2.0 ** -round(math.log2(max(learnt, 1.0)))
        return self._last_scale

    def _prepare(self, batch: Batch) -> tuple[Layout, list[Batch]] | None:
        """Ahead of the step, in another thread: its micro-batches, and how they were cut. An `annotate` has to come before."""
        if getattr(self.objective, "annotate", None):
            return None
        layout = replace(self.layout)
        micros = self._cut(batch.documents, layout=layout)
        return layout, [pinned(micro) for micro in micros] if self.device.type == "cuda" else micros

    def _micros(self, batch: Batch, documents: Sequence[Document]) -> Iterator[Batch]:
        """On the device, one after the other. What was cut ahead serves if the cut is still the same."""
        prepared = self._read.prepared if self._read is not None and self._read.batch is batch else None
        if prepared is None or prepared[0] != self.layout:
            prepared = self.layout, self._cut(documents)
        return (moved(micro, self.device) for micro in prepared[1])

    def _cut(
        self, documents: Sequence[Document], at_once: int | None = None, layout: Layout | None = None
    ) -> list[Batch]:
        """On the CPU. `at_once`: units to a batch where micro-batches are the layers' business."""
        layout = layout or self.layout
        return self._in_pieces(documents, layout, at_once, None) if layout.whole else self._micro(documents, layout)

    def _micro(self, documents: Sequence[Document], layout: Layout) -> list[Batch]:
        return self._in_pieces(documents, layout, layout.records, None if layout.records else layout.tokens)

    def _in_pieces(
        self, documents: Sequence[Document], layout: Layout, records: int | None, tokens: int | None
    ) -> list[Batch]:
        return pack.cut(documents, unit=self.objective.unit, records=records, tokens=tokens, rows=layout.rows,
                        pad_id=layout.pad_id, share=layout.share)  # fmt: skip

    def _smaller(self, batch: Batch) -> bool:
        """Halve the micro-batch after an out-of-memory; False where it already is one unit."""
        largest = (
            max(len(micro.documents) for micro in self._micro(batch.documents, self.layout)) // self.objective.unit
        )
        self.optimizer.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if largest <= 1:
            longest = max(map(len, batch.documents))
            found = f"out of memory with one record of {longest} tokens in the micro-batch"
            raise RunFailedError(problem(f"step {self.tally.step + 1}", found, fix=self.smaller()))
        self.layout.records = max(1, largest // 2)
        self._tell("out_of_memory", microbatch=self.layout.records, tokens=batch.tokens)
        return True

    def _culprit(self) -> str:
        """The first module, in forward order, whose parameter has a non-finite gradient or value."""
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
                return name
        return "the loss itself"

    def _non_finite(self, result: StepResult, batch: Batch) -> None:
        """Skip and count; keep the batch in a file; stop after `max_non_finite` in a row."""
        self.tally.skipped += 1
        if math.isfinite(result.loss) and self.precision.still_scaling:
            self._tell("loss_scale", scale=self.precision.scale_now)  # an overflow of half precision, as expected
            return
        self.tally.skipped_in_a_row += 1
        named = sorted({self.where(d.record) for d in batch.documents})
        path = self.run.path / "non_finite" / f"step-{self.tally.step:06d}.json"
        documents = [{"record": self.where(d.record), "ids": d.ids.tolist()} for d in batch.documents]
        files.write_json(path, {"step": self.tally.step, "module": result.culprit, "documents": documents})
        self._tell("non_finite", module=result.culprit, records=named[:8], batch=str(path.name))
        if self.tally.skipped_in_a_row >= self.options.max_non_finite:
            self._tell("stop", reason="non-finite")
            last = checkpoint.latest(self.run.path / "checkpoints")
            kept = f"the last good checkpoint is {last.name}" if last else "there is no checkpoint yet"
            raise RunFailedError(
                f"{self.tally.skipped_in_a_row} steps in a row had a non-finite loss or gradient (first in {result.culprit}; records {', '.join(named[:3])}); "
                f"{kept}; try a learning rate ten times smaller, train.precision=float32 or bfloat16, or look at {path}"
            )

    # ---- looking and saving ----

    def validate(self) -> float:
        """Mean loss over the held-out documents, streamed within the memory of a training step."""
        self.model.eval()
        total, weight, tallied = 0.0, 0.0, dict[str, tuple[float, float]]()
        with torch.no_grad(), self.precision.autocast():
            for micro in (moved(micro, self.device) for micro in self._cut(self.valid, self.options.batch_size)):
                loss: Loss = self.objective.loss(self.model, micro)
                total, weight = total + float(loss.total), weight + loss.weight
                for name, (value, count) in loss.metrics.items():
                    held = tallied.get(name, (0.0, 0.0))
                    tallied[name] = (held[0] + value, held[1] + count)
        self.model.train()
        value = total / max(weight, 1e-9)
        metrics = {name: v / c for name, (v, c) in tallied.items() if c}
        step = self.tally.step
        self.run.append(
            {
                "step": step,
                "progress": step / self.total_steps,
                "split": "valid",
                "loss": value,
                **metrics,
                "time": time.time(),
            }
        )
        if math.isfinite(value) and (self.tally.best_loss is None or value < self.tally.best_loss):
            self.tally.best_loss, self.tally.best_step = value, step
            self.save()
        found: dict[str, Any] = {"loss": value, **metrics}
        self._tell("validation", **found)
        return value

    def save(self) -> None:
        """A checkpoint of this step (once). Raises OSError on a full disk; what was saved before stands."""
        if self._saved == self.tally.step:
            return
        folder = self.run.path / "checkpoints"
        facts = {
            "step": self.tally.step,
            "source": self.source.state_dict() if self._position is None else self._position,
            "records": self.layout.records,
            "scale": self.precision.state_dict(),
            "tally": vars(self.tally),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        path = checkpoint.save(folder, self.model, self.optimizer, facts)
        checkpoint.rotate(folder, self.options.keep, self.tally.best_step)
        self._saved = self.tally.step
        self._tell("checkpoint", path=path.name)

    def _log(self, result: StepResult, tokens_per_second: float, waiting: float) -> None:
        step = self.tally.step
        if result.finite:
            self.tally.skipped_in_a_row = 0
        line = {"step": step, "progress": step / self.total_steps, "tokens": self.tally.tokens,
                "supervised_tokens": self.tally.supervised_tokens, "split": "train", "loss": result.loss, **result.metrics,
                "learning_rate": self.optimizer.param_groups[0]["lr"], "grad_norm": result.grad_norm,
                "tokens_per_second": tokens_per_second, "waiting": waiting, "time": time.time()}  # fmt: skip
        self.run.append(line)
        self._tell("step", store=False, **line)

    def _tell(self, name: str, store: bool = True, **values: Any) -> None:
        """To the run folder and to the observers; an observer may ask for a stop."""
        if store:
            self.run.event(name, step=self.tally.step, **values)
        event = Event(name, self.tally.step, values, context=self)
        for observer in self.observers:
            reason = observer.observe(event)
            if reason and not self._stop:
                self._stop = reason

    def _catch_signals(self) -> dict[Any, Any]:
        """Ctrl-C and SIGTERM finish the step; a second Ctrl-C stops at once."""

        def ask(number: int, frame: Any) -> None:
            self._stop = f"signal {signal.Signals(number).name}"
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

        try:
            return {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread
            return {}


def cannot_write(run: Run, reason: str) -> RunFailedError:
    """A disk that takes no more: where, why, what is safe, and how to go on."""
    last = checkpoint.latest(run.checkpoints_folder)
    kept = f"the last good checkpoint is {last.name}" if last else "there is no checkpoint yet"
    fix = f"make room, then: seektune train --resume {run.path}"
    return RunFailedError(problem(str(run.path), f"cannot be written ({reason}); {kept}", fix=fix))


def is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "can't allocate memory" in text
        or "out of memory" in text
    )
