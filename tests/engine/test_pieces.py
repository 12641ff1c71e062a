"""Streamed text equals the whole, whatever the tokens cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.engine.pieces import Pieces, Thoughts, final


def as_bytes(ids: list[int]) -> str:
    return bytes(ids).decode(errors="replace")


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=40), st.text(max_size=20).map(str.encode)))
def test_pieces_join_to_the_whole(data: bytes) -> None:
    pieces = Pieces(as_bytes)
    told = [pieces.add(byte) for byte in data]
    assert "".join([*told, pieces.end()]) == as_bytes(list(data))


def test_no_piece_holds_half_a_character() -> None:
    pieces = Pieces(as_bytes)
    told = [pieces.add(byte) for byte in "你好, 😀!".encode()]
    assert [piece for piece in told if piece] == ["你", "好", ",", " ", "😀", "!"]
    assert pieces.end() == ""


def test_an_unfinished_character_comes_at_the_end() -> None:
    pieces = Pieces(as_bytes)
    assert [pieces.add(byte) for byte in "你".encode()[:2]] == ["", ""]
    assert pieces.end() == "\ufffd"


def test_a_tokenizer_that_strips_the_first_space() -> None:
    words = ["▁one", "▁two", "three", "▁four"]

    def decode(ids: list[int]) -> str:
        return "".join(words[i] for i in ids).replace("▁", " ").removeprefix(" ")

    pieces = Pieces(decode)
    assert [pieces.add(i) for i in range(4)] == ["one", " two", "three", " four"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    ("text", "opened", "thought", "answer"),
    [
        ("<think>hm</think>yes", False, "hm", "yes"),
        ("hm</think>yes", True, "hm", "yes"),
        ("1 < 2 <thin", False, "", "1 < 2 <thin"),
        ("a<think>b</think>c<think>d", False, "bd", "ac"),
        ("plain", False, "", "plain"),
    ],
)
def test_thoughts_are_told_from_answers_however_the_text_is_cut(
    size: int, text: str, opened: bool, thought: str, answer: str
) -> None:
    thoughts, said = Thoughts(opened), {True: "", False: ""}
    cut = [text[i : i + size] for i in range(0, len(text), size)]
    for part, is_thought in (p for piece in cut for p in thoughts.add(piece)):
        said[is_thought] += part
    for part, is_thought in thoughts.end():
        said[is_thought] += part
    assert (said[True], said[False]) == (thought, answer)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("<think>a</think>\n\nb ", "b"), ("a</think>b", "b"), ("<think>never done", ""), (" b ", "b"), ("", "")],
)
def test_final(text: str, expected: str) -> None:
    assert final(text) == expected
