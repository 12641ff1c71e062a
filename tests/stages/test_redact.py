"""What identifies a person is found by its form and its check digits, in Chinese and English, and nothing else is."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seektune.stages._private import FINDERS, IBAN, matches
from seektune.stages.redact import Redact

ALL = list(FINDERS)


def found(text: str, kinds: list[str] = ALL) -> list[tuple[str, str]]:
    return [(m.kind, text[m.start : m.end]) for m in matches(text, kinds) if m.valid]


def redacted(text: str, **options: Any) -> str:
    outcome = Redact(**options).each({"text": text})
    assert outcome.record is not None
    return str(outcome.record["text"])


# Numbers made by tables and remainders, not by the code under test


def identity(region: int, year: int, month: int, day: int, order: int) -> str:
    """GB 11643-1999 with its printed weights."""
    body = f"{region}{year:04}{month:02}{day:02}{order:03}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(body, weights, strict=True))
    return body + "10X98765432"[total % 11]


def card(body: str) -> str:
    """The one digit that makes the Luhn sum a multiple of ten, found by trying."""

    def total(digits: str) -> int:
        doubled = "0246813579"
        return sum(int(doubled[int(d)]) if i % 2 else int(d) for i, d in enumerate(digits[::-1]))

    return next(body + last for last in "0123456789" if total(body + last) % 10 == 0)


def iban(country: str, account: str) -> str:
    """Check digits 98 - (account country 00) mod 97."""
    letters = {chr(65 + i): str(10 + i) for i in range(26)}
    number = int("".join(letters.get(c, c) for c in account + country + "00"))
    return f"{country}{98 - number % 97:02}{account}"


def changed(number: str, draw: random.Random) -> str:
    """One digit is another one."""
    at = draw.choice([i for i, c in enumerate(number) if c.isdigit()])
    return number[:at] + draw.choice([d for d in "0123456789" if d != number[at]]) + number[at + 1 :]


identities = st.builds(
    identity, st.sampled_from([110101, 310115, 440306, 510104, 820000]), st.integers(1930, 2023), st.integers(1, 12), st.integers(1, 28),
    st.integers(1, 999),
)  # fmt: skip
cards = st.builds(lambda prefix, rest: card(prefix + f"{rest:0{15 - len(prefix)}}"), st.sampled_from(["4", "51", "2221", "62", "6011"]),
                  st.integers(0, 10**11 - 1))  # fmt: skip
ibans = st.builds(lambda country, number: iban(country, f"{number:0{IBAN[country] - 4}}"), st.sampled_from(sorted(IBAN)),
                  st.integers(0, 10**10))  # fmt: skip


@pytest.mark.parametrize(("kind", "numbers"), [("id", identities), ("card", cards), ("iban", ibans)])
def test_a_number_with_right_check_digits_is_found_and_with_one_digit_changed_is_not(kind: str, numbers: Any) -> None:
    @given(numbers, st.randoms(use_true_random=False), st.sampled_from(["我的号码是{}。", "My number: {}.", "{}"]))
    def check(number: str, draw: random.Random, around: str) -> None:
        assert found(around.format(number)) == [(kind, number)]
        assert (kind, number) not in found(around.format(changed(number, draw)))

    check()


def test_known_numbers() -> None:
    """Of the standards and the issuers' test numbers."""
    assert found("身份证11010519491231002X，") == [("id", "11010519491231002X")]  # example of GB 11643-1999
    assert found("GB82 WEST 1234 5698 7654 32 is it") == [
        ("iban", "GB82 WEST 1234 5698 7654 32")
    ]  # example of ISO 13616
    for number in (
        "4111 1111 1111 1111",
        "5555-5555-5555-4444",
        "378282246310005",
        "3782 822463 10005",
        "6011111111111117",
    ):
        assert found(f"卡号{number}。") == [("card", number)], number


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "a.b-c+d@mail.example.co.uk"), ("email", "1831690944@qq.com"), ("email", "x_1@a.cn"),
        ("phone", "13812345678"), ("phone", "138 1234 5678"), ("phone", "+86 138-1234-5678"), ("phone", "+8613812345678"),
        ("phone", "010-62781234"), ("phone", "（0571）87951234"), ("phone", "0755-26001234-802"), ("phone", "400-820-0277"),
        ("phone", "+86 10 62781234"), ("phone", "(512) 555-0202"), ("phone", "213-484-0480"), ("phone", "+1 (555) 555-5555"),
        ("phone", "+44 20 7946 0958"), ("phone", "+49 30 901820"), ("phone", "+81-3-1234-5678"),
        ("ip", "192.168.0.1"), ("ip", "2001:db8::8a2e:370:7334"), ("ip", "fe80:1:2:3:4:5:6:7"),
        ("passport", "E12345678"), ("passport", "EA1234567"),
    ],
)  # fmt: skip
def test_is_found_within_chinese_and_english(kind: str, value: str) -> None:
    for around in ("请联系{}，谢谢", "Reach me at {}, thanks.", "({})", "{}"):
        assert found(around.format(value)) == [(kind, value)], around


