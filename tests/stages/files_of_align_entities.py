"""Tables of names that stand in the records for stages."""

from pathlib import Path

COMPANIES = """id,code,name,short,aliases,also
000042,1,River Inc.,person,river group,north
MMM,2,Town Co.,profit,,a0
WORD,3,of the dollars went nort,dollars,公司的利润,
00700,4,profit,town,person|river,
"""


def files(folder: Path) -> None:
    (folder / "companies.csv").write_text(COMPANIES, encoding="utf-8")
    (folder / "others.csv").write_text("id,name\n1,company\n", encoding="utf-8")
    (folder / "mentions.jsonl").write_text('{"text": "MMM fell"}\n{"text": "00700 rose"}\n', encoding="utf-8")
