"""The examples of a target that `select` is shown in the contract tests: near to some records of `stages.jsonl`, far from others."""

import json
from pathlib import Path

NEAR = ("What did the town say about the person in 1991? The town said that 2% of the person went north.",
        "第3家公司的利润是多少？公司第3季度利润为4.5亿元，比上年增长3%。")  # fmt: skip
OTHER = ("What did the river say about the profit in 1994? The river said that 5% of the profit went north.",)


def files(folder: Path) -> None:
    for name, texts in (("target.jsonl", NEAR), ("other_target.jsonl", OTHER)):
        rows = [{"text": text, "topic": "rivers"} for text in texts]
        (folder / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
