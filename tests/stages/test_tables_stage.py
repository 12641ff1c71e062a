"""Statements to cells: whatever the format, the cells are those that were written, with their heads, units and exact values."""

from __future__ import annotations

import csv
import html
import io
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.stages._grids import grids
from seektune.stages._statements import cells_of, unit_of
from seektune.stages._work import Work, equip
from seektune.stages.tables import Tables

AMOUNTS = [
    ["", "Years ended", ""],
    ["", "2019", "2018"],
    ["Sales:", "", ""],
    ["Fixed price", "$ 1,452.4", "(1,146.2)"],
    ["Margin", "12.5%", "—"],
]


def as_csv(rows: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def as_markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def as_html(rows: list[list[str]]) -> str:
    cells = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


FORMATS = pytest.mark.parametrize(
    "written", [as_csv, as_markdown, as_html, list], ids=["csv", "markdown", "html", "rows"]
)


@FORMATS
def test_a_statement(written: Any) -> None:
    [grid] = grids(written(AMOUNTS))
    found = {
        (c.row_head, c.column_head): (c.section, c.text, c.value, c.exact, c.unit)
        for c in cells_of(grid, "(in thousands)")
    }
    heads = ("Years ended 2019", "Years ended 2018")
    assert found == {
        ("Fixed price", heads[0]): ("Sales", "$ 1,452.4", "1452.4", "1452400", "USD"),
        ("Fixed price", heads[1]): ("Sales", "(1,146.2)", "-1146.2", "-1146200", ""),
        ("Margin", heads[0]): ("Sales", "12.5%", "12.5", "12.5", "%"),
        ("Margin", heads[1]): ("Sales", "—", None, None, ""),
    }


names = st.lists(
    st.text("abcdefgh利润收入|\"',", min_size=1, max_size=6).filter(lambda t: t.strip(" \"',|") == t != ""),
    min_size=2,
    max_size=4,
    unique=True,
)
numbers = st.decimals(min_value=-(10**12), max_value=10**12, allow_nan=False, places=2)


def bracketed(value: Decimal) -> str:
    return f"({-value:,.2f})" if value < 0 else f"{value:,.2f}"


@FORMATS
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_was_written_is_read(written: Any, data: Any) -> None:
    heads = data.draw(names)
    rows = data.draw(names)
    values = [[data.draw(numbers) for _ in heads] for _ in rows]
    table = [["item", *heads], *([name, *map(bracketed, line)] for name, line in zip(rows, values, strict=True))]
    [grid] = grids(written(table))
    assert grid.rows == table
    assert [Decimal(cell.value or "") for cell in cells_of(grid)] == [value for line in values for value in line]


def test_merged_cells_and_several_rows_of_heads() -> None:
    text = """<p>Notes</p><table><caption>Results (in millions)</caption>
    <tr><th rowspan=2>Segment</th><th rowspan="2">Region</th><th colspan=2>2019</th><th colspan=2>2018</th></tr>
    <tr><th>Sales</th><th>Cost</th><th>Sales</th><th>Cost</th></tr>
    <tr><td rowspan=2>Cloud</td><td>East</td><td>1</td><td>(2)</td><td>$(3.5)</td><td>4</td></tr>
    <tr><td>West</td><td>5<br>%</td><td>6</td><td>&nbsp;</td><td>8</td></tr></table>"""
    [grid] = grids(text)
    assert grid.heads == 2 and grid.merged
    found = {(c.row_head, c.column_head): (c.text, c.exact) for c in cells_of(grid)}
    assert found["Cloud East", "2019 Sales"] == ("1", "1000000")
    assert found["Cloud East", "2018 Sales"] == ("$(3.5)", "-3500000")
    assert found["Cloud West", "2019 Cost"] == ("6", "6000000")
    assert found["Cloud West", "2019 Sales"] == ("5 %", "5")
    assert ("Cloud West", "2018 Sales") not in found
    assert len(found) == 7


def test_several_tables_of_one_text() -> None:
    markdown = f"Balance (£m)\n\n{as_markdown([['', '2020'], ['Cash', '5']])}\n\ntext\n{as_markdown([['', '2021'], ['Debt', '6']])}\n"
    assert [[c.exact for c in cells_of(grid)] for grid in grids(markdown)] == [["5000000"], ["6"]]
    nested = "<table><tr><td>a<table><tr><td>x<td>1<tr><td>y<td>2</table></td><td>b</td></tr><tr><td>c<td>3"
    assert [grid.rows for grid in grids(nested)] == [[["a", "b"], ["c", "3"]], [["x", "1"], ["y", "2"]]]


@pytest.mark.parametrize(
    ("text", "name", "power"),
    [
        ("(in thousands, except per share data)", "", 3),
        ("Dollars in millions", "", 6),
        ("US$'000", "USD", 3),
        ("£m", "GBP", 6),
        ("$ million", "USD", 6),
        ("in millions of euros", "", 6),
        ("单位：万元", "CNY", 4),
        ("单位:人民币百万元", "CNY", 6),
        ("（亿美元）", "USD", 8),
        ("单位：元", "CNY", 0),
        ("RMB'000", "CNY", 3),
    ],
)
def test_units(text: str, name: str, power: int) -> None:
    found = unit_of(text)
    assert found is not None
    assert (found.name, found.power) == (name, power)


@pytest.mark.parametrize("text", ["", "Sales of shoes", "in 2019", "$ 5", "thousands of people", "2,000"])
def test_what_is_no_unit(text: str) -> None:
    assert unit_of(text) is None


def test_a_unit_belongs_to_its_column_and_row() -> None:
    rows = [
        ["单位：万元", "2019年", "增长率(%)"],
        ["营业收入", "1,234.5", "15.2"],
        ["每股收益（元）", "0.35", "1.1"],
        ["总股本（万股）", "10", "-"],
    ]
    found = {(c.row_head, c.column): (c.exact, c.unit) for c in cells_of(grids(rows)[0])}
    assert found["营业收入", 1] == ("12345000", "CNY")
    assert found["营业收入", 2] == ("15.2", "%")
    assert found["每股收益（元）", 1] == ("0.35", "CNY")
    assert found["总股本（万股）", 1] == ("100000", "shares")


def test_questions_have_the_cell_as_it_stands() -> None:
    outcome = Tables(notes="note", context=False).each(
        {"table": AMOUNTS, "note": [{"text": "in thousands"}], "_where": "a:1"}
    )
    asked = [(r["messages"][0]["content"], r["messages"][1]["content"]) for r in outcome.more]
    assert asked == [
        ("What is Sales: Fixed price for Years ended 2019 (in thousands)?", "$ 1,452.4"),
        ("What is Sales: Fixed price for Years ended 2018 (in thousands)?", "(1,146.2)"),
        ("What is Sales: Margin for Years ended 2019?", "12.5%"),
    ]
    assert all(r["_where"] == "a:1" for r in outcome.more)
    assert outcome.figures == {"tables": 1, "cells": 4, "figures": 3}


def test_chinese_questions_and_the_table_in_front() -> None:
    outcome = Tables().each({"table": '单位：万元\n项目,2019年,2018年\n营业收入,"1,234",5\n'})
    [first, _] = outcome.more
    assert first["messages"][0]["content"].endswith(
        "| 营业收入 | 1,234 | 5 |\n\n2019年的营业收入是多少？（单位：万元）"
    )
    assert first["messages"][1]["content"] == "1,234"


def test_what_two_cells_answer_is_not_asked() -> None:
    rows = [["", "2019"], ["Other", "1"], ["Other", "2"], ["Cash", "3"]]
    assert [r["messages"][1]["content"] for r in Tables().each({"table": rows}).more] == ["3"]


def test_the_drawn_questions_follow_from_the_seed() -> None:
    rows = [["", "2019"], *([f"r{i}", str(i)] for i in range(30))]
    drawn = []
    for seed in (1, 1, 2):
        stage = Tables(most=5)
        equip(stage, Work(seed))
        drawn.append([r["messages"][1]["content"] for r in stage.each({"table": rows}).more])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 5


@pytest.mark.parametrize("value", ["no table here", [["a"]], [1, 2], {"table": 3}, 5, "a,b"])
def test_what_is_no_table_is_dropped_with_a_word(value: Any) -> None:
    outcome = Tables().each({"table": value})
    assert outcome.record is None
    assert outcome.reason == "no table can be read"


@pytest.mark.parametrize("record", [{"text": "x"}, {"table": ""}, {"table": None}])
def test_a_record_without_a_table_stays(record: Any) -> None:
    assert Tables().each(record).record is record


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from('|-,;\n\t"<table>/trd 12()%$a中'), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for form in ("auto", "csv", "markdown", "html"):
        for grid in grids(text, form):  # type: ignore[arg-type]
            assert len({len(row) for row in grid.rows}) == 1
            assert all(cell.text in grid.rows[cell.row][cell.column] for cell in cells_of(grid))


def test_huge_spans_take_no_memory() -> None:
    [grid] = grids(
        "<table><tr><td rowspan=99999999 colspan=99999999>a</td><td>b</td></tr><tr><td>c</td><td>1</td></tr></table>"
    )
    assert len(grid.rows) == 2
