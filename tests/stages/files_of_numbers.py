"""Two lines of an account, for the examples of `numbers`."""

import json
from pathlib import Path


def files(folder: Path) -> None:
    rows = [{"text": "net loss (1,234.5)"}, {"text": "净利润 1,234.5万元"}]
    (folder / "ledger.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
