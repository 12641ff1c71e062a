"""One server of test processes for all tests of this folder: it loads torch and transformers once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    yield made
    made.close()
