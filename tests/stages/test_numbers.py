"""Numbers in texts: the same decimal comes back, however it was written; what is no number is left alone."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.stages._numerals import chinese
from seektune.stages._quantities import Quantity, quantities
from seektune.stages.numbers import Numbers, found_in

decimals = st.decimals(min_value=0, max_value=10**15, allow_nan=False, allow_infinity=False, places=4)
SURROUND = st.sampled_from(
    [("", ""), ("公司获得", "，同比增长。"), ("It rose to ", " in all."), ("（", "）"), ("约", "左右")]
)


def one(text: str) -> Quantity:
    [found] = quantities(text)
    return found


@pytest.mark.parametrize(
    ("text", "kind", "value", "unit"),
    [
        ("1.2亿元", "amount", "120000000", "CNY"),
        ("人民币3,000万元", "amount", "30000000", "CNY"),
        ("$3.4bn", "amount", "3400000000", "USD"),
        ("USD 5 million", "amount", "5000000", "USD"),
        ("5 million dollars", "amount", "5000000", "USD"),
        ("HK$12k", "amount", "12000", "HKD"),
        ("1.5万亿日元", "amount", "1500000000000", "JPY"),
        ("三千二百万元", "amount", "32000000", "CNY"),
        ("１２３．５万元", "amount", "1235000", "CNY"),
        ("1，234元", "amount", "1234", "CNY"),
        ("$(12.50) million", "amount", "-12500000", "USD"),
        ("-$7", "amount", "-7", "USD"),
        ("15%", "percent", "15", "%"),
        ("15％", "percent", "15", "%"),
        ("-0.50 per cent", "percent", "-0.50", "%"),
        ("百分之三", "percent", "3", "%"),
        ("百分之三点一四", "percent", "3.14", "%"),
        ("万分之五", "percent", "0.05", "%"),
        ("2.3个百分点", "percent", "2.3", "pp"),
        ("25bp", "basis_points", "25", "bp"),
        ("25个基点", "basis_points", "25", "bp"),
        ("125 basis points", "basis_points", "125", "bp"),
        ("1.5倍", "ratio", "1.5", "times"),
        ("2.5x", "ratio", "2.5", "times"),
        ("3:1", "ratio", "3:1", ""),
        ("152万股", "number", "1520000", "shares"),
        ("(1,234)", "number", "-1234", ""),
        ("12,34,567", "number", "1234567", ""),
        ("2024年3月5日", "date", "2024-03-05", ""),
        ("二〇二四年三月五日", "date", "2024-03-05", ""),
        ("2024年3月", "date", "2024-03", ""),
        ("3月5日", "date", "--03-05", ""),
        ("2019年第一季度", "date", "2019-Q1", ""),
        ("2019年上半年", "date", "2019-H1", ""),
        ("5 March 2024", "date", "2024-03-05", ""),
        ("March 5th, 2024", "date", "2024-03-05", ""),
        ("Sept. 2024", "date", "2024-09", ""),
        ("Q3 2024", "date", "2024-Q3", ""),
        ("third quarter of 2024", "date", "2024-Q3", ""),
        ("FY2024", "date", "2024", ""),
        ("2024/03/05", "date", "2024-03-05", ""),
    ],
)
def test_forms(text: str, kind: str, value: str, unit: str) -> None:
    for before, after in (("", ""), ("注 ", "，"), ("so ", " too")):
        found = one(before + text + after)
        assert (found.kind, found.value, found.unit) == (kind, value, unit)
        assert found.text == text == (before + text + after)[found.start : found.end]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("代码002806，电话不计", []),  # a zero in front: a code
        ("ST123 v2 a5@b.com A股", []),
        ("at 10:30 and 23:59:59", []),
        ("1:60 or 25:10", ["1:60", "25:10"]),  # no time of day
        ("3-5亿元", ["3", "500000000"]),
        ("2024年13月45日", ["2024", "13", "45"]),
        ("增长（15.5%）", ["15.5"]),  # a remark
        ("(2024) and (300399)", ["2024", "300399"]),
        ("growth, (1.5)%", ["-1.5"]),
        ("", []),
        ("千万不要，百分之百", ["100"]),
    ],
)
def test_what_is_no_number_or_another(text: str, values: list[str]) -> None:
    assert [found.value for found in quantities(text)] == values


def test_brackets_can_be_plain() -> None:
    assert [q.value for q in quantities("(1,234)", brackets=False)] == ["1234"]


@settings(max_examples=80, deadline=None)
@given(decimals, st.booleans(), SURROUND, st.sampled_from([
    ("{}元", 0, "CNY"), ("{}万元", 4, "CNY"), ("{}亿元", 8, "CNY"), ("US${} billion", 9, "USD"), ("${}mn", 6, "USD"),
    ("EUR {} million", 6, "EUR"), ("{}%", 0, "%"), ("{} percent", 0, "%"), ("{}bps", 0, "bp"), ("{}个基点", 0, "bp"), ("{}倍", 0, "times"),
]))  # fmt: skip
def test_written_and_read_again_it_is_the_same_decimal(value: Decimal, commas: bool, around: Any, form: Any) -> None:
    written, power, unit = form
    text = around[0] + written.format(f"{value:,f}" if commas else f"{value:f}") + around[1]
    [found] = quantities(text, brackets=False)
    assert found.number is not None
    assert found.number == value * 10**power
    assert found.unit == unit


@settings(max_examples=50, deadline=None)
@given(st.text("0123456789", min_size=30, max_size=200).filter(lambda t: t[0] != "0"))
def test_no_digit_of_a_long_number_is_lost(digits: str) -> None:
    assert one(f"{digits}亿元").value == digits + "0" * 8
    assert one(f"0.{digits}%").value == f"0.{digits}"


def in_chinese(number: int) -> str:
    """Numerals as they are spoken, from the largest unit down."""
    if number < 10:
        return "零一二三四五六七八九"[number]
    for size, word in ((10**8, "亿"), (10**4, "万"), (1000, "千"), (100, "百"), (10, "十")):
        if number >= size:
            high, low = divmod(number, size)
            gap = "零" if low and low < size // 10 else ""
            return in_chinese(high) + word + gap + (in_chinese(low) if low else "")
    raise AssertionError


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 10**12 - 1))
def test_chinese_numerals_come_back(number: int) -> None:
    written = in_chinese(number)
    assert chinese(written) == number
    if not 1000 <= number < 10000:
        assert one(f"共{written}元。").value == str(number)


@pytest.mark.parametrize("text", ["", "万", "三三百百", "十千", "一点", "二百二千", "百", "五十五十"])
def test_what_is_no_numeral(text: str) -> None:
    assert chinese(text) is None


@settings(max_examples=60, deadline=None)
@given(st.dates())
def test_dates_come_back(day: Any) -> None:
    if not 1900 <= day.year < 2100:
        return
    for written in (
        f"{day.year}年{day.month}月{day.day}日",
        f"{day:%Y-%m-%d}",
        f"{day.day} {day:%B} {day.year}",
        f"{day:%b} {day.day}, {day.year}",
    ):
        assert one(written).value == day.isoformat()


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("0123456789,.%$亿万元百分之三点年月日-() :bpxQ（），"), max_size=40))
def test_any_text_is_read_without_overlap_and_with_true_places(text: str) -> None:
    found = quantities(text)
    assert all(text[q.start : q.end] == q.text for q in found)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))
    for q in found:
        assert q.kind == "date" or ":" in q.value or Decimal(q.value).is_finite()


def test_the_column_names_the_text_of_each_number() -> None:
    record = {"messages": [{"role": "user", "content": "利润？"}, {"role": "assistant", "content": "1.5亿元，增长3%"}]}
    found = Numbers().each(record)
    assert found.record is not None
    assert [(n["at"], n["value"]) for n in found.record["numbers"]] == [
        (["messages", 1, "content"], "150000000"),
        (["messages", 1, "content"], "3"),
    ]
    assert found.figures == {"amount CNY": 1, "percent %": 1}
    assert "numbers" not in record
    assert json.loads(json.dumps(found.record)) == found.record
    [only] = Numbers(kinds=["percent"]).each(record).record["numbers"]  # type: ignore[index]
    assert only["unit"] == "%"
    assert Numbers().each({"text": "no digits"}).reason == ""


def test_real_news(shared_data: Path) -> None:
    """Every percent sign behind a digit is found."""
    rows = (shared_data / "cls_finnews_zh" / "finnews.jsonl").read_text(encoding="utf-8").splitlines()[:150]
    for record in map(json.loads, rows):
        signs = sum(
            text[i] == "%" and text[i - 1].isdigit()
            for text in (record["text"], record["title"])
            for i in range(1, len(text))
        )
        found = [
            n for n in found_in(record) if n["unit"] == "%" and n["text"].endswith("%") and n["text"][-2].isdigit()
        ]
        assert len(found) == signs
