"""A lexicon for `code_switch`."""

from __future__ import annotations

from pathlib import Path


def files(folder: Path) -> None:
    (folder / "lexicon.tsv").write_text(
        "river\tmto\ntown\tmji\nwhat\tnini\n公司\tcompany\n利润\tprofit\t2\n利润\tgain\n"
    )
