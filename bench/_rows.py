"""A row of the table that bench/data.py prints."""

from __future__ import annotations

import time
from typing import Any


def row(
    stage: str, figure: str, value: Any, data: str, began: float, asked: Any = None, reached: bool | None = None
) -> dict[str, Any]:
    """`began`: time.perf_counter() when the measurement began."""
    return {"stage": stage, "figure": figure, "value": value, "asked": asked, "reached": reached, "data": data,
            "seconds": round(time.perf_counter() - began, 2)}  # fmt: skip
