"""`make quickstart`: writes the headlines, then runs recipes/quickstart.yaml by the same command that any user types.

python -m seektune.base.quickstart [--seed 17] [key=value ...]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from .. import files
from ..run import next_name
from .headlines import headlines

RECORDS = {"train": 2800, "valid": 200}
RECIPE = Path("recipes/quickstart.yaml")
FOLDER = Path("runs/data/quickstart")


def write(folder: Path, seed: int) -> None:
    """train.jsonl and valid.jsonl; no company stands in both."""
    for part, count in RECORDS.items():
        lines = [json.dumps(record, ensure_ascii=False) for record in headlines(seed, count, part)]  # type: ignore[arg-type]
        files.write_text(folder / f"{part}.jsonl", "\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m seektune.base.quickstart", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--seed", type=int, default=17, help="of the headlines and of the training")
    options, settings = parser.parse_known_args()
    if not RECIPE.exists():
        raise SystemExit(f"error: {RECIPE}: no such file; run `make quickstart` in the repository's folder")
    write(FOLDER, options.seed)
    name = next_name("runs", "quickstart")
    words = ["train", str(RECIPE), f"name={name}", f"seed={options.seed}", *settings]
    os.execv(sys.executable, [sys.executable, "-m", "seektune", *words])


if __name__ == "__main__":
    main()
