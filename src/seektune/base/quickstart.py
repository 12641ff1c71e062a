"""`make quickstart`: writes the headlines, then runs recipes/quickstart.yaml by the same command that any user types."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from .. import files
from .headlines import headlines

RECORDS = {"train": 2400, "valid": 200}
RECIPE = Path("recipes/quickstart.yaml")


def write(folder: Path, seed: int = 17) -> None:
    """train.jsonl and valid.jsonl, with companies that are disjoint."""
    for part, count in RECORDS.items():
        lines = [json.dumps(record, ensure_ascii=False) for record in headlines(seed, count, part)]  # type: ignore[arg-type]
        files.write_text(folder / f"{part}.jsonl", "\n".join(lines) + "\n")


def main() -> None:
    if not RECIPE.exists():
        raise SystemExit(f"error: {RECIPE}: no such file; run `make quickstart` in the repository's folder")
    write(Path("runs/data/quickstart"))
    os.execv(sys.executable, [sys.executable, "-m", "seektune", "train", str(RECIPE), *sys.argv[1:]])


if __name__ == "__main__":
    main()
