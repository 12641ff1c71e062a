"""One server of test processes for all tests of this folder: it loads torch and transformers once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zoo
from helpers import Server, project, result


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model; nobody writes into it."""
    return zoo.tiny_folder(tmp_path_factory.mktemp("model") / "tiny", "qwen2")


@pytest.fixture
def here(tmp_path: Path, model: Path) -> Path:
    return project(tmp_path / "here", model)


@pytest.fixture(scope="session")
def finished(server: Server, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing interrupts; nobody writes into it."""
    folder = project(tmp_path_factory.mktemp("expected"), model)
    child = server.seektune("train", "numbers.yaml", folder=folder)
    assert child.wait() == 0, child.stderr
    return folder / "runs" / "numbers"


@pytest.fixture(scope="session")
def expected(finished: Path) -> dict[str, Any]:
    return result(finished)
