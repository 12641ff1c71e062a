"""Where a text holds what identifies a person: each finder gives spans, and tells of numbers whose check digits are wrong.

Check digits: ISO 7064 MOD 11-2 (Chinese identity numbers, GB 11643-1999), Luhn (ISO/IEC 7812-1, bank cards), MOD 97-10
(ISO 13616, IBAN). A number that fails its check is something else, or mistyped: it is no match.
"""

from __future__ import annotations

import bisect
import datetime
import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Match:
    """`value` is the same for every way to write the same number. `valid`: its check digits are right."""

    start: int
    end: int
    kind: str
    value: str
    valid: bool = True


_email = re.compile(
    r"(?<![A-Za-z0-9._%+@-])[A-Za-z0-9_](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_+-])?"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![A-Za-z0-9@-])"
)

# What makes a row of digits an amount and no telephone number
_NO_AMOUNT = r"(?!\d|[.,]\d|\s*[%％元股万亿手份吨户])"
_BEFORE = r"(?<![\dA-Za-z.,$¥￥€£+_/-])"
_mobile = re.compile(rf"{_BEFORE}(?:(?:\+|00)?86[- ]?)?1[3-9]\d([- ]?)\d{{4}}\1\d{{4}}{_NO_AMOUNT}(?![A-Za-z_-])")
_mobile_abroad = re.compile(r"(?<![\dA-Za-z+])\+86[- ]?1[3-9]\d([- ]?)\d{4}\1\d{4}(?!\d)")
_AREA = r"(?:10|2\d|[3-9]\d{2})"
_landline = re.compile(
    rf"{_BEFORE}(?:[(（]0{_AREA}[)）][- ]?|(?:(?:\+|00)?86[- ]?)?0{_AREA}[- －—]|(?:\+|00)86[- ]?{_AREA}[- ])"
    rf"[2-8]\d{{6,7}}(?!\d)(?:[-转]\d{{1,5}}(?!\d))?(?![.,]\d)"
)
_service = re.compile(rf"{_BEFORE}[48]00[- ](?:\d{{3}}[- ]\d{{4}}|\d{{4}}[- ]\d{{3}}){_NO_AMOUNT}")
_american = re.compile(
    rf"(?<![\dA-Za-z.,$+_/-])(?:\+?1[ .-]?)?(?:\([2-9]\d{{2}}\) ?|[2-9]\d{{2}}([ .-]))[2-9]\d{{2}}[ .-]\d{{4}}{_NO_AMOUNT}(?![-A-Za-z_])"
)
_abroad = re.compile(
    r"(?<![\dA-Za-z+])(?:\+[1-9]\d{0,2}|00[1-9]\d{0,2}(?=[ -]))(?:[ .-]?\(0?\d{1,4}\)|[ .-]\d(?=[ .-]))?(?:[ .-]?\d{2,4}){2,5}(?!\d|[.,]\d|\s*[%％元股万亿])"
)

_identity = re.compile(r"(?<![0-9A-Za-z])\d{6}([ -]?)\d{8}\1\d{3}[\dXx](?![0-9A-Za-z])")
_card = re.compile(
    r"(?<![\dA-Za-z.,$¥￥+_-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?|\d{4}([ -])\d{6}\2\d{4,5})(?![\dA-Za-z_]|[.,-]\d)"
)
_iban = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?= ?[A-Z0-9]{4})")
_v4 = re.compile(
    r"(?<![\dA-Za-z.])(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?!\d|\.\d|[A-Za-z])"
)
_version = re.compile(r"(?:version|ver|release|版本|第|section|chapter|§)\.?\s*$", re.I)
_v6 = re.compile(r"(?<![0-9A-Za-z_:.])(?:[0-9A-Fa-f]{1,4}:|:(?=:)|(?<=:):){2,7}(?:[0-9A-Fa-f]{1,4})?(?![0-9A-Za-z_:])")
_passport_cn = re.compile(r"(?<![0-9A-Za-z])(?:[EGDSP]\d{8}|E[A-HJ-NP-Z]\d{7})(?![0-9A-Za-z])")
_passport = re.compile(
    r"(?:passports?|护照)[^0-9\n]{0,24}?(?<![A-Za-z])(?P<number>[A-Z]{1,2}\d{6,8}|\d{9})(?![0-9A-Za-z])", re.I
)

PROVINCES = frozenset(
    [*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 83]
)
# Lengths of IBANs by country (IBAN registry)
IBAN = {country: length for length, countries in {
    15: "NO", 16: "BE", 18: "DK FI FO GL NL SD FK", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA",
    30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
}.items() for country in countries.split()}  # fmt: skip


def identity_checks(number: str) -> bool:
    """ISO 7064 MOD 11-2 over 18 characters, and a date of birth that there is."""
    total = sum(int(digit) * (2 ** (17 - i) % 11) for i, digit in enumerate(number[:17]))
    if "10X98765432"[total % 11] != number[17].upper():
        return False
    try:
        born = datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    return 1850 <= born.year <= 2100 and int(number[:2]) in PROVINCES


