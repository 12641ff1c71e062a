"""What starts fast stays fast: verbs that look at folders and names load no training stack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "peft", "accelerate", "pandas", "scipy", "sklearn")


def imported(words: list[str], folder: Path) -> set[str]:
    """The packages that a command line imports, as Python itself reports them."""
    command = [sys.executable, "-X", "importtime", "-m", "seektune", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.partition(".")[0] for line in lines}


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["kinds"], ["kinds", "tuner", "lora"], ["runs"]], ids=" ".join
)
def test_starts_without_the_training_stack(words: list[str], tmp_path: Path) -> None:
    found = imported(words, tmp_path)
    assert "seektune" in found
    assert found.isdisjoint(HEAVY), sorted(found & set(HEAVY))


def test_the_report_of_python_would_show_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-c", "import seektune.models.forward"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert any(line.rpartition("|")[2].strip() == "torch" for line in done.stderr.splitlines())
