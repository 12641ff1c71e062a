"""What a run will need before it begins: memory by part, steps, time and disk. The report compares it with what was measured.

Memory follows from facts of the model (models/cost.py) and the lengths of the documents, laid out as the trainer will lay
them out; time from two timed micro-steps on the longest real batch (`timed`), which leave no trace.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import proposals, runtime
from .contracts import Batch, Document
from .devices import Device
from .models import cost, layers, streaming
from .runtime import rss

if TYPE_CHECKING:
    import torch

    from .contracts import Objective
    from .data.tokens import Tokens
    from .train.options import Train
    from .train.trainer import Layout

ADAM_BYTES = 8  # optimizer state per trained parameter: two float32 moments
OPTIMIZER_TRAFFIC = 28  # bytes that a step of AdamW reads and writes per trained parameter
TRAFFIC_SPEED = 1e10  # bytes a second, about one memory channel: the update is a small part of a step
DRAWS = 200  # optimizer steps that are laid out in order to find the largest micro-batch and their number
# Of what a forward frees again: it lies idle in the C library's heap (bench/memory.py; glibc 2.36). Packed rows have another length
# each time, so that what one leaves rarely serves the next; padded ones meet the same sizes again.
HOLES, HOLES_PADDED = 0.9, 0.1
LIBRARIES = 100 << 20  # bytes of code and tables that opening a model brings into the process
PRODUCTS = 110 << 20  # bytes of the code that oneDNN makes for 16-bit products in tiles: 128 sizes, 0.6 to 1.1 MB each
ROOM = 0.9  # share of the memory that a plan may fill
TOKENS = {"cpu": (2048, 4096), "cuda": (4096, 65536), "mps": (2048, 16384)}  # smallest and largest `auto` micro-batch
SHARE, SHARE_OF_GPU = 0.5, 0.8  # of the memory that is left, for an `auto` micro-batch; a GPU has no neighbours
HERE = "this machine"
SMALLEST = 256  # tokens of an `auto` micro-batch where memory is short
BAND = 0.1  # how far a prediction of memory may be off: a run is refused only where it would not fit even so
STREAMED_INPUTS = 4  # inputs of layers that a GPU holds at a time where layers are streamed
CONTEXT = 600 << 20  # bytes that CUDA's context and libraries take of a GPU


@dataclass(frozen=True)
class Needs:
    """Facts of a model under its tuner, from which the memory of any layout follows. Bytes."""

    weights: cost.Weights
    footprint: cost.Footprint
    work: cost.Work
    logits: cost.Logits
    stored_bytes: int  # the model on disk
    adapter: bool
    process_bytes: int  # what the process holds beside the model: libraries, data
    holes: float  # of the allocator, as a share of what a forward frees again
    on_cpu: bool = True
    streamed: bool = False  # frozen layers come from their files, two at a time
    shards: int = 1  # devices that weights, gradients and optimizer state are spread over

    def memory(self, micro: Micro, checkpointing: bool, several: bool) -> dict[str, int]:
        """Bytes by part at the peak of a step. `several`: gradients of an earlier micro-batch are there already."""
        kept, passing = (
            self.footprint.kept(micro.lengths, checkpointing),
            self.footprint.passing(micro.lengths, checkpointing),
        )
        casts, logits = self.weights.cast_bytes, self.logits.held(micro.learnt)
        at_loss = casts + logits
        in_layer = passing + (casts / self.footprint.layers if checkpointing else casts)
        active = kept + max(at_loss, in_layer)
        gradients = self.weights.trained_bytes
        if not several:  # gradients come as activations go
            active = max(active - gradients, 0)
        parts = {
            "process": self.process_bytes,
            "frozen weights": self.weights.frozen_bytes / self.shards,
            "trained weights": self.weights.trained_bytes / self.shards,
            "gradients": gradients / self.shards,
            "optimizer": ADAM_BYTES * self.weights.trained / self.shards,
            "logits": min(logits, active) if at_loss >= in_layer else 0,
            "allocator": self.holes * self.footprint.given_back(micro.lengths, checkpointing),
        }
        if self.shards > 1:
            parts["gathered layers"] = 2 * (self.weights.layer_bytes + casts) / self.footprint.layers
        return {name: int(value) for name, value in parts.items()} | {"activations": int(active - parts["logits"])}

    def peak(self, micro: Micro, checkpointing: bool, several: bool) -> int:
        return sum(self.memory(micro, checkpointing, several).values())


@dataclass(frozen=True)
class Micro:
    """One micro-batch as numbers: lengths of its documents, and how many tokens of it are learnt."""

    lengths: tuple[int, ...]
    learnt: int


@dataclass(frozen=True)
class Plan:
    """The prediction. `seconds` and `tokens_per_second` are None until `timed` has tried it; they count training steps only."""

    parameters: int
    trainable_parameters: int
    steps: int
    microbatches: int  # of all steps
    tokens: int  # that the run reads, padding left out
    supervised_tokens: int
    flops: float
    memory_bytes: dict[str, int]
    peak_memory_bytes: int
    limit_bytes: int
    checkpoint_bytes: int  # one checkpoint
    checkpoints_bytes: int  # as many as may lie there at once
    model_bytes: int
    cache_bytes: int = 0  # of the frozen-prefix cache
    seconds: float | None = None
    tokens_per_second: float | None = None
    time_from: str | None = None  # how the two came about
    machine: str = HERE
    setup: Setup | None = field(default=None, repr=False, compare=False)  # what it was made from

    @property
    def fits(self) -> bool:
        return self.peak_memory_bytes <= ROOM * self.limit_bytes

    @property
    def hopeless(self) -> bool:
        """Whether it would not fit even if the prediction were `BAND` too high."""
        return (1 - BAND) * self.peak_memory_bytes > self.limit_bytes

    @property
    def disk_bytes(self) -> int:
        return self.checkpoints_bytes + self.model_bytes + self.cache_bytes

    def as_dict(self) -> dict[str, Any]:
        """For plan.json and for people; names as the report measures them."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "setup"}
        return {name: value for name, value in found.items() if value is not None} | {
            "disk_bytes": self.disk_bytes,
            "fits": self.fits,
        }

    def smaller(self, limit: int | None = None) -> list[proposals.Setting]:
        """Settings under which it fits into `limit` bytes (the machine's, where None), the one that loses least speed first."""
        assert self.setup is not None, "a plan that was read from a file knows no alternatives"
        return proposals.smaller(self.setup, ROOM * self.limit_bytes if limit is None else limit)


