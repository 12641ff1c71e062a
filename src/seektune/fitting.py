"""What is given up so that a run fits into memory, decided from the plan and kept with the decisions of the run.

In this order: nothing; the lowest blocks recompute, as many as needed; all do; the MLPs take a row in pieces. The numbers
of a run stay what they were.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import plan, runtime
from .models import cost, heads, layers, pieces, recompute
from .models.offload import Shelf

if TYPE_CHECKING:
    import torch

    from .data.tokens import Tokens
    from .devices import Device
    from .train.options import Train
    from .train.trainer import Layout


@dataclass(frozen=True)
class Saving:
    """How memory is saved: blocks that recompute, whether what they keep lies elsewhere, and tokens of an MLP at a time."""

    recomputed: int = 0
    offload: bool = False
    chunk: int | None = None

    def __str__(self) -> str:
        where = ", what they keep lies outside of the device's memory" if self.offload else ""
        parts = [f"the {self.recomputed} lowest layers recompute{where}"] if self.recomputed else []
        parts += [f"MLPs take {self.chunk:,} tokens at a time"] if self.chunk is not None else []
        return "; ".join(parts) or "nothing is recomputed"


@dataclass(frozen=True)
class Spared(cost.Footprint):
    """A footprint under a saving. `mlps`: bytes per token that pieces of each layer's MLP spare."""

    recomputed: tuple[int, ...] = ()
    offloaded: bool = False
    chunk: int | None = None
    mlps: tuple[float, ...] = ()

    def kept(self, lengths: Sequence[int], checkpointing: bool = False) -> float:
        tokens, pairs = self.tokens(lengths), self.pairs(lengths) / self.layers
        border = 0.0 if self.offloaded else self.border / self.layers
        beside = self.token - sum(self.by_layer)
        whole = [self._layer(i, tokens) + pairs for i in range(self.layers)]
        chosen = self._chosen(checkpointing)
        return beside * tokens + sum(border * tokens if i in chosen else whole[i] for i in range(self.layers))

    def passing(self, lengths: Sequence[int], checkpointing: bool = False) -> float:
        tokens, pairs, chosen = self.tokens(lengths), self.pairs(lengths) / self.layers, self._chosen(checkpointing)
        most = freed = 0.0
        for i in reversed(range(self.layers)):  # what later layers kept is free by then
            layer, piece = self._layer(i, tokens), self._piece(i, tokens)
            again = (1 + cost.TEMPORARY / 2) * (layer + piece) + 1.5 * pairs
            most = max(most, (again if i in chosen else cost.TEMPORARY * (layer + piece) + pairs) - freed)
            freed += (0.0 if self.offloaded else self.border / self.layers * tokens) if i in chosen else layer + pairs
        return most

    def given_back(self, lengths: Sequence[int], checkpointing: bool = False) -> float:
        tokens, pairs = self.tokens(lengths), self.pairs(lengths) / self.layers
        made = sorted((self._layer(i, tokens) + pairs for i in self._chosen(checkpointing)), reverse=True)
        return self.freed * tokens + sum(made[: cost.REUSED])

    def _chosen(self, checkpointing: bool) -> Sequence[int]:
        return range(self.layers) if checkpointing else self.recomputed

    def _layer(self, number: int, tokens: int) -> float:
        """Bytes that a layer keeps; of an MLP in pieces only what goes in."""
        spared = self.mlps[number] if self.chunk is not None and tokens > self.chunk else 0.0
        return max(0.0, self.by_layer[number] - spared) * tokens

    def _piece(self, number: int, tokens: int) -> float:
        return self.mlps[number] * self.chunk if self.chunk is not None and tokens > self.chunk else 0.0