def luhn(digits: str) -> bool:
    """Every second digit from the right doubled, nines cast out: a multiple of ten."""
    total = 0
    for i, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + i % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def issued(digits: str) -> bool:
    """Whether an issuer has numbers that begin so and are so long."""
    two, four, length = int(digits[:2]), int(digits[:4]), len(digits)
    return (
        (digits[0] == "4" and length in (13, 16, 19))  # Visa
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and length == 16)  # Mastercard
        or (two in (34, 37) and length == 15)  # American Express
        or ((two in (36, 38, 39) or 300 <= int(digits[:3]) <= 305) and length == 14)  # Diners Club
        or ((four == 6011 or two == 65 or 644 <= int(digits[:3]) <= 649) and length in (16, 19))  # Discover
        or (3528 <= four <= 3589 and 16 <= length <= 19)  # JCB
        or (two == 62 and 16 <= length <= 19)  # UnionPay
        or (digits[:5] == "95588" and length == 19)  # ICBC before UnionPay's numbers
    )


def iban_checks(number: str) -> bool:
    """MOD 97-10: country and check digits moved to the end, letters as 10 to 35, remainder 1."""
    return int("".join(str(int(character, 36)) for character in number[4:] + number[:4])) % 97 == 1


def _emails(text: str) -> Iterator[Match]:
    if "@" in text:
        yield from (Match(m.start(), m.end(), "email", m.group().lower()) for m in _email.finditer(text))


def _phones(text: str) -> Iterator[Match]:
    for pattern in (_mobile, _mobile_abroad, _landline, _service, _american, _abroad):
        for match in pattern.finditer(text):
            digits = re.sub(r"\D", "", match.group())
            if pattern is not _abroad or 8 <= len(digits) <= 17:
                yield Match(match.start(), match.end(), "phone", _national(digits))


def _national(digits: str) -> str:
    """Chinese numbers without the prefix of their country, so that both ways to write one are the same."""
    short = re.sub(r"^(?:00)?86(?=1[3-9]\d{9}$|0?[2-9]\d{8,10}$|0?10\d{8}$)", "", digits)
    return short.removeprefix("0") if short != digits else digits.removeprefix("0")


def _identities(text: str) -> Iterator[Match]:
    for match in _identity.finditer(text):
        number = re.sub("[ -]", "", match.group())
        yield Match(match.start(), match.end(), "id", number.upper(), identity_checks(number))


def _cards(text: str) -> Iterator[Match]:
    for match in _card.finditer(text):
        digits = re.sub("[ -]", "", match.group())
        if 13 <= len(digits) <= 19 and issued(digits):
            yield Match(match.start(), match.end(), "card", digits, luhn(digits))


def _ibans(text: str) -> Iterator[Match]:
    for head in _iban.finditer(text):
        length = IBAN.get(head.group()[:2])
        if length is None:
            continue
        rest = re.compile(f"(?: ?[A-Z0-9]){{{length - 4}}}(?![A-Za-z0-9])").match(text, head.end())
        if rest is not None:
            number = (head.group() + rest.group()).replace(" ", "")
            yield Match(head.start(), rest.end(), "iban", number, iban_checks(number))


def _addresses(text: str) -> Iterator[Match]:
    """Not those that name no machine of anybody: this one, none, all; and no versions."""
    if text.count(".") > 2:
        for match in _v4.finditer(text):
            address = ipaddress.IPv4Address(match.group())
            special = (
                address.is_loopback
                or address.is_unspecified
                or address.is_multicast
                or match.group() == "255.255.255.255"
            )
            if not special and not _version.search(text, max(0, match.start() - 12), match.start()):
                yield Match(match.start(), match.end(), "ip", match.group())
    if ":" in text:
        yield from _longer_addresses(text)


def _longer_addresses(text: str) -> Iterator[Match]:
    for match in _v6.finditer(text):
        groups = [group for group in match.group().split(":") if group]
        try:
            address = ipaddress.IPv6Address(match.group())
        except ValueError:
            continue
        if len(groups) > 2 and any(c.isdigit() for c in match.group()) and not address.is_loopback:
            yield Match(match.start(), match.end(), "ip", address.compressed)


def _passports(text: str) -> Iterator[Match]:
    yield from (Match(m.start(), m.end(), "passport", m.group()) for m in _passport_cn.finditer(text))
    for match in _passport.finditer(text):
        yield Match(match.start("number"), match.end("number"), "passport", match["number"].upper())


FINDERS: dict[str, Callable[[str], Iterator[Match]]] = {
    "email": _emails, "id": _identities, "iban": _ibans, "card": _cards, "phone": _phones, "ip": _addresses, "passport": _passports,
}  # fmt: skip
"""In order of trust: of two that begin together and are equally long, the one named first holds."""


def matches(text: str, kinds: list[str]) -> list[Match]:
    """What is found, in order of place, none over another: the longer wins, then the kind with the better check.

    Numbers that fail their check are among them (`valid` is false) where nothing else stands there.
    """
    order = [kind for kind in FINDERS if kind in kinds]
    found = [match for kind in order for match in FINDERS[kind](text)]
    found.sort(key=lambda m: (not m.valid, m.start - m.end, order.index(m.kind), m.start))
    taken: list[Match] = []  # by place
    for match in found:
        at = bisect.bisect_left(taken, match.start, key=lambda m: m.start)
        before, behind = taken[at - 1 : at] if at else [], taken[at : at + 1]
        if all(one.end <= match.start for one in before) and all(match.end <= one.start for one in behind):
            taken.insert(at, match)
    return taken
