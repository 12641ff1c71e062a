"""Batches are read while the step computes: a thread takes them from the source, reads their documents and cuts them.

Nothing that is computed depends on it. Beside each batch stands the state of its source right after it, so that a checkpoint
never holds what was only read ahead; the thread draws no random number of torch and touches no model.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ..contracts import Batch, Learnt, Source

DEPTH = 2  # steps that lie ready
ENDED = object()


@dataclass
class Read:
    """A batch as it came: the source's state right after it, what was prepared of it, and how long the step waited for it."""

    batch: Batch
    state: dict[str, Any]
    prepared: Any = None  # what `prepare` gave
    waited: float = 0.0  # seconds


class Ahead:
    """Iterates over the reads of a source, `DEPTH` steps ahead; a context that ends the thread.

    A source whose class says `ahead = False` (it needs what the step changes) is read in turn, never ahead. On leaving, the
    source stands behind the last batch that was handed out. What the thread raises is raised here, as it is.
    """

    def __init__(self, source: Source, prepare: Callable[[Batch], Any] = lambda batch: None):
        self.source, self.prepare = source, prepare
        self.thread: threading.Thread | None = None
        self.ready: queue.Queue[Any] = queue.Queue(DEPTH)
        self.left = threading.Event()
        self.last: dict[str, Any] | None = None

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *error: Any) -> None:
        """Wakes the thread where it waits for room: it sees that nobody reads any more."""
        if self.thread is None:
            return
        self.left.set()
        while self.thread.is_alive():
            with_room(self.ready)
            self.thread.join(0.05)
        if self.last is not None:
            self.source.load_state_dict(self.last)

    def __iter__(self) -> Iterator[Read]:
        if not getattr(self.source, "ahead", True):
            return self._timed(self._reads())
        self.last = self.source.state_dict()
        self.thread = threading.Thread(target=self._work, name="read ahead", daemon=True)
        self.thread.start()
        return self._timed(self._taken())

    def _timed(self, reads: Iterator[Read]) -> Iterator[Read]:
        while True:
            began = time.perf_counter()
            read = next(reads, None)
            if read is None:
                return
            read.waited = time.perf_counter() - began
            self.last = read.state
            yield read

    def _reads(self) -> Iterator[Read]:
        for batch in self.source:
            yield Read(batch, self.source.state_dict(), self.prepare(batch))

    def _work(self) -> None:
        try:
            for read in self._reads():
                self.ready.put(read)
                if self.left.is_set():
                    return
            self.ready.put(ENDED)
        except BaseException as error:  # whatever it is, it belongs to the caller
            self.ready.put(error)

    def _taken(self) -> Iterator[Read]:
        while (read := self.ready.get()) is not ENDED:
            if isinstance(read, BaseException):
                raise read
            yield read


def with_room(held: queue.Queue[Any]) -> None:
    """Empty a queue."""
    while True:
        try:
            held.get_nowait()
        except queue.Empty:
            return


def pinned(batch: Batch) -> Batch:
    """A micro-batch in memory that a GPU can fetch from while it computes."""
    return _each(batch, lambda tensor: tensor.pin_memory())


def moved(batch: Batch, device: torch.device) -> Batch:
    """A micro-batch on a device; what is pinned is fetched without waiting."""
    return batch if device.type == "cpu" else _each(batch, lambda tensor: tensor.to(device, non_blocking=True))


def _each(batch: Batch, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
    values = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    tensors: dict[str, Any] = {name: change(value) for name, value in values.items() if isinstance(value, torch.Tensor)}
    learnt = None if batch.learnt is None else Learnt(*map(change, batch.learnt))
    return dataclasses.replace(batch, learnt=learnt, **tensors)
