"""Spans to tags of words and classes of pieces, and back, in Chinese and English."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.data import formats, tags
from seektune.data.options import Input
from seektune.errors import DataError

TEXTS = [
    "the company of Northwind in town",
    "公司在第二季度报告了三百万美元的利润。",
    "Northwind公司, EUR 42",
    "  two  blanks",
    "é𠮷🙂 ok",
]


@pytest.fixture(scope="module")
def encode() -> Any:
    tokenizer = zoo.tokenizer().backend_tokenizer
    return lambda text: tokenizer.encode(text).offsets


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TEXTS), st.data())
def test_spans_come_back_from_the_pieces(encode: Any, text: str, data: Any) -> None:
    """Where entities begin and end at pieces; other ones become the pieces that they touch."""
    offsets = encode(text)
    ends = sorted({place for a, b in offsets for place in (a + len(text[a:b]) - len(text[a:b].lstrip()), b) if b > a})
    picked = sorted(data.draw(st.lists(st.sampled_from(ends), unique=True, max_size=6)))
    spans = [
        (a, b, data.draw(st.sampled_from(["x", "y-z"])))
        for a, b in zip(picked[::2], picked[1::2], strict=False)
        if text[a:b].strip()
    ]
    spans = [
        (a + len(text[a:b]) - len(text[a:b].lstrip()), b - len(text[a:b]) + len(text[a:b].rstrip()), kind)
        for a, b, kind in spans
    ]
    names = tags.classes([{"spans": spans}])
    known = {name: i for i, name in enumerate(names)}
    made = tags.pieces_of_spans(text, offsets, spans, known)
    back = tags.spans_of_pieces(text, offsets, [names[i] if i != tags.IGNORED else "O" for i in made])
    assert back == spans


def test_classes_of_pieces_by_hand() -> None:
    """ "Ann Lee of Oslo" in pieces: [CLS] Ann | _Le | e | _of | _Os | lo [SEP]."""
    offsets = [(0, 0), (0, 3), (3, 6), (6, 7), (7, 10), (10, 13), (13, 15), (0, 0)]
    known = {name: i for i, name in enumerate(["O", "B-loc", "I-loc", "B-per", "I-per"])}
    found = tags.pieces_of_spans("Ann Lee of Oslo", offsets, [(0, 7, "per"), (11, 15, "loc")], known)
    assert found == [-100, 3, 4, 4, 0, 1, 2, -100]
    twins = tags.pieces_of_spans("AB", [(0, 1), (1, 2)], [(0, 1, "loc"), (1, 2, "loc")], known)
    assert twins == [1, 1]
    assert tags.spans_of_pieces("AB", [(0, 1), (1, 2)], ["B-loc", "B-loc"]) == [(0, 1, "loc"), (1, 2, "loc")]
    assert tags.spans_of_pieces("AB", [(0, 1), (1, 2)], ["I-loc", "I-per"]) == [(0, 1, "loc"), (1, 2, "per")]


@pytest.mark.parametrize(
    ("words", "marks", "text", "spans"),
    [
        (["EU", "rejects", "German", "call"], ["B-ORG", "O", "B-MISC", "O"], "EU rejects German call", [(0, 2, "ORG"), (11, 17, "MISC")]),
        (["New", "York", "Times"], ["B-ORG", "I-ORG", "I-ORG"], "New York Times", [(0, 14, "ORG")]),
        (list("王小明在北京"), ["B-PER", "M-PER", "E-PER", "O", "B-LOC", "E-LOC"], "王小明在北京", [(0, 3, "PER"), (4, 6, "LOC")]),
        (list("中2001"), ["S-LOC", "B-T", "I-T", "I-T", "I-T"], "中2001", [(0, 1, "LOC"), (1, 5, "T")]),
        (["a", "b"], ["I-X", "B-X"], "ab", [(0, 1, "X"), (1, 2, "X")]),
        (["在", "New", "York"], ["O", "B-LOC", "I-LOC"], "在New York", [(1, 9, "LOC")]),
    ],
)  # fmt: skip
def test_tags_of_words(words: list[str], marks: list[str], text: str, spans: Any) -> None:
    assert tags.spans_of_tags(words, marks) == (text, spans)


def read(folder: Path, rows: list[Any], **more: Any) -> list[dict[str, Any]]:
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return list(formats.read([Input(path=str(folder / "rows.jsonl"), **more)], 0.0, "tagger"))


def test_the_shapes_that_files_have(tmp_path: Path) -> None:
    want = [{"text": "王在北京", "spans": [[0, 1, "per"], [2, 4, "loc"]]}]
    assert read(tmp_path, [{"text": "王在北京", "spans": [[2, 4, "loc"], [0, 1, "per"]]}]) == want
    assert read(tmp_path, [{"tokens": list("王在北京"), "tags": ["B-per", "O", "B-loc", "I-loc"]}]) == want
    cluener = [{"text": "王在北京", "label": {"per": {"王": [[0, 0]]}, "loc": {"北京": [[2, 3]]}}}]
    assert read(tmp_path, cluener, columns={"spans": "label"}) == want
    marks = [
        {"at": ["text"], "start": a, "end": b, "type": kind, "text": "", "by": "rule"}
        for a, b, kind in want[0]["spans"]
    ]
    assert (
        read(tmp_path, [{"text": "王在北京", "marks": [*marks, {"at": ["title"], "start": 0, "end": 9, "type": "x"}]}])
        == want
    )


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"text": "ab", "spans": [[0, 3, "x"]]}, "outside of the text"),
        ({"text": "ab", "spans": [[0, 2, "x"], [1, 2, "y"]]}, "over each other"),
        ({"text": "ab", "spans": [[0, "1", "x"]]}, "an entry that is none"),
        ({"text": "ab", "spans": "x"}, "a list of"),
        ({"tokens": ["a"], "tags": ["O", "O"]}, "do not go together"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, row: Any, line: str) -> None:
    with pytest.raises(DataError, match=line):
        read(tmp_path, [row])
