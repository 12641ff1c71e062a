"""A run is a folder, and the only truth about what happened: the trainer writes it, all others read it.

`format.json` holds the format version of the whole folder; the other files are listed in `FILES`. Every file is written
aside and renamed, and lines are appended whole, so that a kill at any instant leaves a folder that can be read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from . import __version__, files
from .errors import InputError, RecipeError, problem

FORMAT = 1
FILES = {
    "format.json": "format version of this folder, name, when it was made",
    "recipe.yaml": "the recipe as resolved, with every default written out",
    "environment.json": "versions, machine, git state, seeds",
    "data.json": "fingerprint and counts of each input, two records as tokens",
    "plan.json": "what was predicted; the report compares",
    "metrics.jsonl": "one line per step or evaluation",
    "events.jsonl": "starts, alarms, checkpoints, resumes, stops",
    "evaluation": "before.jsonl and after.jsonl: one answer a line",
    "tensors": "heat-map rows",
    "checkpoints": "everything needed to go on bit for bit",
    "model": "the result: an ordinary Hugging Face or PEFT folder",
    "report.json": "before and after, per measure, with intervals",
    "report.html": "the same for people: one self-contained page",
}
Status = Literal["running", "finished", "failed", "interrupted", "unreadable"]
ENDINGS: dict[str, Status] = {"finished": "finished", "failed": "failed"}  # the last word of a process that had one
OTHERS = ("start", "resume", "stop", "end")  # `end` is the end of training; evaluation, proof and report come after it


class Run:
    """One run folder. `Run.create` makes one, `Run.open` opens one; writing asks for `with run.lock():` around it."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._checked: set[str] = set()  # line files whose end this object has looked at

    @classmethod
    def create(cls, root: str | Path, name: str, fill: Callable[[Run], None] | None = None) -> Run:
        """A new folder `root/name`, there at once with its format and what `fill` writes into it, or not at all.

        RecipeError where the name is taken, or the disk refuses.
        """
        check_name(name)
        path = Path(root) / name
        aside = path.with_name(f".{name}.{os.getpid()}.part")
        try:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            files.write_json(
                aside / "format.json", {"format": FORMAT, "seektune": __version__, "name": name, "created": time.time()}
            )
            if fill is not None:
                fill(cls(aside))
            os.rename(aside, path)  # refuses a folder that holds something, takes an empty one
        except BaseException as error:
            shutil.rmtree(aside, ignore_errors=True)
            if not isinstance(error, OSError):
                raise
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) and path.exists():
                raise RecipeError(_taken(path)) from None
            raise RecipeError(_not_writable(root, name, error)) from None
        return cls(path)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run in this folder. RecipeError where there is none, or one of another format."""
        run = cls(path)
        if wrong := run.wrong:
            raise RecipeError(wrong)
        return run

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def wrong(self) -> str | None:
        """Why this folder cannot be read as a run, in one line."""
        where = str(self.path)
        if not self.path.is_dir():
            return problem(where, "no such folder", "the folder of a run", "`seektune runs` lists them")
        if not (self.path / "format.json").is_file():
            return problem(
                where, "not a run: it has no format.json", "the folder of a run", "`seektune runs` lists them"
            )
        try:
            found = self.read("format.json").get("format")
        except (InputError, AttributeError):
            return problem(f"{where}/format.json", "not readable", f'{{"format": {FORMAT}}}')
        if found == FORMAT:
            return None
        age = "a newer" if isinstance(found, int) and found > FORMAT else "an older"
        fix = (
            "update seektune"
            if age == "a newer"
            else "read it with the seektune that wrote it, or train again under another name"
        )
        return problem(where, f"written in {age} format ({found!r})", f"format {FORMAT}", fix)

    # Where things are

    @property
    def model_folder(self) -> Path:
        return self.path / "model"

    @property
    def tensors_folder(self) -> Path:
        return self.path / "tensors"

    @property
    def checkpoints_folder(self) -> Path:
        return self.path / "checkpoints"

    def checkpoint_folder(self, step: int) -> Path:
        return self.checkpoints_folder / f"step-{step:06d}"

    def checkpoints(self) -> list[Path]:
        """The whole checkpoints, oldest first; what a crash left half written has another name."""
        found = [p for p in self.checkpoints_folder.glob("step-*") if p.is_dir() and p.name[5:].isdigit()]
        return sorted(found, key=step_of)

    # Writing and reading

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One process at a time writes. InputError naming the other process; a reader's glance (see `locked`) is waited out."""
        with contextlib.ExitStack() as stack:
            for wait in (0.02, 0.05, 0.1, None):
                try:
                    stack.enter_context(files.lock(self.path))
                    break
                except InputError:
                    if wait is None:
                        raise
                    time.sleep(wait)
            yield

    @property
    def locked(self) -> bool:
        """Whether a process writes this run now."""
        try:
            with open(self.path / ".lock", "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def append(self, metrics: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl; `time` is added where it is missing."""
        self._append("metrics.jsonl", {**metrics, "time": metrics.get("time", time.time())})

    def event(self, name: str, /, **values: Any) -> None:
        """One line of events.jsonl: {"event": name, "time": seconds since 1970, ...}."""
        self._append("events.jsonl", {"event": name, "time": time.time(), **values})

    def metrics(self, split: str | None = None) -> list[dict[str, Any]]:
        rows = files.read_lines(self.path / "metrics.jsonl")
        return rows if split is None else [row for row in rows if row.get("split") == split]

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        rows = files.read_lines(self.path / "events.jsonl")
        return rows if name is None else [row for row in rows if row.get("event") == name]

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The rows of a JSONL file of the run, such as evaluation/after.jsonl; [] where there is none."""
        return files.read_lines(self.path / name)

    def tail(self, name: str, size: int = 1 << 16) -> list[dict[str, Any]]:
        """The last whole rows of a JSONL file, from its last `size` bytes: as fast at a million lines as at ten."""
        path = self.path / name
        start = max(0, path.stat().st_size - size) if path.exists() else 0
        return new_lines(path, start)[0]  # the line that is cut at the front is no JSON and falls out

    def write(self, name: str, value: Any) -> None:
        """A JSON file, replaced in one step."""
        files.write_json(self.path / name, finite(value))

    def write_lines(self, name: str, rows: list[dict[str, Any]]) -> None:
        """A JSONL file, replaced in one step."""
        files.write_text(
            self.path / name, "".join(json.dumps(finite(row), ensure_ascii=False, default=str) + "\n" for row in rows)
        )

    def read(self, name: str, default: Any = None) -> Any:
        """The value of a JSON file; `default` where there is none."""
        try:
            return files.read_json(self.path / name)
        except FileNotFoundError:
            return default
        except ValueError as error:
            raise RecipeError(
                problem(f"{self.path / name}", f"not JSON ({error})", "the file as the run wrote it")
            ) from None

    def truncate_after(self, step: int) -> int:
        """Drop the metrics after a step; returns how many lines. A resumed run writes them again, and ends with the same ones."""
        path = self.path / "metrics.jsonl"
        rows = files.read_lines(path)
        kept = [row for row in rows if row.get("step", 0) <= step]
        self._checked.discard(path.name)
        if path.exists():
            files.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
        return len(rows) - len(kept)

    def sweep(self) -> None:
        """Remove what a killed process has left half written or half removed; only for the holder of the lock."""
        for left in [*self.path.rglob(".*.part"), *self.path.rglob(".*.gone")]:
            files.remove(left)

    def delete(self) -> None:
        """Remove the folder. InputError while a process writes it."""
        with self.lock():
            files.remove(self.path)

    # What it says about itself

    @property
    def created(self) -> float:
        """Seconds since 1970; 0 where format.json does not say."""
        with contextlib.suppress(InputError, AttributeError, TypeError, ValueError):
            return float(self.read("format.json", {}).get("created", 0))
        return 0.0

    @property
    def status(self) -> Status:
        """From the lock and the last event: a run that was killed is `interrupted`, as it holds no lock and never ended."""
        if self.wrong:
            return "unreadable"
        if self.locked:
            return "running"
        last = [row["event"] for row in self.events() if row.get("event") in (*ENDINGS, *OTHERS)][-1:]
        return ENDINGS.get(last[0], "interrupted") if last else "interrupted"

    def _append(self, name: str, row: dict[str, Any]) -> None:
        path = self.path / name
        if name not in self._checked:
            cut_torn_line(path)
        self._checked.discard(name)  # a write that fails (disk full) may leave a part of a line
        files.append_line(path, finite(row))
        self._checked.add(name)


def check_free(root: str | Path, name: str) -> None:
    """RecipeError where `Run.create` would raise one: told before anything is read, and nothing is written."""
    check_name(name)
    path = Path(root) / name
    if path.exists() and not (path.is_dir() and next(path.iterdir(), None) is None):
        raise RecipeError(_taken(path))
    try:
        folder = next(p for p in (path.absolute().parent, *path.absolute().parents) if p.exists())
        files.before("mkdir", path)
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if not os.access(folder, os.W_OK | os.X_OK) or not folder.is_dir():
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise RecipeError(_not_writable(root, name, error)) from None


def check_name(name: str) -> None:
    """RecipeError where a run cannot have this name."""
    if not re.fullmatch(r"[^\W_.-][\w.-]*", name) or len(name.encode()) > 200:
        raise RecipeError(
            problem("name", f"found {name!r}", "letters, digits, '.', '_' and '-', beginning with a letter or digit")
        )


def next_name(root: str | Path, stem: str) -> str:
    """`headlines-3` where `headlines-2` is the highest number so far."""
    return f"{stem}-{max((n for n, _ in _numbered(Path(root), stem)), default=0) + 1}"


def previous(root: str | Path, stem: str) -> Run | None:
    """The latest readable run of this stem, or None."""
    runs = [Run(path) for _, path in _numbered(Path(root), stem)]
    return next((run for run in reversed(runs) if run.wrong is None), None)


def list_runs(root: str | Path) -> list[Run]:
    """The runs under a folder, oldest first; those of another format too (`status` is `unreadable`, `wrong` says why)."""
    found = [Run(path.parent) for path in Path(root).glob("*/format.json") if not path.parent.name.startswith(".")]
    return sorted(found, key=lambda run: (run.created, run.name))


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def finite(value: Any) -> Any:
    """A value as JSON can hold it: numbers that are not finite become null, with the reason in `<key>_not_finite` beside it."""
    return _finite(value, [])


def _finite(value: Any, reasons: list[str]) -> Any:
    if isinstance(value, Mapping):
        row: dict[str, Any] = {}
        for key, inner in value.items():
            found: list[str] = []
            row[str(key)] = _finite(inner, found)
            if found:
                row[f"{key}_not_finite"] = found[0]
        return row
    if isinstance(value, list | tuple | set):
        return [_finite(inner, reasons) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        reasons.append(repr(float(value)))
        return None
    if isinstance(value, str | int | float | None):
        return value
    plain = getattr(value, "tolist", None)  # numbers and arrays of numpy and torch
    return _finite(plain(), reasons) if plain else value


def cut_torn_line(path: Path) -> None:
    """Remove what a crash left of a last line, so that the next line is not glued to it."""
    if not path.exists():
        return
    with open(path, "r+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        keep = 0
        while end and not keep:
            start = max(0, end - (1 << 16))
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            end, keep = start, start + newline + 1 if newline >= 0 else 0
        if keep < size:
            file.truncate(keep)


def new_lines(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The whole lines of a growing file after a byte offset, and the next offset; from the start again where it was cut."""
    if not path.exists():
        return [], 0
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(offset if offset <= size else 0)
        start = file.tell()
        block = file.read()
    whole = block[: block.rfind(b"\n") + 1]
    rows = []
    for line in whole.splitlines():
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return rows, start + len(whole)


def _numbered(root: Path, stem: str) -> list[tuple[int, Path]]:
    """(number, folder) of each run of a stem, lowest first; the bare stem counts as 0."""
    pattern = re.compile(re.escape(stem) + r"(?:-(\d+))?")
    found = [(int(m[1] or 0), path) for path in root.glob("*") if (m := pattern.fullmatch(path.name))]
    return sorted(found)


def _not_writable(root: str | Path, name: str, error: OSError) -> str:
    where = str(Path(root).absolute())
    fix = "start seektune in a folder of yours with room"
    return problem(where, f"cannot make the run {name!r} ({error.strerror})", "a folder that can be written", fix)


def _taken(path: Path) -> str:
    if Run(path).wrong:
        return problem(
            str(path),
            "exists and is no run of this format",
            "a free name",
            f"take `name={next_name(path.parent, path.name)}`",
        )
    free = next_name(path.parent, re.sub(r"-\d+$", "", path.name))
    return problem(str(path), "this run exists", "a free name", f"go on with `--resume {path}`, or take `name={free}`")
