"""Labelled texts in Chinese and English that words tell apart, a fifth of the labels wrong, for the options of `filter_noise`."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

GOOD = ("很好 喜欢 满意", "wonderful and lovely", "服务 热情 干净", "great, kind and clean")
BAD = ("很差 失望 难吃", "terrible and broken", "房间 吵闹 肮脏", "awful, rude and dirty")
THINGS = ("酒店", "the hotel", "这本书", "this book", "电脑", "the laptop", "晚饭", "the dinner", "老师", "the teacher")


def noisy(count: int = 300) -> list[dict[str, Any]]:
    """`truth` is the label that the text deserves; `label` is another one in a fifth of the records, drawn."""
    made, wrong_ones = [], set(random.Random(1).sample(range(count), count // 5))
    for i in range(count):
        good = (i // 2) % 2 == 0
        words, thing = (GOOD if good else BAD)[i % 4], THINGS[i % 10]
        truth, wrong = ("good", "bad") if good else ("bad", "good")
        made.append({
            "text": f"{thing} {words} {i}", "label": wrong if i in wrong_ones else truth, "truth": truth,
            "topic": ("rivers", "towns")[i % 2], "note": f"note {i % 7}",
        })  # fmt: skip
    return made


OWN = """
def trust(records, work):
    return [None if "note" not in record else min(1.0, len(record["text"]) / 30) for record in records]
"""


def files(folder: Path) -> None:
    (folder / "modules").mkdir(exist_ok=True)
    (folder / "modules" / "of_length.py").write_text(OWN)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in noisy())
    (folder / "noisy.jsonl").write_text("".join(lines), encoding="utf-8")
