"""Records that every option of `clean_text` finds something in."""

import json
from pathlib import Path

MESSY = [
    "The cafÃ© was full of dÃ©jÃ  vu.",
    "zero\u200bwidth and \x07bell",
    "<p>one &amp; two</p>",
    "ＡＢＣ１２３",
    "cafe\u0301",
    "這個飯店的電腦壞了",
    "many   blanks  \n\n\n\nhere",
]


def files(folder: Path) -> None:
    rows = [{"text": text, "topic": f"topic  {i}"} for i, text in enumerate(MESSY)]
    (folder / "messy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
