"""recipes/data_finance.yaml on news: of our own making, and on real ones."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from seektune import pipeline

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "data_finance.yaml"
OWN = [
    {
        "title": "甲公司获1.2亿元订单",
        "text": "甲银河科技(000042)3月5日公告，获得1.2亿元订单，占去年收入的15%。",
        "label": 1,
        "company": "甲银河科技",
        "code": "000042",
    },
    {
        "title": "Sales",
        "text": "Riverside Inc. said that sales rose 25bp to $3.4bn in Q3 2024.",
        "label": 1,
        "company": "Riverside",
        "code": "RVS",
    },
    {
        "title": "乙",
        "text": "乙山水文旅净利润为-300万元，证监会立案。",
        "label": 0,
        "company": "乙山水文旅",
        "code": "600001",
    },
    {"title": "short", "text": "too", "label": 0, "company": "Riverside", "code": "RVS"},
]


def run(folder: Path, records: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The recipe as it stands, beside files of the names that it has."""
    shutil.copyfile(RECIPE, folder / "data_finance.yaml")
    (folder / "news.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    with open(folder / "companies.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["code", "name", "aliases"])
        writer.writerows(sorted({(r["code"], r["company"], "") for r in records}))
    (folder / "names.csv").write_text("name,type\n证监会,government\n", encoding="utf-8")
    card = pipeline.run(pipeline.load(folder / "data_finance.yaml"), cache=folder / "cache")
    return [json.loads(line) for line in (folder / "finance.jsonl").read_text(encoding="utf-8").splitlines()], card


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_own_news(place: Path) -> None:
    made, card = run(place, OWN)
    assert next(stage["kind"] for stage in card["stages"]) == "length"
    assert len(made) == 3
    assert [(one["text"], one["id"]) for one in made[0]["entities"]] == [("甲银河科技", "000042"), ("000042", "000042")]
    assert [one["value"] for one in made[1]["numbers"]] == ["25", "3400000000", "2024-Q3"]
    assert [(one["text"], one["type"]) for one in made[2]["marks"]] == [
        ("-300万元", "amount"),
        ("证监会", "government"),
    ]
    scaled = {one["value"]: float(one["scaled"]) for r in made for one in r["numbers"] if one["unit"] == "CNY"}
    assert scaled == {"120000000": 1.0, "-3000000": 0.0}
    assert (place / "scaler.json").is_file()
    assert (place / "finance.dropped.jsonl").read_text().count("\n") == 1


def test_run_again_it_scales_alike(place: Path) -> None:
    first, _ = run(place, OWN)
    again, card = run(place, OWN[:2])
    assert again[0] == first[0]
    assert card["stages"][2]["scaler"]["outside"] == {}


def test_real_news(shared_data: Path, place: Path) -> None:
    rows = (shared_data / "cls_finnews_zh" / "finnews.jsonl").read_text(encoding="utf-8").splitlines()[:200]
    records = [json.loads(row) for row in rows]
    made, card = run(place, records)
    assert len(made) >= 190
    named = [r for r in made if r["company"] in r["title"] + r["text"]]
    assert all(any(one["id"] == r["code"] for one in r["entities"]) for r in named)
    assert sum(0 <= float(one["scaled"]) <= 1 for r in made for one in r.get("numbers", []) if "scaled" in one) > 500
    assert card["stages"][3]["table"]["ids"] > 100
