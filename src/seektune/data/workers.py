"""A pool of worker processes that does not import the caller's main module, so that a user's plain script may use it.

Each worker is a Python process of its own that reads pickled batches and writes pickled results; a thread feeds it.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

AHEAD = 3  # batches that are under way for each process, so that memory stays flat

COMMAND = "from seektune.data.workers import serve; serve()"


class Pool:
    """`map`s `work` (a picklable callable) over batches in order; with 0 processes in this one."""

    def __init__(self, work: Callable[[Any], Any], processes: int):
        self.work = work
        self.processes = processes
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Pool:
        work = pickle.dumps(self.work) if self.processes else b""
        for _ in range(self.processes):
            worker = subprocess.Popen(
                [sys.executable, "-c", COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()
            )
            self.workers.append(worker)
        self.idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for worker in self.workers:
            _send(worker, work)
            self.idle.put(worker)
        return self

    def __exit__(self, *error: Any) -> None:
        for worker in self.workers:
            if worker.stdin:
                worker.stdin.close()
            if error[0] is not None:
                worker.kill()
        for worker in self.workers:
            worker.wait()
            if worker.stdout:
                worker.stdout.close()

    def map(self, batches: Iterable[Any]) -> Iterator[Any]:
        if not self.workers:
            yield from map(self.work, batches)
            return
        waiting: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(len(self.workers)) as threads:
            for batch in batches:
                waiting.append(threads.submit(self._ask, batch))
                if len(waiting) > AHEAD * len(self.workers):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _ask(self, batch: Any) -> Any:
        worker = self.idle.get()
        try:
            _send(worker, pickle.dumps(batch, protocol=pickle.HIGHEST_PROTOCOL))
            assert worker.stdout is not None
            answer = pickle.load(worker.stdout)
        except (BrokenPipeError, EOFError) as error:
            raise RuntimeError(f"a worker process ended with exit code {worker.wait()}") from error
        finally:
            self.idle.put(worker)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def _send(worker: subprocess.Popen[bytes], data: bytes) -> None:
    assert worker.stdin is not None
    worker.stdin.write(data)
    worker.stdin.flush()


def _environment() -> dict[str, str]:
    """One thread each: the processes are the parallelism."""
    path = os.pathsep.join([entry for entry in sys.path if entry])
    return {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def serve() -> None:
    """The life of a worker: the work first, then batches until the pipe closes. Prints go to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, which then closes the pipe
    source: BinaryIO = sys.stdin.buffer
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    work = pickle.load(source)
    while True:
        try:
            batch = pickle.load(source)
        except EOFError:
            return
        try:
            answer = work(batch)
        except Exception as error:  # told to the caller, who raises it
            answer = error
        pickle.dump(answer, sink, protocol=pickle.HIGHEST_PROTOCOL)
        sink.flush()
