"""Names with types, for the examples of `recognise_entities`."""

from pathlib import Path


def files(folder: Path) -> None:
    (folder / "names.csv").write_text(
        "name,type,alias,kind\nriver,water,town,stream\n公司,firm,利润,house\n", encoding="utf-8"
    )
