"""Numerals to exact decimals: Arabic with thousands separators, Chinese (三千二百万, 二〇二四), powers of ten in words."""

from __future__ import annotations

from decimal import Decimal

DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "壹": 1, "贰": 2, "叁": 3, "肆": 4, "伍": 5,
          "陆": 6, "柒": 7, "捌": 8, "玖": 9}  # fmt: skip
SMALL = {"十": 1, "拾": 1, "百": 2, "佰": 2, "千": 3, "仟": 3}
LARGE = {"万": 4, "萬": 4, "亿": 8, "億": 8}
CHINESE = "".join([*DIGITS, *SMALL, *LARGE])
SCALES = {
    "万亿": 12, "亿": 8, "億": 8, "千万": 7, "百万": 6, "万": 4, "萬": 4, "千": 3,
    "trillion": 12, "tn": 12, "billion": 9, "bn": 9, "b": 9, "million": 6, "mn": 6, "mm": 6, "m": 6, "thousand": 3, "k": 3,
}  # fmt: skip
"""Word -> power of ten. English ones are compared in lower case."""

# Full-width forms of what stands in numbers, one character for one, so that places stay as they are.
HALF = str.maketrans({**{chr(0xFF10 + i): str(i) for i in range(10)}, "．": ".", "％": "%", "－": "-", "−": "-", "＋": "+", "＄": "$",
                      "：": ":", "\u00a0": " ", "\u3000": " "})  # fmt: skip


def shifted(number: Decimal, power: int) -> Decimal:
    """number × 10^power, with every digit: arithmetic on decimals would round to 28."""
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    return Decimal((sign, digits, exponent + power))


def arabic(text: str) -> Decimal:
    """`1,234.50`"""
    return Decimal(text.replace(",", "").replace("，", ""))


def chinese(text: str) -> Decimal | None:
    """`三千二百万`, `一点五`, `二〇二四`; None where the characters make no number."""
    whole, point, part = text.partition("点")
    number = _whole(whole)
    if number is None or (point and not (part and all(c in DIGITS for c in part))):
        return None
    return Decimal(f"{number}.{''.join(str(DIGITS[c]) for c in part)}" if point else number)


def _whole(text: str) -> int | None:
    if not text or text[0] in LARGE:
        return None
    if len(text) > 1 and all(c in DIGITS for c in text):
        return int("".join(str(DIGITS[c]) for c in text)) if len(text) < 1000 else None
    for word, power in sorted(LARGE.items(), key=lambda item: -item[1]):
        before, found, after = text.rpartition(word)
        if found:
            high, low = _whole(before), _whole(after.lstrip("零〇")) if after.lstrip("零〇") else 0
            return None if high is None or low is None or low >= 10**power else high * 10**power + low
    return _below_10000(text)


def _below_10000(text: str) -> int | None:
    """Digits with falling units: 三千零二十."""
    total, digit, last = 0, None, 4
    for c in text:
        if c in SMALL:
            if SMALL[c] >= last or (digit is None and (total or SMALL[c] > 1)):
                return None
            last = SMALL[c]
            total += (1 if digit is None else digit) * 10**last
            digit = None
        elif digit not in (None, 0):
            return None
        else:
            digit = DIGITS[c]
    return total + (digit or 0)


def plain(number: Decimal) -> str:
    """Without an exponent, as many places as were written: `120000000`, `1.50`."""
    return format(number, "f")