@dataclass(frozen=True)
class Setup:
    """Everything that a plan is made from, kept to ask what another setting would need."""

    needs: Needs
    lengths: np.ndarray  # (documents,)
    learnt: np.ndarray  # (documents,)
    bounds: np.ndarray  # (records + 1,) first document of each record
    batch_size: int
    layout: Layout
    unit: int
    checkpointing: bool
    link: float = 0.0  # bytes a second that come to the device; 0: not known
    step_seconds: float = 0.0  # of an optimizer step, where it is known

    def draws(self) -> Iterator[list[Micro]]:
        """Optimizer steps as they may come: records shuffled as the loader does, cut as the trainer does."""
        count = len(self.bounds) - 1
        order = np.random.default_rng(0).permutation(count)
        for start in range(0, min(count, DRAWS * self.batch_size), self.batch_size):
            records = order[start : start + self.batch_size]
            yield self.cut([i for r in records for i in range(self.bounds[r], self.bounds[r + 1])])

    def cut(self, documents: Sequence[int]) -> list[Micro]:
        """These documents in micro-batches, by the trainer's own rule."""
        from .data import pack

        layout = self.layout
        made = [_blank(int(self.lengths[i]), i) for i in documents]
        micros = pack.cut(made, unit=self.unit, records=layout.records, tokens=None if layout.records else layout.tokens,
                          rows=layout.rows, pad_id=layout.pad_id)  # fmt: skip
        return [Micro(m.lengths, int(sum(self.learnt[d.record] for d in m.documents))) for m in micros]

    def computed(self, lengths: Sequence[int]) -> list[int]:
        """As many tokens as are computed for documents of a micro-batch: padded ones are all as long as the longest."""
        return [max(lengths)] * len(lengths) if self.layout.rows == "padded" and len(lengths) else list(lengths)

    def epoch(self) -> tuple[float, float]:
        """(tokens, sum of the squares of lengths) that an epoch computes; padding is that of some drawn steps."""
        tokens, squares = float(self.lengths.sum()), float((self.lengths.astype(float) ** 2).sum())
        if self.layout.rows != "padded":
            return tokens, squares
        drawn = [micro.lengths for step in self.draws() for micro in step]
        real, whole = (np.array([n for lengths in some for n in lengths], float)
                       for some in (drawn, map(self.computed, drawn)))  # fmt: skip
        return tokens * whole.sum() / real.sum(), squares * (whole**2).sum() / (real**2).sum()

    def forward_flops(self) -> float:
        """Of the layers in an epoch."""
        tokens, squares = self.epoch()
        return self.needs.work.token * tokens + self.needs.work.pair * squares

    def largest(self) -> tuple[Micro, bool, float]:
        """(the micro-batch that needs most, whether steps have several, micro-batches a step). The longest document is always tried."""
        steps = list(self.draws())
        several = any(len(step) > 1 for step in steps)
        longest = int(self.lengths.argmax()) // self.unit * self.unit
        micros = [micro for step in steps for micro in step] + self.cut(range(longest, longest + self.unit))
        worst = max(micros, key=lambda micro: self.needs.peak(micro, self.checkpointing, several))
        return worst, several, sum(map(len, steps)) / len(steps)

    def peak(self) -> int:
        micro, several, _ = self.largest()
        return self.needs.peak(micro, self.checkpointing, several) + self.block_inputs(micro)

    def block_inputs(self, micro: Micro) -> int:
        """Bytes kept between the layers for the other micro-batches of a step, where layers are streamed.

        On a GPU they stand in CPU memory, but for those of one layer.
        """
        if not self.needs.streamed:
            return 0
        footprint = self.needs.footprint
        most = max(sum(footprint.tokens(m.lengths) for m in step) for step in self.draws())
        held = footprint.layers if self.needs.on_cpu else STREAMED_INPUTS
        return int(held * footprint.border / footprint.layers * max(0, most - footprint.tokens(micro.lengths)))


