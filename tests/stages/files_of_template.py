"""Examples for prompts, in a file of their own."""

import json
from pathlib import Path


def files(folder: Path) -> None:
    rows = [{"topic": f"例 example {i}", "label": ("good", "bad")[i % 2]} for i in range(6)]
    (folder / "shots.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
