"""Real processes at the price of a fork: a server that has imported everything forks one child for each task.

Imported, this file is the client (`Server`, `Child`); run as a script it is the server. A child is a process of its own
with its own output files, which can be killed at any instant, or kills itself (or finds the disk full) at a chosen write.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}
SETTINGS = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "500", "HF_HUB_OFFLINE": "1", "SEEKTUNE_STARTED": "1"}

# ---- the client ----


@dataclass
class Child:
    """A forked process. `code` is its exit code, or minus the signal that ended it."""

    server: Server
    pid: int
    output: Path

    def wait(self, seconds: float = 120) -> int:
        answer = self.server.ask({"wait": self.pid, "seconds": seconds})
        assert answer["code"] is not None, f"process {self.pid} did not end within {seconds} s: {self.stderr}"
        return int(answer["code"])

    def send(self, number: signal.Signals) -> None:
        """Harmless once the process has ended: the server collects it only when it is waited for."""
        os.kill(self.pid, number)

    @property
    def stdout(self) -> str:
        return self.output.with_suffix(".out").read_text(encoding="utf-8")

    @property
    def said(self) -> str:
        """stderr without the lines of progress, which come by the clock."""
        lines = self.stderr.splitlines(keepends=True)
        return "".join(line for line in lines if not re.match(r"step \d+/\d+ · |[a-z ]+\d+[,\d]*/\d", line))

    @property
    def stderr(self) -> str:
        return self.output.with_suffix(".err").read_text(encoding="utf-8")


class Server:
    """Starts children; one task at a time is asked for, any number run."""

    def __init__(self, folder: Path):
        self.folder, self.count = folder, 0
        home = {"SEEKTUNE_CACHE": str(folder / "cache"), "HF_HOME": str(folder / "hub"), "TMPDIR": str(folder)}
        # the user's own settings of these libraries shall not reach a test
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "SEEKTUNE_", "MALLOC_"))}
        self.environment = inherited | SETTINGS | home
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.environment
        )
        self.ask({"ready": True})

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the server of test processes has ended"
        return json.loads(line)

    def start(self, function: str, *arguments: Any, folder: Path, fault: dict[str, Any] | None = None) -> Child:
        """Call a function of this file by its name, in a child whose current folder is `folder`."""
        self.count += 1
        output = self.folder / f"child-{self.count}"
        task = {"call": function, "arguments": arguments, "output": str(output), "folder": str(folder), "fault": fault}
        return Child(self, int(self.ask(task)["pid"]), output)

    def seektune(self, *words: str, folder: Path, fault: dict[str, Any] | None = None, **variables: str) -> Child:
        """The command line with these words."""
        return self.start("command", list(words), variables, folder=folder, fault=fault)


def picture(folder: Path) -> dict[str, str]:
    """Every file and folder below with what it holds: equal pictures, nothing written. Locks are no content."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.name != ".lock"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


RECIPE = """model: {{path: {model}}}
data: {{train: train.jsonl, valid: {{fraction: 0.2}}}}
tuner: {{kind: lora, rank: 4}}
objective: sft
optimizer: {{kind: adamw, learning_rate: 2e-3}}
train: {{batch_size: 4, steps: 40, save_every: 10, precision: float32, device: cpu}}
evaluate: [perplexity]
"""


def project(folder: Path, model: Path) -> Path:
    """A folder with records and a recipe, as a user has it; returns it."""
    folder.mkdir(exist_ok=True)
    rows = [{"instruction": f"Which number is it? {i}", "output": f"It is {i}."} for i in range(30)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "numbers.yaml").write_text(RECIPE.format(model=model))
    return folder


def result(run: Path) -> dict[str, Any]:
    """What must be equal after an interruption: the saved weights, the lines of metrics and the scores."""
    scores = json.loads((run / "report.json").read_text())["after"]
    weights = hashlib.sha256((run / "model" / "adapter_model.safetensors").read_bytes()).hexdigest()
    return {"weights": weights, "metrics": metrics(run), "scores": scores}


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what a clock says."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("time", "tokens_per_second", "waiting")} for row in rows]


# ---- what children do ----


def command(words: list[str], variables: dict[str, str]) -> int:
    from seektune import cli

    os.environ.update(variables)
    sys.path.insert(0, os.getcwd())  # as `python -m seektune` has it
    return cli.main(words)


def train(folder: str, result: str, **options: Any) -> int:
    """Train (or go on with) `folder`/run by the bare loop, and tell digests of all that came of it."""
    import harness

    from seektune.assembly import seed_everything
    from seektune.train import checkpoint
    from seektune.train.options import Train

    settings = {"steps": 6, "batch_size": 5, "save_every": 2, "validate_every": 3, "keep": 1} | options
    source = watched(Path(folder) / "order.txt")
    held_out = harness.documents(5, seed=9)
    made = harness.trainer(Path(folder), options=Train(**settings), source=source, valid=held_out, dropout=0.1)
    seed_everything(18)
    with made.run.lock():
        made.resume(checkpoint.latest(made.run.checkpoints_folder))
        made.fit()
    told = {
        "weights": digest(p for _, p in sorted(made.model.named_parameters())),
        "optimizer": digest(made.optimizer.state_dict()),
        "random": digest(checkpoint.random_state()),
        "tally": {k: v for k, v in vars(made.tally).items() if k not in ("seconds", "waiting")},
        "source": source.state_dict(),
        "order": order(Path(folder) / "order.txt"),
    }
    Path(result).write_text(json.dumps(told))
    return 0


