"""Fixtures for all tests: real data where it is at hand, one thread, no network."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "500")

from seektune import console

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("SEEKTUNE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the folder of real data sets is absent (SEEKTUNE_TEST_DATA)")
    return folder


@pytest.fixture(autouse=True)
def output_as_it_was() -> Iterator[None]:
    """A verb with `--json` sends all else to stderr, for the rest of its process."""
    yield
    console.use_stderr(False)