def _blank(length: int, index: int) -> Document:
    """A document that has a length and nothing else."""
    return Document(np.zeros(length, np.int32), np.zeros(length, np.float32), record=index)


# Making a plan


def predict(
    model: torch.nn.Module,
    options: Train,
    tokens: Tokens,
    layout: Layout,
    precision: str,
    steps: int,
    unit: int = 1,
    machine: Device | None = None,
    change: Callable[[Needs], Needs] = lambda needs: needs,
) -> Plan:
    """The plan of a run whose tuner is applied and whose types are prepared. Changes nothing and times nothing.

    The model may be drawn only (models/blueprint.py). `machine`: where it will run, None for here; `change`: what the recipe
    does to the needs that the modules do not show (proposals.py).
    """
    machine = machine or here(next(model.parameters()).device)
    lengths, records = np.asarray(tokens.lengths), np.asarray(tokens.units)
    starts = np.flatnonzero(np.diff(records, prepend=records[0] - 1))
    checkpointing = layout.whole or layers.checkpoints_activations(
        model
    )  # streamed layers always do; a drawn one cannot say
    needs = change(needs_of(model, precision, layout.rows == "packed", machine.kind))
    needs = dataclasses.replace(needs, streamed=needs.streamed or layout.whole)
    setup = Setup(
        needs,
        lengths,
        np.asarray(tokens.supervised),
        np.append(starts, len(records)),
        options.batch_size,
        layout,
        unit,
        checkpointing,
        machine.link,
    )
    micro, several, per_step = setup.largest()
    epochs = steps / math.ceil(len(starts) / options.batch_size)
    memory = needs.memory(micro, checkpointing, several)
    if between := setup.block_inputs(micro):
        memory["block inputs"] = between
    one = _epoch_flops(setup)
    state = 4 * needs.weights.trained + ADAM_BYTES * needs.weights.trained
    kept = min(options.keep + 2, math.ceil(steps / options.save_every) + 1)  # the best one, and the one being written
    model_bytes = 4 * needs.weights.trained if needs.adapter else needs.stored_bytes
    return Plan(
        parameters=needs.weights.parameters,
        trainable_parameters=needs.weights.trained,
        steps=steps,
        microbatches=round(steps * per_step),
        tokens=round(float(lengths.sum()) * epochs),
        supervised_tokens=round(float(setup.learnt.sum()) * epochs),
        flops=one * epochs,
        memory_bytes=memory,
        peak_memory_bytes=sum(memory.values()),
        limit_bytes=machine.memory_bytes,
        checkpoint_bytes=state,
        checkpoints_bytes=kept * state,
        model_bytes=model_bytes,
        machine=machine.name,
        setup=setup,
    )


def _epoch_flops(setup: Setup) -> float:
    work, (tokens, squares) = setup.needs.work, setup.epoch()
    head = (work.learnt + work.learnt_back) * float(setup.learnt.sum())
    back = work.token_back * tokens + work.pair_back * squares
    return setup.forward_flops() * (2 if setup.checkpointing else 1) + back + head


_known: weakref.WeakKeyDictionary[Any, dict[Any, cost.Footprint]] = weakref.WeakKeyDictionary()


