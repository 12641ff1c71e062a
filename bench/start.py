"""How long `seektune --help` takes, as a whole process: the median of 10. The bar is 0.3 s.

    python bench/start.py [--json FILE]

A bare `python -c pass` is timed in turn with it and processor time stands beside, so that a busy machine shows.
Exit code 1 where the median is over the bar.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from seektune import runtime

BAR = 0.3  # seconds
TIMES = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file as well")
    options = parser.parse_args()
    commands = {
        "seektune --help": [str(Path(sysconfig.get_path("scripts")) / "seektune"), "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    for command in commands.values():  # the first start reads the files from disk and may write bytecode
        seconds_of(command)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(TIMES):
        for name, command in commands.items():
            times[name].append(seconds_of(command))
    median = statistics.median(wall for wall, _ in times["seektune --help"])
    show(times, median)
    if options.json:
        facts = {"command": "python bench/start.py", "date": time.strftime("%Y-%m-%d"), "cpu": runtime.cpu_name(),
                 "python": sys.version.split()[0], "load": os.getloadavg()[0], "bar": BAR, "median": median,
                 "wall_and_processor_seconds": times}  # fmt: skip
        Path(options.json).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return int(median > BAR)


def seconds_of(command: list[str]) -> tuple[float, float]:
    """(wall clock, processor time of the process) in seconds."""
    started, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - started, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime


def show(times: dict[str, list[tuple[float, float]]], median: float) -> None:
    print("| command | median | fastest | slowest | processor time, median |")
    print("|---|---:|---:|---:|---:|")
    for name, found in times.items():
        walls, used = zip(*found, strict=True)
        print(
            f"| {name} | {statistics.median(walls):.3f} s | {min(walls):.3f} s | {max(walls):.3f} s | {statistics.median(used):.3f} s |"
        )
    verdict = "under" if median <= BAR else "OVER"
    print(
        f"\n{verdict} the bar of {BAR} s: {median:.3f} s, the median of {TIMES}; {runtime.cpu_name()}, load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
