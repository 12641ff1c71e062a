"""Names to ids: legal forms, tickers with zeros, Chinese without spaces, misspelt names; what is not clear is told, not guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seektune.errors import DataError
from seektune.stages._gazetteer import Gazetteer, key_of, tokens
from seektune.stages.align_entities import AlignEntities

TABLE = """id,name,aliases
000042,深圳市腾讯计算机系统有限公司,腾讯|鹅厂
600000,上海浦东发展银行股份有限公司,浦发银行
AAPL,"Apple, Inc.",Apple Computer
MMM,3M,Minnesota Mining
T,AT&T Inc.,
BK,Bank of New York Mellon Corp,
A1,华夏成长基金,华夏成长|成长
A2,嘉实成长基金,嘉实成长;成长
"""


@pytest.fixture
def stage(tmp_path: Path) -> Any:
    path = tmp_path / "table.csv"
    path.write_text(TABLE, encoding="utf-8")
    return lambda **options: AlignEntities(**{"table": str(path), **options})


def found(stage: AlignEntities, text: str) -> list[tuple[str, Any, str]]:
    outcome = stage.each({"text": text})
    assert outcome.record is not None
    made = outcome.record.get("entities", [])
    assert all(text[m["start"] : m["end"]] == m["text"] for m in made)
    return [(m["text"], m["id"], m["how"]) for m in made]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("APPLE INC fell", [("APPLE INC", "AAPL", "name")]),
        ("Apple Computer, Inc.", [("Apple Computer, Inc", "AAPL", "alias")]),
        ("Pineapple and Apples", []),
        ("13M or 3M?", [("3M", "MMM", "name")]),
        ("at&t, at t", [("at&t", "T", "name")]),
        ("A bank of New York. Mellon", []),  # another word between
        ("Bank of\nNew York Mellon", []),
        ("the Bank of New York Mellon Corporation rose", [("Bank of New York Mellon Corporation", "BK", "name")]),
        ("今天腾讯发布财报", [("腾讯", "000042", "alias")]),
        ("上海浦东发展银行股份有限公司（600000）", [("上海浦东发展银行股份有限公司", "600000", "name"), ("600000", "600000", "ticker")]),
        ("上海浦东发展银行公告", [("上海浦东发展银行", "600000", "name")]),
        ("浦发银行(行情600000,诊股)", [("浦发银行", "600000", "alias"), ("600000", "600000", "ticker")]),
        ("$AAPL and (NYSE: MMM) and NASDAQ:AAPL", [("AAPL", "AAPL", "ticker"), ("MMM", "MMM", "ticker"), ("AAPL", "AAPL", "ticker")]),
        ("000042.SZ 与 SH600000", [("000042", "000042", "ticker"), ("600000", "600000", "ticker")]),
        ("000042 and MMM and T and 600000股", []),  # digits and letters that nothing marks
        ("ＡＰＰＬＥ涨", [("ＡＰＰＬＥ", "AAPL", "name")]),
        ("", []),
    ],
)  # fmt: skip
def test_mentions(stage: Any, text: str, expected: Any) -> None:
    assert found(stage(threshold=100.0), text) == expected


def test_tickers_anywhere(stage: Any) -> None:
    text = "000042 and MMM, 600000股, 0042, T"
    assert found(stage(threshold=100.0, tickers="free"), text) == [
        ("000042", "000042", "ticker"),
        ("MMM", "MMM", "ticker"),
    ]


def test_nearly_right(stage: Any) -> None:
    assert found(stage(), "Bank of New Yrok Mellon fell") == [("Bank of New Yrok Mellon", "BK", "fuzzy")]
    assert found(stage(threshold=85.0), "上海浦东发屏银行公告") == [("上海浦东发屏银行", "600000", "fuzzy")]
    assert found(stage(threshold=100.0), "Bank of New Yrok Mellon fell") == []
    assert found(stage(), "A bank in New York sells melons") == []


def test_one_alias_of_two_ids_is_told_and_not_guessed(stage: Any) -> None:
    outcome = stage().each({"text": "华夏成长与成长"})
    first, second = outcome.record["entities"]
    assert first["id"] == "A1"
    assert second["id"] is None
    assert second["candidates"] == ["A1", "A2"]
    assert outcome.figures == {"alias": 1, "not clear": 1}
    assert stage().report()["table"] == {"ids": 8, "names": 16, "conflicts": 1, "named twice": {"成长": ["A1", "A2"]}}


def test_two_names_equally_near_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    rows = [
        {"id": 1, "name": "Northern Rivers Alpha Fund A"},
        {"id": 2, "name": "Northern Rivers Alpha Fund B", "aliases": ["NRB"]},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    outcome = AlignEntities(table=str(path)).each({"text": "Northern Rivers Alpha Fund C grew; NRB"})
    assert outcome.record is not None
    near, exact = outcome.record["entities"]
    assert near["candidates"] == ["1", "2"] and near["id"] is None
    assert exact["id"] == "2"


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("The Coca-Cola Company", ("coca", "cola")),
        ("Co", ("co",)),
        ("有限公司", tuple("有限公司")),
        ("某某集团股份有限公司", ("某", "某")),
        ("Moody's Corp.", ("moodys",)),
    ],
)
def test_keys(written: str, key: tuple[str, ...]) -> None:
    assert key_of(written) == key


def test_every_name_of_a_list_is_found_where_it_stands() -> None:
    """Against a search letter by letter."""
    names = ["red", "red river", "river bank", "bank", "红河", "河岸"]
    made = Gazetteer()
    for name in names:
        made.add(name, name)
    made.finish()
    text = "Red River Bank, river bank; 红河岸 bank"
    assert [text[a:b].lower() for a, b, _ in made.find(text)] == ["red river", "bank", "river bank", "红河", "bank"]
    assert [t.text for t in tokens("ab12-c 中文")] == ["ab12", "c", "中", "文"]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("gone.csv", None, r"gone.csv: cannot be read"),
        ("t.csv", "id,nmae\n1,a\n", r"t.csv:2: no 'name'; expected a cell; did you mean 'nmae'\?"),
        ("t.jsonl", '{"id": 1, "name": "a"}\n{"id": 2', r"t.jsonl:2: no JSON"),
        ("t.jsonl", "[1]\n", r"t.jsonl:1: found '\[1\]'; expected an object"),
        ("t.csv", "id,name\n", r"t.csv: is empty"),
    ],
)
def test_bad_tables(tmp_path: Path, name: str, content: str | None, line: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=line):
        AlignEntities(table=str(tmp_path / name)).each({"text": "a"})


def test_a_table_that_changed_is_read_again(tmp_path: Path) -> None:
    import os

    path = tmp_path / "t.csv"
    path.write_text("id,name\n1,alpha\n")
    stage = AlignEntities(table=str(path))
    assert found(stage, "alpha beta")[0][1] == "1"
    path.write_text("id,name\n2,beta\n")
    os.utime(path, (1, 1))
    assert found(stage, "alpha beta") == [("beta", "2", "name")]
