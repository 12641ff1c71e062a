"""Pieces that are compiled where a C compiler is there are tested both ways."""

from __future__ import annotations

import pytest

from seektune.models.kernels import native


@pytest.fixture(params=["compiled", "torch"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(native, "library", lambda dtype: None)
    elif reason := native.why_not():
        pytest.skip(reason)
    return request.param
