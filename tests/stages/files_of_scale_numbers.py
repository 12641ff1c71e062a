"""A scaler of few numbers, for the examples of `scale_numbers`."""

import json
from pathlib import Path


def files(folder: Path) -> None:
    narrow = {"low": "0", "high": "3", "step": "0.1", "count": 2}
    held = {"format": 1, "how": "linear", "ranges": {"amount CNY": narrow, "percent %": narrow}}
    (folder / "narrow.json").write_text(json.dumps(held))
