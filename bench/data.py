"""The figures of the data stages on real records, as one table.

    python bench/data.py ../shared/data [--slow] [--topic duplicates ...] [--json docs/figures/data.json]

Each topic is a file bench/_data_<topic>.py with `figures(folder)`, run as a process of its own; with `--json` the rows of
topics that are not run again stay as they were. `--slow` adds the models that noise and translation tune, and
a million records to deduplicate: an hour more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SLOW = {
    "duplicates": ["near", "contamination", "languages", "versions", "million"],
    "noise": ["--tiny"],
    "translation": ["--seeds", "17", "18", "19"],
}
sys.path.insert(0, str(HERE))

from tables import data_rows  # noqa: E402


def topics() -> list[str]:
    return sorted(path.stem.removeprefix("_data_") for path in HERE.glob("_data_*.py"))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder of real data sets")
    parser.add_argument("--topic", action="append", choices=topics(), help="may be repeated (default: all)")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    parser.add_argument(
        "--slow", action="store_true", help="the models of noise and translation, and a million records, too"
    )
    options = parser.parse_args()
    if not options.folder.is_dir():
        print(f"error: {options.folder}: no such folder; expected the real data sets", file=sys.stderr)
        return 2
    held = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    held.setdefault("topics", {})
    failed = []
    for topic in options.topic or topics():
        rows = measured(topic, options.folder, SLOW.get(topic, []) if options.slow else [])
        if rows is None:
            failed.append(topic)
            continue
        held["topics"][topic] = {"date": time.strftime("%Y-%m-%d"), "rows": rows}
        if options.json:
            held |= {"command": "python bench/data.py ../shared/data" + " --slow" * options.slow, "machine": machine()}
            options.json.write_text(json.dumps(held, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(data_rows(held["topics"]))
    for topic in failed:
        print(
            f"error: bench/_data_{topic}.py ended with an error; its rows are those of an earlier run", file=sys.stderr
        )
    return 1 if failed else 0


def measured(topic: str, folder: Path, more: list[str]) -> list[dict[str, Any]] | None:
    """The rows of one topic; None where its script failed."""
    command = [sys.executable, str(HERE / f"_data_{topic}.py"), str(folder), *more]
    print(f"{topic} …", file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return None
    if done.stdout.lstrip().startswith("["):
        return list(json.loads(done.stdout))
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def machine() -> dict[str, Any]:
    from seektune import runtime

    return {"cpu": runtime.cpu_name(), "cores": os.cpu_count(), "memory_bytes": runtime.memory_bytes()}


if __name__ == "__main__":
    sys.exit(main())