def watched(path: Path) -> Any:
    """The loader, writing down which records it gives."""
    from seektune.contracts import Batch
    from seektune.sources.loader import Loader

    class Watched(Loader):
        def __iter__(self) -> Iterator[Batch]:
            for batch in super().__iter__():
                with open(path, "a") as file:
                    file.write(json.dumps([self._epoch, self._batch, [d.record for d in batch.documents]]) + "\n")
                yield batch

    return Watched()


def order(path: Path) -> list[Any]:
    """The records of each batch by position; a batch that was given twice was the same both times."""
    found: dict[tuple[int, int], list[int]] = {}
    for line in path.read_text().splitlines():
        epoch, batch, records = json.loads(line)
        assert found.setdefault((epoch, batch), records) == records
    return [[*place, records] for place, records in sorted(found.items())]


def digest(value: Any) -> str:
    """SHA-256 of tensors and plain values, however nested."""
    import torch

    state = hashlib.sha256()

    def add(inner: Any) -> None:
        if isinstance(inner, torch.Tensor):
            state.update(f"{inner.dtype} {list(inner.shape)}".encode())
            state.update(inner.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(inner, dict):
            for key in sorted(inner, key=str):
                state.update(repr(key).encode())
                add(inner[key])
        elif isinstance(inner, str | int | float | None):
            state.update(repr(inner).encode())
        else:
            for one in inner:
                add(one)

    add(value)
    return state.hexdigest()


# ---- faults ----


@dataclass
class Faults:
    """Counts what changes files below `under`, and acts at number `at` (from 1): "kill", "wait",
    "interrupt" (as Ctrl-C does), or an error number to raise.

    Two looks at the same thing: the announcements of `files.py`, and Python's own audit events, which tell every
    rename and removal whether it was announced or not. A change that follows its announcement is no instant of its own.
    """

    under: str = ""  # the beginning of a path as the program writes it
    at: int = 0  # 0 only counts
    act: str | int = "kill"
    only: tuple[str, ...] = ()  # announcements that count; all and all audit events where empty
    match: str = ""  # what an instant must hold to count
    log: str = ""  # where the list of instants goes
    count: int = 0
    announced: bool = False
    seen: list[str] = field(default_factory=list)

    def install(self) -> None:
        from seektune import files

        files.before = self.announcement
        if not self.only:
            sys.addaudithook(self.audit)

    def announcement(self, operation: str, path: Path) -> None:
        if str(path).startswith(self.under) and (not self.only or operation in self.only):
            self.announced = True
            self.instant(f"{operation} {path}")

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event not in CHANGES and not writes:
            return
        path = str(arguments[0])
        if event in ("os.remove", "os.rmdir") and arguments[1] >= 0:  # relative to an open folder
            path = f"{os.readlink(f'/proc/self/fd/{arguments[1]}')}/{path}"
        if path.startswith(self.under):
            announced, self.announced = self.announced, False
            if not announced:
                self.instant(f"{event} {path}")

    def instant(self, what: str) -> None:
        if self.match not in what:
            return
        self.count += 1
        if self.log:
            self.seen.append(what.replace(self.under, ""))
        if self.count == self.at:
            self.happen()

    def happen(self) -> None:
        if self.act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.act == "wait":
            self.wait()
        elif self.act == "interrupt":
            raise KeyboardInterrupt
        else:
            raise OSError(self.act, os.strerror(int(self.act)))

    def wait(self) -> None:
        """Tell by a file in the current folder that the instant has come, and go on when another one is there."""
        Path("waiting").touch()
        while not Path("go").exists():
            time.sleep(0.005)

    def finish(self) -> None:
        if self.log:
            log, self.log, self.under = self.log, "", "\0"
            Path(log).write_text(json.dumps(self.seen))


@contextlib.contextmanager
def faults(wanted: dict[str, Any] | None) -> Iterator[None]:
    if wanted is None:
        yield
        return
    if limit := wanted.get(
        "longest_file"
    ):  # bytes; the kernel ends the write that goes beyond, and may end the process
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if wanted["act"] == "kill" else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        yield
        return
    active = Faults(**wanted | {"only": tuple(wanted.get("only", ()))})
    active.install()
    try:
        yield
    finally:
        active.finish()


# ---- the server ----


def serve(requests: Iterable[str]) -> None:
    """One request a line: start a task, or wait for a process. The answer is one line too."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    for line in requests:
        request = json.loads(line)
        if "wait" in request:
            answer: dict[str, Any] = {"code": collect(request["wait"], request["seconds"])}
        else:
            answer = {"pid": fork(request)} if "call" in request else {}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def collect(pid: int, seconds: float) -> int | None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def fork(task: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        code = work(task)
    except Exception as error:
        import traceback

        from seektune.errors import SeektuneError

        known = isinstance(error, SeektuneError)
        print(f"{type(error).__name__}: {error}" if known else traceback.format_exc(), file=sys.stderr)
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return 0


def work(task: dict[str, Any]) -> int:
    """In the child: own output, own folder, then the task."""
    for number, name in ((0, os.devnull), (1, task["output"] + ".out"), (2, task["output"] + ".err")):
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    os.chdir(task["folder"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    call: Callable[..., int] = globals()[task["call"]]
    with faults(task["fault"]):
        return call(*task["arguments"])


def load_everything() -> None:
    """What every child would load. No gradient is computed here: autograd's threads do not survive a fork."""
    import harness  # noqa: F401
    import peft  # noqa: F401
    import torch
    import zoo

    import seektune.assembly
    import seektune.cli
    import seektune.evaluate.evaluator  # noqa: F401

    torch.set_num_threads(1)
    with torch.no_grad():
        zoo.tiny("qwen2")(zoo.ids())


if __name__ == "__main__":
    sys.path[:0] = [str(TESTS / "train"), str(TESTS)]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal of pytest is for pytest
    load_everything()
    serve(sys.stdin)
