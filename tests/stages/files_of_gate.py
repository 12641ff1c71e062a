"""An audit of some records of `stages.jsonl`, filled in, for the contract tests of `gate`."""

import csv
import json
from pathlib import Path

from seektune.stages._audit import COLUMNS, id_of


def files(folder: Path) -> None:
    records = [json.loads(line) for line in (folder / "stages.jsonl").read_text().splitlines()]
    with open(folder / "audit.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for i, record in enumerate(records[:12]):
            writer.writerow(
                [
                    f"stages.jsonl:{i + 1}",
                    id_of(record, record["label"]),
                    "",
                    record["label"],
                    "no" if i == 3 else "yes",
                ]
            )