def needs_of(model: torch.nn.Module, precision: str, packed: bool, kind: str = "") -> Needs:
    """Facts of a model; what its layers keep is looked at once (three forwards of a few tokens) and remembered.

    `kind` of the device that it will run on: cpu, cuda or mps; where it lies now, if left out.
    """
    from .models import adapters
    from .models.kernels import products
    from .train.precision import Precision

    weights = cost.weights_of(model, precision)
    known = _known.setdefault(model, {})
    there = next(model.parameters()).device.type
    kind = kind or ("cpu" if there == "meta" else there)
    key = (precision, packed, weights.trained, kind)
    arithmetic = Precision(precision, "cpu" if there == "meta" else there)
    if key not in known:
        known[key] = cost.footprint_of(model, arithmetic, packed, fused=kind != "cpu")
    held = sum(p.numel() * p.element_size() for p in model.parameters() if not (p.is_meta or streaming.travels(p)))
    on_cpu = kind == "cpu"
    code = PRODUCTS if on_cpu and precision != "float32" and products.has_tiles() else 0
    libraries = LIBRARIES * (there == "meta") + code
    return Needs(
        weights,
        known[key],
        cost.work_of(model),
        cost.logits_of(model, arithmetic, kind),
        cost.stored_bytes(model),
        adapters.attached(model),
        process_bytes=max(0, rss() - held) + libraries if on_cpu else CONTEXT * (there != kind),
        holes=(HOLES if packed else HOLES_PADDED) if on_cpu else 0.0,
        on_cpu=on_cpu,
    )


