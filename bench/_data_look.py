"""How long a look at a million records takes, and a pipeline of them with a stage that needs all, and how much memory.

    python bench/_data_look.py ../shared/data

The million are made here (about 1 GB of JSONL, half English, half Chinese); the folder of real sets gives the other rows.
Memory is that of all processes together, looked at twice a second: `anonymous` is what they hold, `resident` counts the
pages of mapped files too, which the system takes back when it needs them.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seektune.contracts import Record, option
from seektune.stages._spool import spool
from seektune.stages._work import seen, work_of

RECORDS = 1_000_000
ENGLISH = [
    "company",
    "profit",
    "market",
    "bank",
    "customer",
    "account",
    "card",
    "payment",
    "failed",
    "refund",
    "quarter",
]
CHINESE = "公司公告称季度营业收入同比增长净利润创历史新高股价随之上涨银行客户账户转账失败请联系我们处理退款问题谢谢"
PIPELINE = """
input: [{path: many.jsonl}]
stages: [{kind: length, least: 150}, {kind: "_data_look:Mixed"}, {kind: length, most: 1500}]
output: out.jsonl
processes: 2
"""


@dataclass
class Mixed:
    """Records in an order of chance: the smallest stage that needs all of them before the first can leave."""

    again: int = option(1, "which order of chance", probe=seen(2))

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        work = work_of(self)
        held = spool(records, work)
        for index in work.random(self.again).permutation(len(held)):
            work.keep()
            yield held[int(index)]

    def report(self) -> dict[str, Any]:
        return work_of(self).report()


def make(path: Path, count: int) -> None:
    draw = random.Random(1)
    with open(path, "w", encoding="utf-8") as file:
        for i in range(count):
            words = (
                draw.choices(ENGLISH, k=draw.randint(60, 250))
                if i % 2
                else draw.choices(CHINESE, k=draw.randint(100, 500))
            )
            record = {"text": f"{i} {(' ' if i % 2 else '').join(words)}", "label": draw.choice("abcde")}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def measured(words: list[str], folder: Path) -> dict[str, Any]:
    """Seconds, and the highest memory of a command with its processes, in MB."""
    peak = {"anonymous": 0, "resident": 0}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "seektune", *words], cwd=folder, stdout=subprocess.DEVNULL, env=_environment(folder)
    )
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peak, done))
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    assert code == 0, words
    return {"seconds": round(time.perf_counter() - began, 1)} | {name: round(kb / 1024) for name, kb in peak.items()}


def _environment(folder: Path) -> dict[str, str]:
    source = str(Path(__file__).parent)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]),
        "SEEKTUNE_CACHE": str(folder / "cache"),
    }


def _watch(pid: int, peak: dict[str, int], done: threading.Event) -> None:
    while not done.wait(0.5):
        held = [_memory(one) for one in _family(pid)]
        for name in peak:
            peak[name] = max(peak[name], sum(one.get(name, 0) for one in held))


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(inner for child in children for inner in _family(int(child)))]


def _memory(pid: int) -> dict[str, int]:
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    except OSError:
        return {}
    return {
        name: int(lines.get(key, "0 kB").split()[0]) for name, key in (("anonymous", "RssAnon"), ("resident", "VmRSS"))
    }


def figures(folder: Path) -> list[dict[str, Any]]:
    return [*_of_many(), *_of_real(folder)]


def _of_many(count: int = RECORDS) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        make(here / "many.jsonl", count)
        (here / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
        data = f"{count:,} records, {(here / 'many.jsonl').stat().st_size / 1e9:.2f} GB"
        for stage, words in (
            ("data look", ["data", "look", "many.jsonl"]),
            ("data run", ["data", "run", "pipeline.yaml"]),
        ):
            found = measured(words, here)
            told = {"stage": stage, "data": data, "seconds": found["seconds"]}
            yield told | {
                "figure": "peak memory, MB (anonymous)",
                "value": found["anonymous"],
                "asked": "< 1500",
                "reached": found["anonymous"] < 1500,
            }
            yield told | {
                "figure": "peak memory, MB (resident)",
                "value": found["resident"],
                "asked": "< 1500",
                "reached": found["resident"] < 1500,
            }


def _of_real(folder: Path) -> Iterator[dict[str, Any]]:
    """Texts of the training file that stand in the test file too, as the folder's README counts them."""
    from seektune.look.profile import look

    began = time.perf_counter()
    profile, _ = look([folder / "cls_chnsenticorp"])
    found = profile["duplicates"]["in several files"]["clusters"]
    yield {"stage": "data look", "figure": "texts in both train and test", "value": found, "asked": ">= 131", "reached": found >= 131,
           "data": "cls_chnsenticorp", "seconds": round(time.perf_counter() - began, 1)}  # fmt: skip


if __name__ == "__main__":
    for row in figures(Path(sys.argv[1])):
        print(json.dumps(row, ensure_ascii=False))
