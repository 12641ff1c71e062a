"""Tables of synonyms for the words of the contract tests' records."""

from __future__ import annotations

import json
from pathlib import Path


def files(folder: Path) -> None:
    rows = [
        "word,synonyms",
        "said,told;stated",
        "went,moved",
        "river,stream",
        "公司,企业",
        "利润,盈利;收益",
        "写信,发信",
    ]
    (folder / "synonyms.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    other = [
        {"word": "say", "synonyms": ["claim"]},
        {"word": "请", "synonyms": ["烦请"]},
        {"word": "写信", "synonyms": ["致信"]},
    ]
    (folder / "other_synonyms.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in other), encoding="utf-8"
    )