def predict(
    model: torch.nn.Module,
    options: Train,
    tokens: Tokens,
    layout: Layout,
    precision: str,
    steps: int,
    unit: int = 1,
    saving: Saving | None = None,
    machine: Device | None = None,
    change: Callable[[plan.Needs], plan.Needs] = lambda needs: needs,
) -> tuple[plan.Plan, Saving]:
    """The plan and what is saved in it (chosen here, where it is not given); the model saves so from here on.

    `machine` and `change`: see plan.predict.
    """
    apply(model, Saving())
    plain = plan.predict(model, options, tokens, layout, precision, steps, unit, machine, change)
    saving = saving or choose(model, options, plain, precision)
    predicted = under(plain, model, saving, precision)
    apply(model, saving)
    return predicted, saving


def choose(model: torch.nn.Module, options: Train, predicted: plan.Plan, precision: str) -> Saving:
    """The least that lets the run fit, and never less than the recipe asks for. `predicted`: the plan with nothing saved."""
    asked, most = options.activation_checkpointing, len(recompute.recomputable(model))
    if asked != "auto":
        count = most if asked is True else min(int(asked), most)
    elif options.activation_offload:
        count = most
    else:
        count = _first(most, lambda n: under(predicted, model, Saving(n), precision).fits)
    saving = Saving(count, options.activation_offload)
    if asked is False or not count or under(predicted, model, saving, precision).fits:
        return saving
    smaller = dataclasses.replace(saving, chunk=pieces.TOKENS)
    helps = under(predicted, model, smaller, precision).peak_memory_bytes < under(predicted, model, saving, precision).peak_memory_bytes  # fmt: skip
    return smaller if helps else saving


def _first(most: int, fits: Callable[[int], bool]) -> int:
    """The smallest number that fits, of 0 … most; `most` where none does."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low


def stored(decided: Mapping[str, Any]) -> Saving:
    """As a run decided it when it began."""
    return Saving(**decided["saving"])


def apply(model: torch.nn.Module, saving: Saving) -> None:
    """Let the model save so."""
    shelf = Shelf(runtime.cache_folder() / "activations")
    recompute.recompute(model, saving.recomputed, shelf.keeping if saving.offload else nullcontext)
    pieces.chunk(model, saving.chunk)


def under(predicted: plan.Plan, model: torch.nn.Module, saving: Saving, precision: str) -> plan.Plan:
    """A plan that was made with nothing saved, under a saving."""
    assert predicted.setup is not None
    setup, every = predicted.setup, recompute.recomputable(model)
    if saving == Saving():
        return predicted
    chosen = tuple(every[: saving.recomputed])
    found = setup.needs.footprint
    held = {f.name: getattr(found, f.name) for f in dataclasses.fields(cost.Footprint)}
    mlps = mlp_bytes(model, precision) if saving.chunk is not None else (0.0,) * found.layers
    spared = Spared(**held, recomputed=chosen, offloaded=saving.offload, chunk=saving.chunk, mlps=mlps)
    needs, all_of_them = dataclasses.replace(setup.needs, footprint=spared), len(chosen) == found.layers
    setup = dataclasses.replace(setup, needs=needs, checkpointing=all_of_them)
    micro, several, _ = setup.largest()
    memory = needs.memory(micro, all_of_them, several)
    again = setup.forward_flops() * predicted.tokens / setup.lengths.sum() if all_of_them else 0.0
    return dataclasses.replace(
        predicted,
        memory_bytes=memory,
        peak_memory_bytes=sum(memory.values()),
        flops=predicted.flops + float(again),
        setup=setup,
    )


def mlp_bytes(model: torch.nn.Module, precision: str) -> tuple[float, ...]:
    """Bytes per token that pieces of the MLP spare in each layer; 0 where its MLP is taken whole."""
    from .train.precision import Precision

    width = int(heads.base_of(model).config.get_text_config().hidden_size)
    start, blocks = layers.blocks(model)
    arithmetic = Precision(precision, next(model.parameters()).device.type)
    found = dict(pieces.token_wise(model))
    with cost.untouched(model):
        spared = {name: pieces.kept(module, width, arithmetic.autocast()) for name, module in found.items()}
    by_layer = {int(name[len(start) + 1 :].split(".")[0]): value for name, value in spared.items()}
    return tuple(by_layer.get(i, 0.0) for i in range(len(blocks)))
