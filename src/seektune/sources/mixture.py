"""Batches from several inputs, mixed by weight: 7 : 2 : 1 holds in every stretch of a thousand records.

An epoch has a length of its own, since a small input may end long before a large one does; see `at_end`. Whatever an epoch
does not use of an input comes in the next: each input goes through its own epochs, in a new order each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from ..contracts import Batch, Document, Probe, option
from ..errors import DataError, problem
from ._origins import at_epoch, units_of
from ._shares import Turns, turns

TWO = {"data.train": [{"path": "train.jsonl", "weight": 3.0}, {"path": "other.jsonl"}], "train.steps": 12}


@dataclass
class Mixture:
    """Documents know the input that they came from, and its weight (`origins`); without, they are all of one input."""

    at_end: Literal["stop", "repeat", "renormalise"] = option(
        "repeat",
        "what follows the last record of an input: stop ends the epoch with the input that ends first; repeat begins the "
        "input anew until all have ended; renormalise goes on with the others, in their proportions",
        probe=Probe("renormalise", given=TWO),
    )
    shuffle: bool = option(
        True,
        "a new order of each input in each of its epochs; false keeps the order of the files",
        probe=Probe(False, given=TWO),
    )

    def open(self, documents: Sequence[Document], *, batch_size: int, unit: int, seed: int) -> None:
        """`batch_size` counts records. Raises ValueError without documents, DataError where an input has none."""
        self._units = units_of(documents, unit)
        self._documents, self._seed, self._batch_size = documents, seed, batch_size
        origins = getattr(documents, "origins", None)
        of_units = _inputs_of_units(documents, self._units.bounds[:-1])
        self._names: tuple[str, ...] = origins.names if origins is not None else ("",)
        self._weights: tuple[float, ...] = origins.weights if origins is not None else (1.0,)
        self._members = [np.flatnonzero(of_units == i) for i in range(len(self._names))]
        _check(self._names, self._members)
        self._stretches = stretches([len(members) for members in self._members], self._weights, self.at_end)
        self._epoch_length = sum(stretch.length for stretch in self._stretches)
        self._each_epoch = self._counts(self._epoch_length)
        self._permutation = lru_cache(2 * len(self._members))(self._permuted)
        self._epoch = self._batch = 0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            while self._batch < self.batches_per_epoch():
                epoch, start = self._epoch, self._batch * self._batch_size
                end = min(start + self._batch_size, self._epoch_length)
                self._batch += 1
                yield Batch([document for turn in range(start, end) for document in self._drawn(epoch, turn)])
            self._epoch, self._batch = self._epoch + 1, 0

    def batches_per_epoch(self) -> int:
        """Of an epoch that ends with the first input (stop), when every record has come at least once (repeat) or exactly
        once (renormalise)."""
        return -(-self._epoch_length // self._batch_size)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._epoch, self._batch = int(state["epoch"]), int(state["batch"])

    def facts(self, batches: int) -> dict[str, Any]:
        """What that many batches, from the start, take of each input."""
        epochs, rest = divmod(batches, self.batches_per_epoch())
        taken = epochs * self._each_epoch + self._counts(rest * self._batch_size)
        total = max(int(taken.sum()), 1)
        asked = np.array(self._weights) / sum(self._weights)
        return {"at_end": self.at_end, "epoch_records": self._epoch_length, "inputs": [
            {"path": name, "weight": weight, "asked": round(float(share), 6), "share": round(count / total, 6), "records": len(members),
             "drawn": count, "epochs": round(count / len(members), 3)}
            for name, weight, share, members, count in zip(self._names, self._weights, asked, self._members, taken.tolist(), strict=True)
        ]}  # fmt: skip

    def _counts(self, drawn: int) -> np.ndarray:
        """(inputs,) records of each among the first `drawn` of an epoch."""
        counts = np.zeros(len(self._members), np.int64)
        for stretch in self._stretches:
            counts += stretch.turns.counts(min(drawn, stretch.length))
            drawn -= min(drawn, stretch.length)
        return counts

    def _drawn(self, epoch: int, turn: int) -> list[Document]:
        """The documents at one place of an epoch."""
        before = epoch * self._each_epoch + self._counts(turn)
        for stretch in self._stretches:
            if turn < stretch.length:
                which = int(stretch.turns.pattern[turn % len(stretch.turns.pattern)])
                break
            turn -= stretch.length
        own_epoch, place = divmod(int(before[which]), len(self._members[which]))
        return self._units.documents(at_epoch(self._documents, own_epoch), self._permutation(which, own_epoch)[place])

    def _permuted(self, which: int, epoch: int) -> np.ndarray:
        """The units of an input in the order of one of its epochs."""
        members = self._members[which]
        return np.random.default_rng([self._seed, which, epoch]).permutation(members) if self.shuffle else members


@dataclass(frozen=True)
class _Stretch:
    """A part of an epoch in which the same inputs are mixed."""

    turns: Turns
    length: int


def stretches(sizes: Sequence[int], weights: Sequence[float], at_end: str) -> list[_Stretch]:
    """An epoch of inputs of these sizes. Several stretches only where the others go on without those that have ended."""
    order = turns(weights)
    if at_end == "stop":
        return [_Stretch(order, order.first_missing(sizes, range(len(sizes))))]
    if at_end == "repeat":
        return [_Stretch(order, order.all_seen(sizes))]
    made, left = [], np.array(sizes)
    while left.any():
        order = turns([weight if count else 0 for weight, count in zip(weights, left, strict=True)])
        length = order.first_missing(left.tolist(), np.flatnonzero(left).tolist())
        made.append(_Stretch(order, length))
        left = left - order.counts(length)
    return made


def _inputs_of_units(documents: Sequence[Document], first: np.ndarray) -> np.ndarray:
    """(units,) number of the input of each."""
    origins = getattr(documents, "origins", None)
    if origins is None:
        return np.zeros(len(first), np.int64)
    return np.asarray(origins.of_records)[np.asarray(documents.records)[first]]  # type: ignore[attr-defined]


def _check(names: Sequence[str], members: Sequence[np.ndarray]) -> None:
    empty = [i for i, found in enumerate(members) if not len(found)]
    if empty:
        raise DataError([
            problem(f"data.train.{i}", f"no document is left of {names[i]!r} to mix", "at least one record to learn from",
                    "look at data.max_length, or leave the input out") for i in empty
        ])  # fmt: skip
