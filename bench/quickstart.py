"""The quickstart with three seeds, data and training alike: writes docs/figures/quickstart.json, which README quotes.

python bench/quickstart.py [--seeds 17 18 19]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

FIGURES = Path("docs/figures/quickstart.json")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[17, 18, 19])
    options = parser.parse_args()
    rows = [one(seed) for seed in options.seeds]
    environment = json.loads((Path("runs") / rows[-1]["run"] / "environment.json").read_text())
    figures = {
        "date": time.strftime("%Y-%m-%d"),
        "command": "python bench/quickstart.py",
        "machine": {key: environment.get(key) for key in ("cpu", "cores", "threads", "memory_bytes")},
        "versions": environment.get("packages"),
        "seeds": rows,
    }
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(rows, indent=2))
    return 0


def one(seed: int) -> dict:
    """A whole quickstart in a process of its own; seconds are those of the command, start and evaluation included."""
    began, known = time.perf_counter(), set(Path("runs").glob("quickstart*"))
    done = subprocess.run([sys.executable, "-m", "seektune.base.quickstart", "--seed", str(seed)], check=False)
    seconds = time.perf_counter() - began
    [run] = set(Path("runs").glob("quickstart*")) - known
    report = json.loads((run / "report.json").read_text())
    scores = {when: report[when]["exact_match"] for when in ("before", "after")}
    measured = {key: report["measured"].get(key) for key in ("seconds", "tokens_per_second", "peak_memory_bytes")}
    return {
        "seed": seed,
        **scores,
        "seconds": round(seconds, 1),
        "training": measured,
        "exit_code": done.returncode,
        "run": run.name,
    }


if __name__ == "__main__":
    sys.exit(main())
