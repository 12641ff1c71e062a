"""A run that is killed at any instant goes on to the same bits; a full disk costs nothing that was saved."""

from __future__ import annotations

import errno
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers import Child, Server, metrics, picture, result

from seektune.run import Run
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
        left = [p.name for p in (folder / "run").rglob(".*") if p.name != ".lock"]
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
    assert operations >= {"write", "sync", "rename", "append", "mkdir", "remove", "os.mkdir", "os.remove", "os.rmdir"}


def test_two_processes_on_one_run(case: Case) -> None:
    folder = case.folder("two")
    first = case.start(folder, {"at": 20, "act": "wait"})
    while not (folder / "waiting").exists():
        time.sleep(0.01)
    before = picture(folder)
    second = case.start(folder)
    assert second.wait() == 70
    run = folder / "run"
    expected = f"InputError: {run}: another process (pid {first.pid}) is writing this run; wait for it, or stop it\n"
    assert second.stderr == expected
    assert picture(folder) == before
    (folder / "go").touch()
    assert first.wait() == 0
    assert case.difference(folder) == ""


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


@pytest.mark.parametrize("bytes_", [300, 20_000, 150_000])
def test_killed_in_the_middle_of_a_write(case: Case, bytes_: int) -> None:
    """The kernel ends the process when a file would grow beyond the limit, with the file written up to there."""
    folder = case.folder(f"torn-{bytes_}")
    assert case.start(folder, {"longest_file": bytes_, "act": "kill"}).wait() == -signal.SIGXFSZ
    assert case.difference(folder) == ""


def full_disk_problem(case: Case, folder: Path, fault: dict[str, Any], reason: str) -> str:
    """What is wrong after a run met a disk that takes no more, and after it went on with room again."""
    child = case.start(folder, fault)
    child.wait()
    said = child.stderr.strip()
    last = checkpoint.latest(folder / "run" / "checkpoints")
    kept = f"the last good checkpoint is {last.name}" if last else "there is no checkpoint yet"
    run = folder / "run"
    line = (
        f"RunFailedError: {run}: cannot be written ({reason}); {kept}; make room, then: seektune train --resume {run}"
    )
    return case.difference(folder) if said == line else said


def test_a_full_disk_at_any_write_leaves_the_last_good_checkpoint(case: Case) -> None:
    writing = ("write", "append", "mkdir", "sync", "rename")
    count = sum(line.split()[0] in writing for line in case.instants)
    wrong = {}
    for at in range(4, count + 1):  # the first three make the run folder
        fault = {"at": at, "act": errno.ENOSPC, "only": writing}
        if problem := full_disk_problem(case, case.folder(f"full-{at}"), fault, "No space left on device"):
            wrong[at] = problem
    assert not wrong


@pytest.mark.parametrize("bytes_", [600, 20_000, 150_000])
def test_what_libraries_say_of_a_disk_that_takes_no_more_is_understood(case: Case, bytes_: int) -> None:
    """The kernel refuses the write, of safetensors and torch too, and the file ends there."""
    fault = {"longest_file": bytes_, "act": errno.EFBIG}
    assert full_disk_problem(case, case.folder(f"limit-{bytes_}"), fault, "File too large") == ""


# ---- the command ----


def seektune(server: Server, folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """The command as a user starts it."""
    words = (sys.executable, "-m", "seektune", *words)
    variables = {k: v for k, v in server.environment.items() if k != "SEEKTUNE_STARTED"}
    with open(folder / "output.txt", "ab") as output:
        return subprocess.Popen(words, cwd=folder, env=variables, stdout=output, stderr=output)


def test_the_command_killed_in_the_middle_goes_on(server: Server, here: Path, expected: dict[str, Any]) -> None:
    run = here / "runs" / "numbers"
    killed = seektune(server, here, "train", "numbers.yaml")
    while not (run / "checkpoints" / "step-000010").exists():
        assert killed.poll() is None, (here / "output.txt").read_text()
        time.sleep(0.001)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert not (run / "report.json").exists()
    assert Run.open(run).status == "interrupted"
    resumed = seektune(server, here, "train", "--resume", str(run))
    assert resumed.wait() == 0, (here / "output.txt").read_text()
    assert result(run) == expected
    assert (run / "report.html").stat().st_size > 1000
    assert Run.open(run).status == "finished"


@pytest.mark.parametrize("instant", ["rename {}/evaluation/before.jsonl", "rename {}/model", "rename {}/report.json"])
def test_the_command_killed_outside_of_training_goes_on(
    server: Server, here: Path, expected: dict[str, Any], instant: str
) -> None:
    run = here / "runs" / "numbers"
    fault = {"match": instant.format("runs/numbers"), "only": ["rename"], "at": 1}
    assert server.seektune("train", "numbers.yaml", folder=here, fault=fault).wait() == -signal.SIGKILL
    again = server.seektune("train", "--resume", str(run), folder=here)
    assert again.wait() == 0, again.stderr
    assert result(run) == expected
    assert [p for p in run.rglob(".*") if p.name != ".lock"] == []


@pytest.mark.parametrize("name", ["format.json", "recipe.yaml", "plan.json"])
def test_the_command_killed_while_it_makes_the_run_folder_leaves_none(server: Server, here: Path, name: str) -> None:
    fault = {"match": name, "only": ["rename"], "at": 1}
    assert server.seektune("train", "numbers.yaml", folder=here, fault=fault).wait() == -signal.SIGKILL
    assert not (here / "runs" / "numbers").exists()
    listed = server.seektune("runs", folder=here)
    assert listed.wait() == 0, listed.stderr
    assert "numbers" not in listed.stdout


def test_a_full_disk_is_told_in_one_line(server: Server, here: Path, expected: dict[str, Any]) -> None:
    fault = {"match": "evaluation/after.jsonl", "only": ["write"], "at": 1, "act": errno.ENOSPC}
    child = server.seektune("train", "numbers.yaml", folder=here, fault=fault)
    assert child.wait() == 4
    assert child.said == (
        "error: runs/numbers: cannot be written (No space left on device); the last good checkpoint is step-000040; "
        "make room, then: seektune train --resume runs/numbers\n"
    )
    run = here / "runs" / "numbers"
    assert Run.open(run).status == "failed"
    again = server.seektune("train", "--resume", "runs/numbers", folder=here)
    assert again.wait() == 0, again.stderr
    assert result(run) == expected
