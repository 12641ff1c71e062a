"""Dates of Chinese and English texts, as far as they are told: a day, a month, a quarter, a half, a year."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator

from ._numerals import DIGITS, chinese

_months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = (r"(?P<name>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
          r"|nov(?:ember)?|dec(?:ember)?)\.?")  # fmt: skip
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_HAN_YEAR = r"(?P<year>[12]\d{3}|[一二][〇零一二三四五六七八九]{3})年度?"
_HAN_MONTH = r"(?P<month>\d{1,2}|[一二三四五六七八九十]{1,3})月份?"
_HAN_DAY = r"(?P<day>\d{1,2}|[一二三四五六七八九十]{1,3})[日号]"
_QUARTERS = {"first": 1, "second": 2, "third": 3, "fourth": 4} | {c: i for i, c in enumerate("一二三四", 1)}
_QUARTER = r"(?P<quarter>first|second|third|fourth)[- ]quarter"

_forms = [re.compile(rf"(?<![A-Za-z0-9.]){form}(?![A-Za-z0-9])", re.I) for form in (
    rf"{_HAN_YEAR}\s?{_HAN_MONTH}\s?{_HAN_DAY}",
    rf"{_HAN_YEAR}\s?{_HAN_MONTH}",
    rf"{_HAN_YEAR}\s?第?(?P<quarter>[一二三四1-4])季度",
    rf"{_HAN_YEAR}\s?(?P<half>上|下)半年",
    _HAN_YEAR,
    rf"{_HAN_MONTH.replace('份?', '')}{_HAN_DAY}",
    r"(?P<year>(?:19|20)\d\d)(?P<s>[-/.])(?P<month>\d{1,2})(?P=s)(?P<day>\d{1,2})",
    rf"{_DAY} (?:of )?{_MONTH},? {_YEAR}",
    rf"{_MONTH} {_DAY},? {_YEAR}",
    rf"{_MONTH},? {_YEAR}",
    rf"Q(?P<quarter>[1-4]),?[ -]?(?:of )?(?:FY ?)?{_YEAR}",
    rf"{_YEAR}[ -]?Q(?P<quarter>[1-4])",
    rf"{_QUARTER} (?:of |in )?(?:fiscal )?(?:year )?{_YEAR}",
    rf"(?:FY|fiscal year|fiscal) ?{_YEAR}",
    rf"(?:(?<=in )|(?<=since )|(?<=by )|(?<=from )|(?<=during )|(?<=until )|(?<=to )|(?<=of )|(?<=end )){_YEAR}(?![.,]\d|%)",
)]  # fmt: skip
_bare_han = re.compile(r"\d|年|月")


def dates(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, date): `2024-03-05`, `2024-03`, `2024-Q3`, `2024-H1`, `2024`, `--03-05` without a year. Text half-width.

    The forms are tried longest first; what one has taken no other takes. Days that no calendar has are passed by.
    """
    taken = bytearray(len(text))
    found = []
    for form in _forms:
        for match in form.finditer(text):
            start, end = match.span()
            if not any(taken[start:end]) and (date := _date(match.groupdict())) is not None:
                taken[start:end] = b"\1" * (end - start)
                found.append((start, end, date))
    yield from sorted(found)


def _date(parts: dict[str, str | None]) -> str | None:
    year = _number(parts.get("year"))
    if parts.get("quarter"):
        quarter = str(parts["quarter"]).lower()
        return f"{year:04}-Q{_QUARTERS.get(quarter) or int(quarter)}"
    if parts.get("half"):
        return f"{year:04}-H{1 if parts['half'] == '上' else 2}"
    name = parts.get("name")
    month = _months.index(name.lower()[:3]) + 1 if name else _number(parts.get("month"))
    day = _number(parts.get("day"))
    if month is None:
        return f"{year:04}"
    try:
        datetime.date(year or 2000, month, day or 1)
    except (TypeError, ValueError):
        return None
    told = f"{year:04}" if year else "-"
    return f"{told}-{month:02}" + (f"-{day:02}" if day else "")


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if text.isdecimal():
        return int(text)
    read: Callable[[str], object] = chinese
    if len(text) == 4 and all(c in DIGITS for c in text):
        return int("".join(str(DIGITS[c]) for c in text))
    number = read(text)
    return None if number is None else int(str(number))
