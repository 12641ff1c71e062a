"""Ctrl-C and SIGTERM: the step is finished, all is saved, one line says how to go on; and going on gives the same bits."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import Child, Server, metrics, result


def stopped_at(server: Server, here: Path, line: int) -> Child:
    """The command, waiting just before it writes this line of its metrics."""
    fault = {"match": "metrics.jsonl", "only": ["append"]}
    child = server.seektune("train", "numbers.yaml", folder=here, fault=fault | {"at": line, "act": "wait"})
    end = time.monotonic() + 100
    while not (here / "waiting").exists():
        assert time.monotonic() < end, child.stderr
        time.sleep(0.01)
    return child


def events(here: Path) -> list[str]:
    from seektune.run import Run

    return [row["event"] for row in Run(here / "runs" / "numbers").events()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(
    server: Server, here: Path, expected: dict[str, Any], number: signal.Signals
) -> None:
    child, run = stopped_at(server, here, 13), here / "runs" / "numbers"
    child.send(number)
    (here / "go").touch()
    assert child.wait() == 3
    assert child.said == ("error: stopped after step 13 and saved; go on with: seektune train --resume runs/numbers\n")
    assert [line["step"] for line in metrics(run)] == list(range(1, 14))
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-000010", "step-000013"]
    assert events(here)[-2:] == ["checkpoint", "stop"]
    again = server.seektune("train", "--resume", "runs/numbers", folder=here)
    assert again.wait() == 0, again.stderr
    assert result(run) == expected


def test_a_second_ctrl_c_stops_at_once_and_nothing_is_lost(
    server: Server, here: Path, expected: dict[str, Any]
) -> None:
    child, run = stopped_at(server, here, 13), here / "runs" / "numbers"
    child.send(signal.SIGINT)
    time.sleep(0.2)
    child.send(signal.SIGINT)
    assert child.wait() == 3
    assert child.said == "error: stopped; go on with: seektune train --resume runs/numbers\n"
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-000010"]
    again = server.seektune("train", "--resume", "runs/numbers", folder=here)
    assert again.wait() == 0, again.stderr
    assert result(run) == expected


def test_ctrl_c_before_there_is_a_run_leaves_nothing(server: Server, here: Path) -> None:
    fault = {"match": "format.json", "only": ["write"], "at": 1, "act": "interrupt"}
    child = server.seektune("train", "numbers.yaml", folder=here, fault=fault)
    assert child.wait() == 130
    assert child.said == "\nerror: stopped\n"
    assert list((here / "runs").iterdir()) == []
