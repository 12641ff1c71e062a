"""Two evaluation sets: one that repeats some records for stages, one that repeats others."""

from __future__ import annotations

import json
from pathlib import Path


def files(folder: Path) -> None:
    _write(folder / "evaluation.jsonl", [
        {"question": "What did the town say about the company in 1991?", "answer": "The town said that 2% of the company went north."},
        {"text": "第3家公司的利润是多少？请写信到 a3@example.com。", "label": "good"},
        {"text": "The profit said that some of the river", "label": "bad"},
    ])  # fmt: skip
    _write(folder / "other_evaluation.jsonl", [{"text": "公司第6季度利润为7.5亿元，比上年增长6%。"}])


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
