"""Layer streaming: the frozen weights of the blocks stay in their files and come to the device while their block computes.

The trainer hands over a whole optimizer step as one batch; each block takes it in chunks of whole documents before the next
block comes (layer-major order), so that weights travel twice a step: once forward, once backward. Only the blocks' inputs
are kept; inside a block everything is computed again in backward, with the same random numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..errors import ModelError, problem
from . import attention, heads, mapped
from .chunks import Chunk, cut
from .isolation import MECHANISMS
from .layers import blocks
from .mapped import Files, Piece
from .slots import Slot, Weight, aligned, needs_room, placeholder

SLOTS = 2  # blocks on the device at once: the one that computes and the one that comes


class Rows(Protocol):
    """How large a chunk may be: the micro-batch that the run would have without streaming (the trainer's layout)."""

    rows: Any
    records: int | None
    tokens: int | None


class Stream:
    """The streamed blocks of an open model: who holds which slot, and how the rows are cut."""

    def __init__(self, model: Any, weights: list[list[Weight]], device: torch.device):
        self.weights, self.device = weights, device
        self.chunking: Rows | None = None  # None: every row whole
        self.unit = 1
        self.measuring = False  # a forward whose activations are counted, see `measured`
        self.depth = len(weights)  # blocks that run; fewer inside of layers.few
        self.loads, self.bytes_loaded = 0, 0  # since the model was opened
        self._slots: list[Slot] = []
        self._coming: dict[int, Future[Slot]] = {}
        self._worker = ThreadPoolExecutor(1, "stream")
        self._side = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._cut: tuple[Any, Any, list[Chunk]] | None = None
        for index, block in enumerate(blocks(model)[1]):
            block.forward = Streamed(self, index, block)
        self.rest()

    @property
    def block_bytes(self) -> list[int]:
        """Of the weights that travel, on the device."""
        return [sum(w.nbytes for w in block) for block in self.weights]

    def prepare(self, dtype: torch.dtype) -> None:
        """From here on weights come in the type of the arithmetic."""
        for weight in (w for block in self.weights for w in block):
            weight.dtype = dtype
        self._slots.clear()
        self.rest()

    def rest(self) -> None:
        for weight in (w for block in self.weights for w in block):
            weight.parameter.data = weight.at_rest()

    def storages(self) -> set[int]:
        """The storages of the slots: what is saved for backward from there is a weight and no activation."""
        self._make_slots()
        return {slot.room.untyped_storage()._cdata for slot in self._slots}

    @contextlib.contextmanager
    def present(self, index: int, then: int) -> Iterator[None]:
        """The weights of block `index` are on the device inside; those of block `then`, if there is one, set out."""
        slot = self._fetch(index)
        if 0 <= then < self.depth:
            self._ahead(then, slot)
        for weight, value in zip(self.weights[index], slot.values, strict=True):
            weight.parameter.data = value
        try:
            yield
        finally:
            for weight in self.weights[index]:
                weight.parameter.data = weight.at_rest()
            if slot.cuda:
                slot.free.record(torch.cuda.current_stream(self.device))

    def _fetch(self, index: int) -> Slot:
        """The slot with a block's weights, which mostly is on its way already."""
        if coming := self._coming.pop(index, None):
            slot = coming.result()
        else:
            self._wait()
            slot = self._holding(index) or self._load(index, self._other(None)).result()
        if slot.cuda:
            torch.cuda.current_stream(self.device).wait_event(slot.arrived)
        return slot

    def _ahead(self, index: int, busy: Slot) -> None:
        if index not in self._coming and self._holding(index) is None:
            self._wait()
            self._coming[index] = self._load(index, self._other(busy))

    def _wait(self) -> None:
        """For what was sent for and never used: a forward that broke off."""
        for coming in self._coming.values():
            coming.result()
        self._coming.clear()

    def _holding(self, index: int) -> Slot | None:
        return next((slot for slot in self._slots if slot.block == index), None)

    def _other(self, busy: Slot | None) -> Slot:
        """A slot to load into; the first in the list is the one that was loaded longest ago."""
        self._make_slots()
        slot = next(slot for slot in self._slots if slot is not busy)
        self._slots.remove(slot)
        self._slots.append(slot)
        return slot

    def _make_slots(self) -> None:
        if not self._slots:
            needed = [[aligned(w.nbytes) for w in b if needs_room(w, self.device)] for b in self.weights]
            size = max(map(sum, needed), default=0)
            self._slots = [Slot(self.device, size) for _ in range(SLOTS)]

    def _load(self, index: int, slot: Slot) -> Future[Slot]:
        before = self.weights[slot.block] if slot.block >= 0 else []
        slot.block = -1
        self.loads += 1
        self.bytes_loaded += self.block_bytes[index]

        def work() -> Slot:
            slot.load(index, self.weights[index], before, self._side)
            return slot

        return self._worker.submit(work)

    def cut(self, hidden: torch.Tensor) -> list[Chunk]:
        """How the batch that is being computed is cut; remembered from block to block."""
        now = attention.current
        limits = (self.chunking.records, self.chunking.tokens) if self.chunking else (None, None)
        key = (now.lengths, now.rows, hidden.shape[:2], limits)
        if self._cut is None or self._cut[0] != key or self._cut[1] is not now.segments:
            self._cut = (key, now.segments, cut(hidden, limits, self.unit))
        return self._cut[2]


def of(model: Any) -> Stream | None:
    """The stream of an open model; None where its weights lie on the device."""
    return getattr(heads.base_of(model), "seektune_stream", None)


def cut_by(model: Any, layout: Rows, unit: int) -> None:
    """From here on a block takes a batch in chunks as large as micro-batches of this layout, which may still shrink."""
    stream = of(model)
    assert stream is not None
    if layout.rows == "equal":
        found = "this model keeps documents apart only in batches of one length"
        raise ModelError(problem("train.stream", found, "a model whose rows may be packed or padded", "false"))
    stream.chunking, stream.unit = layout, unit


def held_bytes(model: Any) -> int:
    """Of streamed weights, on the device at once."""
    stream = of(model)
    return SLOTS * max(stream.block_bytes, default=0) if stream else 0


def storages(model: Any) -> set[int]:
    """See `Stream.storages`."""
    stream = of(model)
    return stream.storages() if stream else set()


def travels(parameter: torch.Tensor) -> bool:
    """Whether a parameter's values come and go."""
    return getattr(parameter, "seektune_streamed", False)


# ---- a block that is streamed ----


class Streamed:
    """Stands in for the `forward` of one block."""

    def __init__(self, stream: Stream, index: int, block: torch.nn.Module):
        self.stream, self.index, self.block = stream, index, block
        self.inner = block.forward  # of its class: it is replaced on the instance only
        self.trigger = torch.zeros((), device=stream.device, requires_grad=True)

    def __call__(self, *args: Any, **named: Any) -> Any:
        args = args or (named.pop("hidden_states"),)
        hidden, visit = args[0], Visit(self, args[1:], named)
        trains, learning = any(p.requires_grad for p in self.block.parameters()), torch.is_grad_enabled()
        if not learning or not (trains or hidden.requires_grad):
            with torch.no_grad():
                return visit.forward(hidden, again=not learning)
        if self.stream.measuring:
            return self._measured(visit, hidden)
        assert named.get("past_key_values") is None, "a block that learns keeps no cache"
        return Crossing.apply(visit, hidden, self.trigger)

    def _measured(self, visit: Visit, hidden: torch.Tensor) -> Any:
        """An ordinary forward; what it keeps is let go with the block, so that no weight stays."""
        with self.stream.present(self.index, self.index + 1):
            return self.inner(hidden, *visit.args, **visit.named).detach().requires_grad_()


class Visit:
    """One forward of one block, and its backward: all but the hidden states, which autograd keeps."""

    def __init__(self, streamed: Streamed, args: tuple[Any, ...], named: dict[str, Any]):
        self.streamed, self.args, self.named = streamed, args, named
        self.chunks: list[Chunk] = []
        self.random: list[torch.Tensor] = []
        self.autocast = (torch.is_autocast_enabled(self.kind), torch.get_autocast_dtype(self.kind))

    @property
    def kind(self) -> str:
        return self.streamed.stream.device.type

    def forward(self, hidden: torch.Tensor, again: bool) -> Any:
        """Chunk after chunk, without gradient. `again`: the first block follows the last (a token after the other)."""
        stream, then = self.streamed.stream, self.streamed.index + 1
        with stream.present(self.streamed.index, then % stream.depth if again else then):
            self.chunks, self.random = stream.cut(hidden), random_states(stream.device)
            if not self.chunks:
                return self.streamed.inner(hidden, *self.args, **self.named)
            whole: torch.Tensor | None = None
            for chunk in self.chunks:
                part = only(self.part(chunk, chunk.of(hidden)))
                whole = part.new_zeros(hidden.shape[:2] + part.shape[2:]) if whole is None else whole
                chunk.of(whole).copy_(part)
            return whole

    def part(self, chunk: Chunk, hidden: torch.Tensor) -> torch.Tensor:
        with chunk.laid_out():
            return self.streamed.inner(hidden, *chunk.among(self.args), **chunk.among(self.named))

    def backward(self, hidden: torch.Tensor, grad: torch.Tensor, wanted: bool) -> torch.Tensor | None:
        """Chunk after chunk: once more with gradient, then back; gradients of adapters add up where they are."""
        stream, index = self.streamed.stream, self.streamed.index
        back = torch.zeros(hidden.shape, dtype=hidden.dtype, device=grad.device) if wanted else None
        whole = Chunk(slice(None), slice(None), (int(hidden.shape[0]), int(hidden.shape[1])))
        with stream.present(index, index - 1 if wanted else -1), drawn_again(stream.device, self.random):
            for chunk in self.chunks or [whole]:
                part = chunk.of(hidden).to(grad.device, non_blocking=True).detach().requires_grad_(wanted)
                again = self._again(chunk if self.chunks else None, part)
                torch.autograd.backward(again, chunk.of(grad))
                if back is not None and part.grad is not None:
                    chunk.of(back).copy_(part.grad)
        return back

    def _again(self, chunk: Chunk | None, hidden: torch.Tensor) -> torch.Tensor:
        """Under the arithmetic of the forward; casts are not shared, for the graph of each chunk is gone after it."""
        enabled, dtype = self.autocast
        with torch.enable_grad(), torch.autocast(self.kind, dtype, enabled=enabled, cache_enabled=False):
            if chunk is not None:
                return self.part(chunk, hidden)
            return self.streamed.inner(hidden, *self.args, **self.named)


class Crossing(torch.autograd.Function):
    """Keeps a block's input (in CPU memory) instead of all that the block computes. `trigger` makes the result need a gradient."""

    @staticmethod
    def forward(ctx: Any, visit: Visit, hidden: torch.Tensor, trigger: torch.Tensor) -> torch.Tensor:
        result = only(visit.forward(hidden, again=False))
        ctx.visit = visit
        ctx.save_for_backward(offloaded(hidden))
        return result

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        return None, ctx.visit.backward(ctx.saved_tensors[0], grads[0], ctx.needs_input_grad[1]), None


def only(result: Any) -> torch.Tensor:
    """What a block gives, where that is hidden states and nothing else."""
    if not isinstance(result, torch.Tensor):
        raise ModelError(problem("train.stream", "a block of this model gives more than hidden states", "false"))
    return result


def offloaded(hidden: torch.Tensor) -> torch.Tensor:
    """In CPU memory; from a GPU by a copy that the computation does not wait for."""
    if hidden.device.type != "cuda":
        return hidden
    host = torch.empty(hidden.shape, dtype=hidden.dtype, pin_memory=True)
    return host.copy_(hidden, non_blocking=True)


def random_states(device: torch.device) -> list[torch.Tensor]:
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


@contextlib.contextmanager
def drawn_again(device: torch.device, states: list[torch.Tensor]) -> Iterator[None]:
    """Random numbers as they were drawn when `states` were taken; afterwards as if nothing had been drawn."""
    before = random_states(device)
    _draw_from(device, states)
    try:
        yield
    finally:
        _draw_from(device, before)


def _draw_from(device: torch.device, states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)


# ---- opening ----


@dataclass
class Opening:
    """A folder that is about to be opened for streaming: what transformers gets to load, and what stays in the files."""

    files: Files
    pieces: dict[str, tuple[Piece, ...]]  # of the parameters of the blocks
    kind: Any  # class of the model
    dtype: torch.dtype  # in which it is opened
    state: dict[str, torch.Tensor]

    @classmethod
    def of(cls, folder: Any, skeleton: Any, dtype: torch.dtype) -> Opening:
        """`skeleton`: the model on the meta device. ModelError with the reason where it cannot be streamed."""
        for key, why in MECHANISMS.items():
            if getattr(skeleton.config.get_text_config(), key, None):
                raise ModelError(
                    problem("train.stream", f"not with this model: {why}, so documents share no batch", "false")
                )
        files, inside = Files(folder), blocks(skeleton)[0] + "."
        found = mapped.pieces_of(skeleton, files.tensors)
        own = {name: p for name, p in skeleton.named_parameters() if name.startswith(inside)}
        pieces = {name: made for name, made in found.items() if name in own}
        shapes = {
            n: files.tensors[made[0].name].shape if len(made) == 1 else own[n].shape for n, made in pieces.items()
        }
        state = {name: placeholder(shape, own[name].dtype) for name, shape in shapes.items()}
        taken = {piece.name for made in pieces.values() for piece in made}
        state |= {name: files.view(name).clone() for name in files.tensors if name not in taken}
        return cls(files, pieces, type(skeleton), dtype, state)

    def load(self, config: Any, **more: Any) -> tuple[Any, dict[str, Any]]:
        """(model, report), as `from_pretrained` of a folder gives them; nothing is in the blocks yet."""
        more |= {"output_loading_info": True, "ignore_mismatched_sizes": True, "dtype": self.dtype}
        return self.kind.from_pretrained(None, config=config, state_dict=self.state, **more)

    def finish(self, model: Any, device: torch.device) -> None:
        """Everything but the blocks goes to the device, and the blocks are streamed from here on."""
        own = dict(model.named_parameters())
        name, layers = blocks(model)
        weights: list[list[Weight]] = [[] for _ in layers]
        for key, pieces in self.pieces.items():
            own[key].seektune_streamed = True
            index = int(key[len(name) + 1 :].split(".", 1)[0])
            weights[index].append(Weight(key, own[key], pieces, self.files, own[key].dtype, own[key].dtype))
        model.seektune_stream = Stream(model, weights, device)
        settle(model)


def settle(model: Any) -> None:
    """All that does not travel stands on the device."""
    stream = of(model)
    assert stream is not None
    for tensor in (*model.parameters(), *model.buffers()):
        if not travels(tensor):
            tensor.data = tensor.data.to(stream.device)


def prepare(model: Any, dtype: torch.dtype) -> None:
    """After the tuner: adapters on the device, streamed weights in the type of the arithmetic. ModelError where one is trained."""
    stream = of(model)
    if stream is None:
        return
    settle(model)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and (travels(parameter) or not bool(torch.isfinite(parameter).all())):
            found = f"{name} is trained, and its values stay in the files"
            raise ModelError(problem("train.stream", found, "tuner lora, on modules of the layers"))
    stream.prepare(dtype)


@contextlib.contextmanager
def measured(model: Any) -> Iterator[None]:
    """Inside, a forward with gradient keeps in each block what it keeps without streaming, so that it can be counted."""
    stream = of(model)
    if stream is not None:
        stream.measuring = True
    try:
        yield
    finally:
        if stream is not None:
            stream.measuring = False
