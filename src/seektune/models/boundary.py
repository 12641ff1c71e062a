"""What passes between two layers of any Hugging Face model: recorded once, put back later, so that only what lies above is run.

No architecture is named here. Layers are found by structure (`layers.blocks`); for the length of one call they get a
`forward` of their own, on the object, and no class is touched. That the top of a model gives what the whole gives is
proved on documents (`prove`), as it cannot be known from names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ..contracts import Batch
from . import forward, layers

Form = int | tuple[int | None, ...]  # how a layer returns its tensors: alone (0), or in a tuple by number, None between
Kind = tuple[torch.dtype, tuple[int, ...]]  # type of a tensor, and its shape behind (rows, time)


class Unsuitable(Exception):
    """Why the states of this model cannot be kept, in words."""


@dataclass(frozen=True)
class Boundary:
    """What enters a layer, for the rows of one micro-batch. `below`: the layers that need not run."""

    below: tuple[torch.nn.Module, ...]
    leaves: tuple[torch.Tensor, ...]  # (rows, time, ...) each
    form: Form

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the layers below hand these states on instead of computing. Embeddings are still looked up: that is cheap."""
        given = put_together(self.leaves, self.form)
        with contextlib.ExitStack() as stack:
            for module in self.below:
                stack.enter_context(_forward_of(module, lambda *_, **__: given))
            yield


class _Reached(Exception):
    """Ends a forward at the boundary: what lies above would be computed for nothing."""


def lowest_trained(model: torch.nn.Module) -> int:
    """The lowest layer that learns; -1 for the embeddings, the number of layers where only what is behind them learns.

    Raises Unsuitable where something beside the layers learns (a vision tower).
    """
    depth = layers.depth_of(model)
    trained = {name: depth[name] for name, p in model.named_parameters() if p.requires_grad}
    beside = [name for name, at in trained.items() if at is None]
    if beside:
        raise Unsuitable(f"{beside[0]} is trained, which lies beside the layers")
    return min((at for at in trained.values() if at is not None), default=-1)


def record(model: torch.nn.Module, batch: Batch, below: tuple[torch.nn.Module, ...]) -> tuple[Any, Form]:
    """(tensors, form) of what the highest layer of `below` returns. Without gradient; nothing above is run."""
    found: list[Any] = []

    def stopping(output: Any) -> Any:
        found.append(output)
        raise _Reached

    with torch.no_grad(), _seen(below[-1], stopping), contextlib.suppress(_Reached):
        forward.run(forward.backbone(model), batch)
    if not found:
        raise Unsuitable("the layers are not run in the order of their list")
    return taken_apart(found[0])


def taken_apart(output: Any) -> tuple[tuple[torch.Tensor, ...], Form]:
    if isinstance(output, torch.Tensor):
        return (output,), 0
    if not isinstance(output, tuple) or not all(isinstance(part, torch.Tensor | None) for part in output):
        raise Unsuitable(f"its layers return a {type(output).__name__} that is no tensor and no tuple of tensors")
    leaves = tuple(part for part in output if part is not None)
    numbers = iter(range(len(leaves)))
    return leaves, tuple(None if part is None else next(numbers) for part in output)


def put_together(leaves: tuple[torch.Tensor, ...], form: Form) -> Any:
    if isinstance(form, int):
        return leaves[form]
    return tuple(None if number is None else leaves[number] for number in form)


@dataclass(frozen=True)
class Proof:
    """What a trial has shown of the boundary."""

    form: Form
    kinds: tuple[Kind, ...]

    @property
    def bytes_per_token(self) -> int:
        return sum(dtype.itemsize * torch.Size(shape).numel() for dtype, shape in self.kinds)


def prove(model: torch.nn.Module, batches: list[Batch], below: tuple[torch.nn.Module, ...]) -> Proof:
    """The top over recorded states must give the bits that the whole model gives, for rows of one document each.

    The model is taken in the mode in which it is. Raises Unsuitable with the reason where something random, a gradient or
    another way past the boundary is found; whatever the model itself raises passes through.
    """
    proofs = [_prove_one(model, batch, below) for batch in batches]
    if any(proof != proofs[0] for proof in proofs):
        raise Unsuitable("what passes between its layers depends on the length of the document")
    return proofs[0]


def _prove_one(model: torch.nn.Module, batch: Batch, below: tuple[torch.nn.Module, ...]) -> Proof:
    random = _random_state(batch)
    leaves, form = record(model, batch, below)
    again, _ = record(model, batch, below)
    if not all(map(torch.equal, random, _random_state(batch))) or not _same(leaves, again):
        raise Unsuitable("the frozen layers are random while training (dropout)")
    assert batch.ids is not None
    if any(leaf.shape[:2] != batch.ids.shape for leaf in leaves):
        raise Unsuitable("what passes between its layers is not one vector a token")
    passed: list[Any] = []
    with _seen(below[-1], passed.append):
        whole = forward.run(forward.backbone(model), batch)[0]
    if any(leaf.requires_grad for leaf in taken_apart(passed[0])[0]):
        raise Unsuitable("something below the boundary learns")
    with Boundary(below, leaves, form).in_place():
        top = forward.run(forward.backbone(model), batch)[0]
    if not torch.equal(whole, top):
        raise Unsuitable("its upper layers see more than what the lower ones hand on")
    return Proof(form, tuple((leaf.dtype, tuple(leaf.shape[2:])) for leaf in leaves))


def _same(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def _random_state(batch: Batch) -> list[torch.Tensor]:
    assert batch.ids is not None
    device = batch.ids.device
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


@contextlib.contextmanager
def _seen(module: torch.nn.Module, look: Callable[[Any], Any]) -> Iterator[None]:
    """Inside, `look` gets what the module returns."""
    own = module.forward

    def watched(*arguments: Any, **named: Any) -> Any:
        output = own(*arguments, **named)
        look(output)
        return output

    with _forward_of(module, watched):
        yield


@contextlib.contextmanager
def _forward_of(module: torch.nn.Module, function: Callable[..., Any]) -> Iterator[None]:
    """Inside, this one object computes by `function`; what stood there before (a wrapper of another library) comes back."""
    own = module.__dict__.get("forward")
    module.__dict__["forward"] = function
    try:
        yield
    finally:
        if own is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = own
