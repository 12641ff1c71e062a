"""A run that is killed at any instant goes on to the same bits; a full disk costs nothing that was saved."""

from __future__ import annotations

import errno
import json
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers import Child, Server, metrics

from seektune.train import checkpoint


@dataclass
class Case:
    """Runs of the bare loop in processes, and the uninterrupted one that all must equal."""

    server: Server
    root: Path
    expected: dict[str, Any]
    lines: list[dict[str, Any]]
    instants: list[str]
    seconds: float

    def start(self, folder: Path, fault: dict[str, Any] | None = None) -> Child:
        if fault and "longest_file" not in fault:
            fault = {"under": str(folder / "run")} | fault
        return self.server.start("train", str(folder), str(folder / "result.json"), folder=folder, fault=fault)

    def difference(self, folder: Path) -> str:
        """Go on to the end; what is then unlike the uninterrupted run."""
        child = self.start(folder)
        if code := child.wait():
            return f"resuming ended with {code}: {child.stderr[-500:]}"
        found = json.loads((folder / "result.json").read_text())
        unlike = [name for name in self.expected if found[name] != self.expected[name]]
        if metrics(folder / "run") != self.lines:
            unlike.append("metrics")
        left = [p.name for p in (folder / "run" / "checkpoints").iterdir() if p.name.startswith(".")]
        return ", ".join(unlike + left)

    def folder(self, name: str) -> Path:
        path = self.root / name
        path.mkdir()
        return path


@pytest.fixture(scope="module")
def case(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Case:
    root = tmp_path_factory.mktemp("runs")
    made = Case(server, root, {}, [], [], 0.0)
    folder = made.folder("whole")
    began = time.monotonic()
    child = made.start(folder, {"log": str(root / "instants.json")})
    assert child.wait() == 0, child.stderr
    made.seconds = time.monotonic() - began
    made.expected = json.loads((folder / "result.json").read_text())
    made.lines = metrics(folder / "run")
    made.instants = json.loads((root / "instants.json").read_text())
    return made


def test_the_uninterrupted_run_is_what_the_others_are_compared_with(case: Case) -> None:
    assert [line["step"] for line in case.lines if line["split"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert case.expected["order"][5][:2] == [1, 1]  # the sixth batch is of the second epoch
    assert case.expected["tally"]["best_step"] in (3, 6)
    assert case.difference(case.root / "whole") == ""  # to resume what has ended changes nothing
    operations = {line.split()[0] for line in case.instants}
    assert operations >= {"write", "sync", "rename", "append", "mkdir", "remove", "os.rename", "os.rmdir"}


def test_killed_at_every_write_rename_and_removal(case: Case) -> None:
    wrong = {}
    for at, instant in enumerate(case.instants, 1):
        folder = case.folder(f"at-{at}")
        code = case.start(folder, {"at": at}).wait()
        assert code == -signal.SIGKILL, f"instant {at} ({instant}) was not reached: {code}"
        if difference := case.difference(folder):
            wrong[f"{at} {instant}"] = difference
    assert not wrong


@pytest.mark.parametrize("seed", range(20))
def test_killed_at_a_random_instant(case: Case, seed: int) -> None:
    folder, draw = case.folder(f"random-{seed}"), random.Random(seed)
    for _ in range(1 + seed % 2):  # every second run is killed twice
        child = case.start(folder)
        time.sleep(draw.uniform(0, 0.9 * case.seconds))
        child.send(signal.SIGKILL)
        child.wait()
    assert case.difference(folder) == ""


@pytest.mark.parametrize("bytes_", [300, 2_000, 20_000])
def test_killed_in_the_middle_of_a_write(case: Case, bytes_: int) -> None:
    """The kernel ends the process when a file would grow beyond the limit, with the file written up to there."""
    folder = case.folder(f"torn-{bytes_}")
    assert case.start(folder, {"longest_file": bytes_}).wait() == -signal.SIGXFSZ
    assert case.difference(folder) == ""


def test_a_full_disk_at_any_write_leaves_the_last_good_checkpoint(case: Case) -> None:
    wrong = {}
    writing = ("write", "append", "mkdir", "sync", "rename")
    count = sum(line.split()[0] in writing for line in case.instants)
    for at in range(4, count + 1):  # the first three make the run folder
        folder = case.folder(f"full-{at}")
        child = case.start(folder, {"at": at, "act": errno.ENOSPC, "only": writing})
        code, said = child.wait(), child.stderr
        if code == 0 or "RunFailedError" not in said or "No space left on device" not in said:
            wrong[at] = f"{code} {said[-300:]}"
            continue
        last = checkpoint.latest(folder / "run" / "checkpoints")
        if last is not None and last.name not in said:
            wrong[at] = f"{last.name} is not named: {said[-300:]}"
        elif difference := case.difference(folder):
            wrong[at] = difference
    assert not wrong
