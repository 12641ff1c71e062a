"""What would fit where a run does not: changes of the recipe, each with the memory that it needs and the speed that it loses.

A way is a pure function of a plan's setup.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .plan import Needs, Setup

MICROBATCH_COST = 0.05  # speed that halving a micro-batch loses, about
INT8_COST = 0.1  # speed that a step loses, at most, where frozen matrices are held in 8 bits
SHARDS = (2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Setting:
    """A change of the recipe under which the run would need `peak_bytes`, at about `slowdown` times the time."""

    changes: dict[str, Any]
    peak_bytes: int
    slowdown: float
    words: str = ""  # where it is no change of the recipe

    def __str__(self) -> str:
        return self.words or ", ".join(f"{key}={str(value).lower()}" for key, value in self.changes.items())


@dataclass(frozen=True)
class Way:
    """Changes of the recipe, the setup under them, and the factor of the time that they cost."""

    changes: dict[str, Any]
    setup: Setup
    slowdown: float = 1.0


def smaller(setup: Setup, limit: float) -> list[Setting]:
    """The smallest changes that fit into `limit` bytes, the one that loses least speed first.

    Shorter texts change what is learnt, and several devices are no setting of this version: they come last.
    """
    found: list[Setting] = []
    for way in ways(setup):
        if setting := _first_that_fits(way, limit):
            found.append(setting)
    found = [s for s in found if not any(_less(other, s) for other in found)]
    return [
        *sorted(found, key=lambda s: (s.slowdown, -s.peak_bytes)),
        *_shortened(setup, limit),
        *_sharded(setup, limit),
    ]


def _less(one: Setting, other: Setting) -> bool:
    """Whether `one` changes fewer options, all of which `other` changes too, and is no slower."""
    return one.changes.keys() < other.changes.keys() and one.slowdown <= other.slowdown


def ways(setup: Setup) -> Iterator[Way]:
    """Every combination of what may be switched on, the simplest first; micro-batches are halved in each."""
    plain = Way({}, setup)
    for base in (plain, *_int8(plain), *_streamed(plain)):  # int8 and streaming exclude each other
        yield base
        yield from _checkpointed(base)


def _first_that_fits(way: Way, limit: float) -> Setting | None:
    """With the largest micro-batch that fits; None where none does, or where nothing was changed."""
    records, slowdown, tried = 0, way.slowdown, way.setup
    while (peak := tried.peak()) > limit or not (way.changes or records):
        records = (records or len(way.setup.largest()[0].lengths) // tried.unit) // 2
        if records < 1:
            return None
        slowdown += MICROBATCH_COST * way.slowdown
        tried = dataclasses.replace(way.setup, layout=dataclasses.replace(tried.layout, records=records))
    return Setting(({"train.microbatch": records} if records else {}) | way.changes, peak, slowdown)


def _checkpointed(way: Way) -> Iterator[Way]:
    setup = way.setup
    if not setup.checkpointing:
        changes = way.changes | {"train.activation_checkpointing": True}
        yield Way(changes, dataclasses.replace(setup, checkpointing=True), way.slowdown * recomputing(setup))


def recomputing(setup: Setup) -> float:
    """Factor of the time where every layer is computed once more in backward."""
    micro, work = setup.largest()[0], setup.needs.work
    lengths = setup.computed(micro.lengths)
    more = work.training(lengths, micro.learnt, True) / work.training(lengths, micro.learnt)
    return 1.0 if setup.checkpointing else more


def _int8(way: Way) -> Iterator[Way]:
    needs = way.setup.needs
    if needs.weights.linear_bytes > needs.weights.linear and not needs.streamed:
        changed = dataclasses.replace(way.setup, needs=in_int8(needs))
        named = "int8" if needs.on_cpu else "int8_weights"
        yield Way(way.changes | {"model.base": named}, changed, way.slowdown * (1 + INT8_COST))


def _streamed(way: Way) -> Iterator[Way]:
    setup, needs = way.setup, way.setup.needs
    if needs.adapter and not needs.streamed and needs.weights.layer_bytes:
        changed = dataclasses.replace(setup, needs=streamed(needs), checkpointing=True)
        slowdown = recomputing(setup) * stream_slowdown(setup)
        yield Way(way.changes | {"train.stream": True}, changed, way.slowdown * slowdown)


def in_int8(needs: Needs) -> Needs:
    """Frozen matrices of the layers at a byte an element and a float32 scale a row."""
    weights = needs.weights
    held = weights.linear + 4 * weights.linear_rows
    saved = weights.linear_bytes - held
    changed = dataclasses.replace(weights, frozen_bytes=weights.frozen_bytes - saved,
                                  layer_bytes=weights.layer_bytes - saved, linear_bytes=weights.linear)  # fmt: skip
    return dataclasses.replace(needs, weights=changed)


def streamed(needs: Needs) -> Needs:
    """Frozen weights of the layers stay in their files: two layers are there at a time; what goes from layer to layer is kept
    for all micro-batches of a step (`Setup.peak`)."""
    weights, layers = needs.weights, max(needs.footprint.layers, 1)
    there = min(weights.layer_bytes, 2 * math.ceil(weights.layer_bytes / layers))
    changed = dataclasses.replace(weights, frozen_bytes=weights.frozen_bytes - weights.layer_bytes + there)
    return dataclasses.replace(needs, weights=changed, streamed=True)


def stream_slowdown(setup: Setup) -> float:
    """Layers come twice a step (forward, backward), while the ones before compute; 2 where the speeds are not known."""
    seconds = setup.step_seconds
    if not seconds or not setup.link:
        return 2.0
    return max(seconds, 2 * setup.needs.weights.layer_bytes / setup.link) / seconds


def sharded(needs: Needs, count: int) -> Needs:
    """Weights, gradients and optimizer state spread over so many devices, with two whole layers gathered at a time."""
    return dataclasses.replace(needs, shards=count)


def _sharded(setup: Setup, limit: float) -> Iterator[Setting]:
    """How many devices would do. Words only: the trainer runs on one."""
    if setup.needs.on_cpu or setup.needs.shards > 1:
        return
    for count in SHARDS:
        peak = dataclasses.replace(setup, needs=sharded(setup.needs, count)).peak()
        if peak <= limit:
            words = f"sharding over {count} devices (arithmetic: this version trains on one)"
            yield Setting({}, peak, math.inf, words)
            return


def _shortened(setup: Setup, limit: float) -> Iterator[Setting]:
    """The longest `max_length` that fits, with everything else as it is."""
    length = 1 << (int(setup.lengths.max()) - 1).bit_length()
    while length > 64:
        length //= 2
        share = np.minimum(1.0, length / np.maximum(setup.lengths, 1))
        tried = dataclasses.replace(setup, lengths=np.minimum(setup.lengths, length), learnt=setup.learnt * share)
        if (peak := tried.peak()) <= limit:
            yield Setting({"data.max_length": length}, peak, math.inf)
            return
