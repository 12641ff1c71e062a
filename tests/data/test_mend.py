"""Messy bytes become clean UTF-8, line by line; good ones stay as they are."""

from __future__ import annotations

import codecs
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.data import mend
from seektune.data.mend import Mended


def mended(data: bytes, whole: bool = False) -> tuple[bytes, Mended]:
    stream = Mended(io.BytesIO(data), whole)
    return io.BufferedReader(stream).read(), stream


@settings(deadline=None, max_examples=150)
@given(st.text(st.characters(exclude_characters="\0\ufeff\ufffe", exclude_categories=["Cs"])), st.booleans())
def test_utf8_stays_as_it_is(text: str, whole: bool) -> None:
    found, stream = mended(text.encode(), whole)
    assert found == text.encode()
    assert not stream.notes


@settings(deadline=None, max_examples=150)
@given(st.binary().filter(lambda data: data[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)))
def test_any_bytes_give_as_many_lines_of_utf8(data: bytes) -> None:
    found, _ = mended(data)
    assert found.decode().count("\n") == data.count(b"\n")


def test_each_line_has_an_encoding_of_its_own() -> None:
    lines = ["plain", "UTF-8: 中文和é", "GB: 今天天气很好,我们出去玩", "Latin: café à la crème", "more"]
    data = b"\n".join(
        [lines[0].encode(), lines[1].encode(), lines[2].encode("gb18030"), lines[3].encode("cp1252"), b"mo\0re"]
    )
    found, stream = mended(data)
    assert found.decode().split("\n") == lines
    assert stream.lines == {
        "GB18030 instead of UTF-8": [3],
        "Windows-1252 instead of UTF-8": [4],
        "NUL bytes, taken out": [5],
    }


def test_a_spoilt_byte_costs_one_character() -> None:
    data = "今天天气很好,我们出去玩".encode()
    found, stream = mended(data[:4] + b"\xff" + data[5:])
    assert found.decode().count("\ufffd") <= 3
    assert "我们出去玩" in found.decode()
    assert list(stream.notes) == ["bytes that are not UTF-8, replaced"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_told_by_its_mark(encoding: str) -> None:
    text = '{"text": "中文 and English 😀"}\n' * 3
    mark = b"" if encoding == "utf-16" else codecs.BOM_UTF16_LE if encoding.endswith("le") else codecs.BOM_UTF16_BE
    found, stream = mended(mark + text.encode(encoding))
    assert found.decode() == text
    assert stream.lines == {"UTF-16 instead of UTF-8": [1]}


def test_a_byte_order_mark_goes() -> None:
    found, stream = mended(codecs.BOM_UTF8 + b"a,b\n")
    assert found == b"a,b\n"
    assert list(stream.notes) == ["a byte order mark, taken out"]


def test_a_line_beyond_all_measure_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mend, "LONGEST_LINE", 100)
    exact = b"y" * 99 + b"\n"
    found, stream = mended(b"one\n" + b"x" * 5000 + b"\n" + exact + b"z" * 101)
    assert found == b"one\n\n" + exact + b"\n"
    assert stream.left == [2, 4]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_an_array_in_one_line_comes_whole(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut into pieces at places where no character is cut in two."""
    monkeypatch.setattr(mend, "LONGEST_LINE", 64)
    monkeypatch.setattr(mend, "BLOCK", 64)
    records = [{"text": f"今天天气很好,我们出去玩,第{i}次"} for i in range(200)]
    found, _ = mended(json.dumps(records, ensure_ascii=False).encode(encoding), whole=True)
    assert json.loads(found) == records
