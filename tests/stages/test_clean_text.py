"""Texts made clean: each step on what it is for, code untouched, twice is once."""

from __future__ import annotations

import html
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.stages._clean import pieces, simplified
from seektune.stages.clean_text import CleanText

OFF = dict.fromkeys(("mojibake", "control", "html", "width", "nfc", "simplified", "spaces"), False)
BITS = ["a", " ", "  ", "\n", "\n\n\n", "\u3000", "\u00a0", "\t", "<p>", "</p>", "<br/>", "&amp;", "&lt;", "&gt;", "lt;", "p&gt;", "`", "```", "```\n",
        "~~~\n", "<pre>", "</pre>", "<user>", "<!--", "-->", "好", "電腦", "ＡＢ", "１", "％", "．", "e\u0301", "Ã©", "â€œ", "\u200d", "\u200b", "\x00",
        "\r\n", "&#60;", "&#96;", "\u2028", "😀", "<script>", "</script>", "\x1b[31m"]  # fmt: skip
messy = st.lists(st.sampled_from(BITS) | st.text(max_size=3), max_size=14).map("".join)


def cleaned(text: str, **options: Any) -> str | None:
    outcome = CleanText(**options).each({"text": text})
    return None if outcome.record is None else str(outcome.record["text"])


def only(step: str, text: str) -> str | None:
    return cleaned(text, **OFF | {step: True})


@pytest.mark.parametrize(
    ("step", "text", "wanted"),
    [
        ("mojibake", "The cafÃ© doesnâ€™t open", "The café doesn’t open"),
        ("mojibake", "你好，世界。ok".encode().decode("latin-1"), "你好，世界。ok"),
        ("mojibake", "你好“世界”&amp;ﬁ", "你好“世界”&amp;ﬁ"),
        ("control", "a\x00b\u200bc\ufeff\x1b[31mred\x1b[0m\x0cd", "abcred\nd"),
        ("control", "a\u200db 好\u200d 👩\u200d💻 می\u200cخواهم", "ab 好 👩\u200d💻 می\u200cخواهم"),
        ("html", "<div class='x'>one<br>two</div>", "\none\ntwo\n"),
        ("html", "x<b>y</b>z <user> a < b > c List<int> <EMAIL_1>", "xyz <user> a < b > c List<int> <EMAIL_1>"),
        ("html", "a<!-- gone -->b<script>var x = '<p>';</script>c", "abc"),
        ("html", "AT&amp;amp;T &#20320;&#x597D; &nosuch; R&D", "AT&T 你好 &nosuch; R&D"),
        ("html", "write &lt;br&gt; for x &lt; y", "write &lt;br&gt; for x < y"),
        ("width", "ＡＢＣ１２３，３．５％、ａ＠ｂ．ｃｏｍ。", "ABC123，3.5%、a@b.com。"),
        ("nfc", "cafe\u0301", "café"),
        ("simplified", "這個飯店的電腦壞了，頭髮", "这个饭店的电脑坏了，头发"),
        ("spaces", "  a \u00a0 b  \n\n\n\n　　好\tc  ", "a b\n\n好\tc"),
        ("spaces", "list:\n  - one", "list:\n  - one"),
    ],
)
def test_each_step_does_what_it_is_for_and_no_other_does(step: str, text: str, wanted: str) -> None:
    assert only(step, text) == wanted
    if wanted != text:
        assert cleaned(text, **OFF) == text


@pytest.mark.parametrize(
    "code",
    ["```html\n<p>１  &amp;\u200b\n\n\n\n</p>\n```", "~~~\n<b>１</b>  \n~~~", "`<p>  １`", "<pre>\n<b>１</b>  x</pre>",
     "```\nnever   closed <p>"],
)  # fmt: skip
def test_code_stays_to_the_last_character(code: str) -> None:
    assert cleaned(code, simplified=True) == code
    around = cleaned(f"<p>１  ２</p>\n{code}", simplified=True)
    assert around is not None and around.startswith("1 2\n") and around.endswith(code)


def test_blanks_beside_inline_code_stay() -> None:
    assert cleaned("call `f( )` now") == "call `f( )` now"


@settings(deadline=None, max_examples=400)
@given(messy, st.booleans())
def test_cleaning_twice_is_cleaning_once(text: str, simplified: bool) -> None:
    once = cleaned(text, simplified=simplified)
    if once is not None:
        assert cleaned(once, simplified=simplified) == once


def test_no_phrase_of_opencc_is_passed_by() -> None:
    """Texts without traditional characters are not shown to OpenCC: none of its own phrases may be taken for such."""
    opencc = pytest.importorskip("opencc")
    table = Path(opencc.__file__).parent / "dictionary" / "TSPhrases.txt"
    phrases = [line.split("\t")[0] for line in table.read_text(encoding="utf-8").splitlines()]
    assert len(phrases) > 200
    whole = opencc.OpenCC("t2s")
    assert [simplified(phrase) for phrase in phrases] == [whole.convert(phrase) for phrase in phrases]


@settings(deadline=None, max_examples=200)
@given(messy)
def test_pieces_make_up_the_text(text: str) -> None:
    assert "".join(part for _, part in pieces(text)) == text


@given(st.text(alphabet=st.characters(codec="utf-8", categories=["L", "M"]), max_size=20))
def test_nfc_is_what_unicodedata_says(text: str) -> None:
    assert only("nfc", text) == unicodedata.normalize("NFC", text)


@given(
    st.sampled_from(sorted(html.entities.html5)).filter(lambda name: name.endswith(";") and name not in ("lt;", "LT;"))
)
def test_every_named_entity_is_decoded_as_the_standard_says(name: str) -> None:
    assert only("html", f"好 &{name} x") == f"好 {html.entities.html5[name]} x"


def test_long_runs_of_blanks_are_looked_at_once() -> None:
    run = 200_000
    assert cleaned(f"a{' ' * run}b\n{' ' * run}c{' ' * run}\nd") == f"a b\n{' ' * run}c\nd"


def test_a_text_of_marks_alone_is_dropped_and_told() -> None:
    outcome = CleanText().each({"text": "<br>\u200b&nbsp;", "label": "x"})
    assert outcome.record is None
    assert outcome.reason == "nothing is left after cleaning"


def test_the_steps_that_found_something_are_named_and_counted() -> None:
    given = {
        "messages": [{"role": "user", "content": "<p>１２</p>"}, {"role": "assistant", "content": "ok  go 锟斤拷"}]
    }
    outcome = CleanText().each(given)
    assert outcome.record == {
        "messages": [{"role": "user", "content": "12"}, {"role": "assistant", "content": "ok go 锟斤拷"}]
    }
    assert outcome.reason == "html + width + spaces"
    assert outcome.figures == {"html": 1, "width": 1, "spaces": 1, "characters lost before": 1}


def test_a_clean_record_is_the_same_object() -> None:
    record = {"text": "Nothing to do here, 这里也没有。", "label": "a"}
    assert CleanText().each(record).record is record