def choose_tokens(model: torch.nn.Module, options: Train, *, device: torch.device, limit: int | None = None) -> int:
    """Tokens of an `auto` micro-batch: as many as fit into half of the memory that is left (of a GPU's, four fifths: each
    micro-batch costs its host the same), within what is known to be fast; fewer only where the run would not fit otherwise.

    `limit`: bytes that the process may hold in all, where not those of the machine.
    """
    low, high = TOKENS.get(device.type, TOKENS["cpu"])
    half = {p.dtype for p in model.parameters() if not p.requires_grad}
    precision = str(next(iter(half), "torch.float32")).removeprefix("torch.")
    needs = needs_of(model, precision if precision in cost.BYTES else "float32", True, device.type)
    room = memory_limit(device) if limit is None else limit
    fixed = needs.peak(Micro((), 0), False, True)

    def grown(tokens: int) -> int:
        micro = Micro((min(tokens, 512),) * max(1, tokens // 512), tokens // 2)
        return needs.peak(micro, options.activation_checkpointing is True, True) - fixed

    tokens, gpu = high, device.type == "cuda"
    most = min(SHARE_OF_GPU * (room - fixed), ROOM * room - fixed) if gpu else SHARE * (room - fixed)
    while tokens > low and grown(tokens) > max(most, 0):
        tokens = max(low, tokens * 3 // 4 // SMALLEST * SMALLEST) if gpu else tokens // 2
    fewer = next((n for n in _halves(tokens) if fixed + grown(n) <= ROOM * room), tokens)
    return fewer if tokens == low else tokens


def _halves(tokens: int) -> Iterator[int]:
    while tokens >= SMALLEST:
        yield tokens
        tokens //= 2


def with_prefix_cache(plan: Plan, cache_bytes: int, layer: int) -> Plan:
    """The plan of a run that computes the layers below `layer` once per document, alone, and reads their states from then on."""
    assert plan.setup is not None
    setup, work = plan.setup, plan.setup.needs.work
    epochs, below = plan.tokens / setup.lengths.sum(), layer / setup.needs.footprint.layers
    spared = setup.forward_flops() * epochs - work.forward(setup.lengths.tolist(), 0)
    return dataclasses.replace(plan, cache_bytes=cache_bytes, flops=plan.flops - below * max(0.0, float(spared)))


# Time


def timed(plan: Plan, model: torch.nn.Module, objective: Objective, tokens: Sequence[Document], precision: str) -> Plan:
    """The plan with its time, from two micro-steps on the longest real micro-batch and one on a middling one.

    Weights, gradients, modes and random states are afterwards what they were; the documents are copied, memory is given back.
    """
    assert plan.setup is not None
    step = _micro_step(model, objective, plan.setup, precision)
    documents = longest_micro(plan.setup)
    points = []
    with untouched(model):
        for chosen, repeats in ((documents, 2), (_middling(plan.setup), 1)):
            batch = [_copy(tokens[i]) for i in chosen]
            points.append((_flops_of(plan.setup, chosen), fastest(lambda batch=batch: step(batch), repeats)))  # type: ignore[misc]
    runtime.release_memory()
    return with_speed(plan, points)


def with_speed(plan: Plan, points: Sequence[tuple[float, float]]) -> Plan:
    """The plan with its time, from (FLOPs, seconds) of micro-steps, the longest first."""
    each, rate = _line(points)
    update = plan.steps * OPTIMIZER_TRAFFIC * plan.trainable_parameters / TRAFFIC_SPEED
    seconds = plan.flops * rate + plan.microbatches * each + update
    found = plan.tokens / seconds
    return dataclasses.replace(plan, seconds=seconds, tokens_per_second=found, time_from="timed micro-steps")


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(seconds of every micro-step, seconds per FLOP): a line through two points where they are far enough apart to tell."""
    (flops, seconds), *others = points
    for less, sooner in others:
        rate = (seconds - sooner) / (flops - less) if flops > 1.5 * less else 0.0
        if rate > 0 and (each := seconds - rate * flops) >= 0:
            return each, rate
    return 0.0, seconds / flops


def fastest(step: Callable[[], Any], repeats: int = 2) -> float:
    """Seconds of the fastest of `repeats` calls: the first one also warms caches and kernels up."""
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        step()
        _wait()
        taken.append(time.perf_counter() - began)
    return min(taken)


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def longest_micro(setup: Setup) -> list[int]:
    """Documents of the longest real micro-batch: the longest ones, as many as one optimizer step and one micro-batch hold."""
    units = setup.lengths[: len(setup.lengths) // setup.unit * setup.unit].reshape(-1, setup.unit).max(1)
    order = np.argsort(-units, kind="stable")[: setup.batch_size]
    chosen = [int(u) * setup.unit + i for u in order for i in range(setup.unit)]
    layout = setup.layout
    if layout.rows == "equal":
        return chosen[: setup.unit]
    most = layout.records * setup.unit if layout.records else len(chosen)
    held, longest = 0, int(units.max())
    for count, index in enumerate(chosen[:most]):
        held = held + int(setup.lengths[index]) if layout.rows == "packed" else (count + 1) * longest
        if not layout.records and layout.tokens and held > layout.tokens and count >= setup.unit:
            return chosen[: count // setup.unit * setup.unit]
    return chosen[:most]


def _middling(setup: Setup) -> list[int]:
    """Documents around the median length, a quarter as many as the longest micro-batch has."""
    count = max(setup.unit, len(longest_micro(setup)) // 4 // setup.unit * setup.unit)
    units = setup.lengths[: len(setup.lengths) // setup.unit * setup.unit].reshape(-1, setup.unit).max(1)
    order = np.argsort(units, kind="stable")
    first = max(0, len(order) // 2 - count // setup.unit // 2)
    return [int(u) * setup.unit + i for u in order[first : first + count // setup.unit] for i in range(setup.unit)]


def _flops_of(setup: Setup, documents: Sequence[int]) -> float:
    lengths, learnt = setup.lengths[list(documents)], float(setup.learnt[list(documents)].sum())
    return setup.needs.work.training(setup.computed([int(n) for n in lengths]), learnt, setup.checkpointing)


def _micro_step(model: Any, objective: Any, setup: Setup, precision: str) -> Callable[[list[Document]], None]:
    from .data import pack
    from .train.precision import Precision

    device = next(model.parameters()).device
    arithmetic = Precision(precision, device.type)

    def step(documents: list[Document]) -> None:
        batch = Batch(documents)
        if annotate := getattr(objective, "annotate", None):
            annotate(model, batch)
        packed = setup.layout.rows == "packed"
        micro = pack.collate(batch.documents, packed=packed, pad_id=setup.layout.pad_id, device=device)
        with arithmetic.autocast():
            loss = objective.loss(model, micro)
        loss.total.backward()

    return step


def _copy(document: Document) -> Document:
    return dataclasses.replace(document, extra=dict(document.extra))


@contextlib.contextmanager
def untouched(model: torch.nn.Module) -> Iterator[None]:
    """Training mode inside; afterwards gradients, modes, buffers and every random state are what they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with cost.untouched(model):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


# Memory of this machine


def here(device: torch.device) -> Device:
    """This machine, as far as memory goes; a drawn model is planned for the CPU."""
    import torch

    device = torch.device("cpu") if device.type == "meta" else device
    return Device(HERE, memory_limit(device), kind=device.type)


def memory_limit(device: torch.device) -> int:
    """Bytes that this process may hold in all: what it holds and what is free. On a GPU, of the GPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return min(runtime.memory_bytes(), rss() + runtime.free_bytes())
