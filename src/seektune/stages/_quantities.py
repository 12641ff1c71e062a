"""Amounts, shares, basis points, ratios, dates and plain numbers in Chinese and English texts, with every digit as it was written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from ._dates import dates
from ._numerals import CHINESE, HALF, SCALES, arabic, chinese, plain, shifted

Kind = Literal["amount", "percent", "basis_points", "ratio", "date", "number"]

CURRENCIES = {
    "us$": "USD", "hk$": "HKD", "a$": "AUD", "c$": "CAD", "s$": "SGD", "$": "USD", "€": "EUR", "£": "GBP", "¥": "CNY", "￥": "CNY",
    "₹": "INR", "usd": "USD", "cny": "CNY", "rmb": "CNY", "eur": "EUR", "gbp": "GBP", "jpy": "JPY", "hkd": "HKD", "chf": "CHF",
    "人民币": "CNY", "美元": "USD", "美金": "USD", "港元": "HKD", "港币": "HKD", "欧元": "EUR", "日元": "JPY", "英镑": "GBP", "韩元": "KRW",
    "元": "CNY", "圆": "CNY", "yuan": "CNY", "renminbi": "CNY", "dollars": "USD", "dollar": "USD", "euros": "EUR", "euro": "EUR",
    "pounds": "GBP", "yen": "JPY",
}  # fmt: skip
"""Sign or word -> ISO 4217. `¥` is read as yuan, `$` and `dollars` as those of the United States."""
COUNTED = {
    "股": "shares",
    "shares": "shares",
    "share": "shares",
    "吨": "tonnes",
    "tonnes": "tonnes",
    "人": "people",
    "户": "households",
}
PERCENT = {"%": "%", "个百分点": "pp", "百分点": "pp", "percentage points": "pp", "percentage point": "pp", "pp": "pp", "per cent": "%",
           "percent": "%"}  # fmt: skip


def _any(words: Any) -> str:
    """Longest first; a word of letters ends where the letters end."""
    ordered = sorted(words, key=len, reverse=True)
    return "|".join(
        re.escape(word) + (r"(?![A-Za-z])" if word[-1].isascii() and word[-1].isalpha() else "") for word in ordered
    )


_before = [
    word
    for word in CURRENCIES
    if word not in ("元", "圆") and not word.startswith(("dollar", "euro", "pound", "yen", "yuan"))
]
_after = [word for word in CURRENCIES if not re.search(r"[$€£¥￥₹]", word)]
_short = ("b", "m", "k", "mm")  # only beside a currency or right behind the digits
_ARABIC = r"(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3})(?![,\d])(?:\.\d+)?|\d+(?:\.\d+)?"  # in India 12,34,567
_HAN = rf"[{CHINESE}]+(?:点[零〇一二三四五六七八九]+)?"
_SCALE = rf"(?:(?P<scale>{_any(word for word in SCALES if word not in _short)})|(?<=\d)(?P<letter>{_any(_short)}))"
_MONEY = rf"(?:(?:多|余)?(?P<money>{_any(_after)}))"

_number = re.compile(
    rf"(?P<sign>(?<![A-Za-z0-9_%)\]元万亿股倍年月日])[-+])?(?:(?P<currency>{_any(_before)})\s?(?P<minus>-)?)?(?<![A-Za-z\d_.@])(?P<arabic>{_ARABIC})"
    rf"(?:\s?(?:多|余)?{_SCALE})?(?:\s?(?:{_MONEY}|(?P<percent>{_any(PERCENT)})|(?P<points>bps?(?![A-Za-z])|basis points?|个?基点)"
    rf"|(?P<times>倍|x(?![A-Za-z]))|(?P<counted>{_any(COUNTED)})))?",
    re.I,
)
_han_share = re.compile(rf"(?P<sign>负)?(?P<of>百|千|万)分之(?:(?P<han>{_HAN})|(?P<arabic>{_ARABIC}))")
_han_amount = re.compile(
    rf"(?P<sign>负)?(?P<currency>人民币|美元)?(?P<han>{_HAN})(?:(?:多|余)?(?P<money>{_any(w for w in _after if not w.isascii())})"
    rf"|(?P<points>个?基点)|(?P<pp>个百分点)|(?P<times>倍)|(?P<counted>股|吨))"
)
_ratio = re.compile(
    r"(?<![\d.:])(\d+(?:\.\d+)?) ?: ?(\d+(?:\.\d+)?)(?![\d.:])|(?<![\d.])(\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)(?= ratio)"
)
_brackets = re.compile(
    rf"(?P<currency>[$€£¥￥])?\s?\((?P<inner>[$€£¥￥]?\s?(?:{_ARABIC})\s?%?)\)(?:\s?{_SCALE})?(?:{_MONEY})?"
)
_wide_comma = re.compile(r"(?<=[0-9０-９])，(?=[0-9０-９]{3}(?![0-9０-９]))")
_clock = re.compile(r"(?<![\d:.])(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?![\d:.])")


@dataclass(frozen=True)
class Quantity:
    """`value` is exact: of a date its name (see _dates.py), of a ratio a:b the text `a:b`, else a decimal in `unit`."""

    start: int
    end: int
    text: str
    kind: Kind
    value: str
    unit: str = ""  # ISO 4217, %, pp, bp, times, shares, …

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    @property
    def number(self) -> Decimal | None:
        return None if self.kind == "date" or ":" in self.value else Decimal(self.value)


def quantities(text: str, brackets: bool = True) -> list[Quantity]:
    """All of a text, in order. `brackets`: (1,234) is a negative number, where it can be no remark."""
    half = half_width(text)
    taken = bytearray(len(half))
    found = list[Quantity]()

    def take(start: int, end: int, kind: Kind, value: str, unit: str = "") -> None:
        if not any(taken[start:end]):
            taken[start:end] = b"\1" * (end - start)
            found.append(Quantity(start, end, text[start:end], kind, value, unit))

    for start, end, date in dates(half):
        take(start, end, "date", date)
    for match in _han_share.finditer(half):
        _share(match, take)
    for match in _han_amount.finditer(half):
        _han(match, take)
    for match in _brackets.finditer(half) if brackets else ():
        _negative(match, half, take)
    for match in _clock.finditer(half):  # a time of day is no ratio
        taken[match.start() : match.end()] = b"\1" * len(match[0])
    for match in _ratio.finditer(half):
        _a_to_b(match, take)
    for match in _number.finditer(half):
        _one(match, half, take)
    return sorted(found, key=lambda one: one.start)


def half_width(text: str) -> str:
    """As long as it was: full-width digits and signs become plain ones, brackets too, a comma only between thousands."""
    if text.isascii():
        return text
    return _wide_comma.sub(",", text).translate(HALF).replace("（", "(").replace("）", ")")


def _share(match: re.Match[str], take: Any) -> None:
    han = match["han"]
    number = arabic(match["arabic"]) if not han else Decimal(100) if han == "百" else chinese(han)
    if number is not None:
        power = {"百": 0, "千": -1, "万": -2}[match["of"]]
        take(*match.span(), "percent", _signed(shifted(number, power), match["sign"]), "%")


def _han(match: re.Match[str], take: Any) -> None:
    number = chinese(match["han"])
    if number is None or match["han"] in ("千", "百"):
        return
    kind, unit = _kind(match.groupdict())
    take(*match.span(), kind, _signed(number, match["sign"]), unit)


def _negative(match: re.Match[str], half: str, take: Any) -> None:
    """A year, a code or a remark stands in brackets too: a separator, a point or a currency has to be inside, no Chinese before."""
    start = match.start() + len(match[0]) - len(match[0].lstrip())
    inner, before = (match["currency"] or "") + match["inner"], half[:start][-1:]
    remark = not match["currency"] and ("\u3400" <= before <= "\u9fff" or (before.isalnum() and "%" in inner))
    if remark or not re.search(r"[.,$€£¥￥]", inner):
        return
    found = _number.match(inner.replace(" ", ""))
    assert found is not None
    kind, unit = _kind(found.groupdict() | ({"money": match["money"]} if match["money"] else {}))
    take(start, match.end(), kind, _signed(shifted(arabic(found["arabic"]), _power(match)), "-"), unit)


def _power(match: re.Match[str]) -> int:
    scale = match["scale"] or match["letter"]
    return SCALES[scale.lower()] if scale else 0


def _a_to_b(match: re.Match[str], take: Any) -> None:
    a, b = (match[1], match[2]) if match[1] else (match[3], match[4])
    take(*match.span(), "ratio", f"{a}:{b}")


def _one(match: re.Match[str], half: str, take: Any) -> None:
    parts = match.groupdict()
    kind, unit = _kind(parts)
    power = _power(match)
    if kind == "number" and not (power or unit) and _a_name(match, half):
        return
    number = shifted(arabic(match["arabic"]), power)
    start = match.start() + (len(match[0]) - len(match[0].lstrip()))
    take(start, match.end(), kind, _signed(number, parts["sign"] or parts["minus"]), unit)


def _a_name(match: re.Match[str], half: str) -> bool:
    """Digits that count nothing: with zeros in front (a code), or grown together with letters."""
    digits, after = match["arabic"], half[match.end() : match.end() + 1]
    return (len(digits) > 1 and digits[0] == "0" and digits[1] != ".") or (
        after.isascii() and (after.isalnum() or after == "_")
    )


def _kind(parts: dict[str, str | None]) -> tuple[Kind, str]:
    if parts.get("percent") or parts.get("pp"):
        return "percent", PERCENT[(parts.get("percent") or parts.get("pp") or "").lower()]
    if parts.get("points"):
        return "basis_points", "bp"
    if parts.get("times"):
        return "ratio", "times"
    currency = (parts.get("money") or parts.get("currency") or "").lower()
    if currency:
        named = parts.get("currency") if currency in ("元", "圆") and parts.get("currency") else currency
        return "amount", CURRENCIES[str(named).lower()]
    return "number", COUNTED.get((parts.get("counted") or "").lower(), "")


def _signed(number: Decimal, sign: str | None) -> str:
    return plain(-number if sign in ("-", "负") and number else number)