@pytest.mark.parametrize(
    "text",
    [
        "利润为13812345678元，同比增长12.5%", "$4,111,111.11 and 1.3812345678", "2019-12-31 12:30:45", "00123456789012", "订单20231231123456789", "version 1.2.3.4",
        "section 2.1.3.4", "127.0.0.1 and 0.0.0.0", "std::vector::iterator", "300.1.2.3", "1.2.3.4.5", "@name and a@b", "000001.SZ 600519.SH",
        "id_13812345678_x", "2020-2021 2,400-2,800", "π = 3.14159265358979", "4111111111111112", "110105194913310023", "行情300399,诊股",
        "ISBN 978-7-111-54742-6", "+1.25% +3,000", "+12 34", "AB12 3456", "10:20:30", "1990 1991 1992 1993", "9 05 in the morning",
        "0.138-1234", "Passports are checked", "1234 5678 9012 3456",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert found(text) == []


def test_a_passport_of_another_country_is_found_behind_the_word() -> None:
    assert found("Passport No: 912345678 was lost") == [("passport", "912345678")]
    assert found("my passport is C01234567, 护照号：KB1234567") == [
        ("passport", "C01234567"),
        ("passport", "KB1234567"),
    ]
    assert found("912345678 was lost") == []
    assert redacted("护照号码E12345678", kinds=["passport"]) == "护照号码<PASSPORT_1>"
    assert redacted("护照号码E12345678") == "护照号码E12345678"


def test_of_overlapping_ones_the_longer_holds() -> None:
    assert found("13812345678@qq.com") == [("email", "13812345678@qq.com")]
    assert found("ops@192.168.0.1 or a@1.2.3.example.com") == [("ip", "192.168.0.1"), ("email", "a@1.2.3.example.com")]
    number = identity(110101, 1990, 3, 7, 771)
    assert found(f"{number} 13812345678") == [("id", number), ("phone", "13812345678")]


def test_many_matches_and_long_runs_take_no_longer_than_they_must() -> None:
    text = " ".join(f"a{i}@b.com" for i in range(5000)) + " 1 " * 5000 + "a.b" * 5000
    assert len(found(text)) == 5000


def test_the_same_value_has_the_same_placeholder_in_all_turns() -> None:
    record = {
        "messages": [
            {"role": "user", "content": "我是A@b.com，电话138-1234-5678，c@d.org"},
            {"role": "assistant", "content": "Wrote to a@B.com, called +86 13812345678."},
        ],
        "label": "a@b.com",
    }
    outcome = Redact().each(record)
    assert outcome.record == {
        "messages": [
            {"role": "user", "content": "我是<EMAIL_1>，电话<PHONE_1>，<EMAIL_2>"},
            {"role": "assistant", "content": "Wrote to <EMAIL_1>, called <PHONE_1>."},
        ],
        "label": "a@b.com",
    }
    assert outcome.reason == "email + phone"
    assert outcome.figures == {"email": 3, "phone": 2}


def test_redacting_again_changes_nothing_and_new_ones_count_on() -> None:
    once = redacted("a@b.com and c@d.org")
    assert once == "<EMAIL_1> and <EMAIL_2>"
    assert redacted(once) == once
    assert redacted(once + ", e@f.net") == "<EMAIL_1> and <EMAIL_2>, <EMAIL_3>"


def test_other_styles() -> None:
    text = "写信到a.b@c.com或致电138-1234-5678。"
    assert redacted(text, style="mask") == "写信到*.*@*.***或致电***-****-****。"
    assert redacted(text, style="remove") == "写信到或致电。"
    assert redacted(text, kinds=["phone"]) == "写信到a.b@c.com或致电<PHONE_1>。"


def test_numbers_that_fail_their_check_stay_and_are_counted() -> None:
    record = {"text": "卡号4111111111111112，证件110105194912310021，GB82WEST12345698765433"}
    outcome = Redact().each(record)
    assert outcome.record is record
    assert outcome.figures == {f"{kind} with a wrong check digit, left": 1 for kind in ("card", "id", "iban")}


def test_an_unknown_kind_is_refused() -> None:
    from seektune import kinds
    from seektune.errors import RecipeError

    with pytest.raises(RecipeError, match=r"some of email, id, iban"):
        kinds.build("stage", {"kind": "redact", "kinds": ["emial"]})


def test_few_things_are_found_in_prices_and_news(shared_data: Any) -> None:
    """Company news are full of amounts, codes and dates; what is found in all of it was looked at one by one: all right."""
    text = (shared_data / "cls_finnews_zh" / "finnews.jsonl").read_text(encoding="utf-8")
    assert sorted({value for _, value in found(text)}) == ["400-820-0277", "jzqsp2016@126.com", "webmaster@cnstock.com"]
