"""Statements, for the examples of `tables`."""

import json
from pathlib import Path


def files(folder: Path) -> None:
    rows = [
        {
            "table": "| | 2019 | 2018 |\n|---|---|---|\n| Sales | 1,234 | (56) |\n| Cost | 7 | 8 |",
            "other": "x,y\na,1",
            "note": "in thousands",
        },
        {"table": [["项目", "2019年", "2018年"], ["营业收入", "1.5", "2"], ["成本", "1", "1"]], "note": "单位：万元"},
    ]
    (folder / "statements.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
