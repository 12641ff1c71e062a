"""Texts as words that may be changed and words that may not: numbers, names, code, addresses and placeholders stay as they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ._words import is_han, spans

MARK = "made_by"  # key of a record that was in no file: which stage made it

PROTECTED = re.compile(
    r"```.*?```|`[^`\n]+`"  # code
    r"|https?://\S+|www\.\S+|[\w.+-]+@[\w-]+\.[\w.-]+"  # addresses
    r"|\{\{.*?\}\}|\{[^{}\n]*\}|<[^<>\n]+>|\[[A-Z_]+\d*\]|%\(\w+\)[sd]|\$\{?\w+\}?|[@#]\w+"  # placeholders, tags, handles
    r"|[A-Za-z0-9.]*[A-Za-z0-9][_/\\=][A-Za-z0-9_./\\=]*|[A-Za-z]+\d\w*|\d+[A-Za-z]+\w*|[a-z]+[A-Z]\w*|\w+\(\)",  # identifiers
    re.S,
)
NAME_ENDS = re.compile(
    r"(公司|集团|银行|证券|保险|基金|信托|股份|科技|大学|学院|中学|小学|医院|法院|研究院|研究所|委员会|交易所|出版社|电视台|"
    r"机场|车站|省|市|县|区|镇|乡|村|路|街|州|山|江|河|湖|岛|国|先生|女士|教授|总统|主席)$"
)
LINKS = ("of", "and", "the", "de", "van", "von")  # between the words of a name
LEAST_NAME = 2  # characters of a word that can be a name's end by itself: 北京市, not 市
BEFORE_END = 2  # words before 公司 and its like that belong to the name
SENTENCE = re.compile(r"[.!?。！？:：;；\n]\s*[\"'“”‘’()\[\]\-*]*\s*$")


@dataclass
class Piece:
    """A word, number or sign with what stands before it (spaces, line breaks). `free`: whether it may be changed."""

    gap: str
    text: str
    free: bool


def pieces(text: str, keep: Sequence[str] = ()) -> tuple[list[Piece], str]:
    """(pieces, what stands behind the last): joined they are the text. `keep`: words and names of the user's that stay."""
    found, closed, at = [], _closed(text, keep), 0
    words = spans(text)
    names = _names(text, words)
    for number, (start, end, kind) in enumerate(words):
        inside = any(a < end and start < b for a, b in closed)
        found.append(Piece(text[at:start], text[start:end], kind == "word" and not inside and number not in names))
        at = end
    return found, text[at:]


def joined(found: Sequence[Piece], tail: str) -> str:
    return "".join(piece.gap + piece.text for piece in found) + tail


def _closed(text: str, keep: Sequence[str]) -> list[tuple[int, int]]:
    """(start, end) of what may not be changed, wherever words begin."""
    found = [match.span() for match in PROTECTED.finditer(text)]
    for word in keep:
        found += [match.span() for match in re.finditer(re.escape(word), text)] if word else []
    return found


def _names(text: str, words: Sequence[tuple[int, int, str]]) -> set[int]:
    """Numbers of the words that belong to names."""
    found: set[int] = set()
    for number, (start, end, kind) in enumerate(words):
        if kind != "word":
            continue
        word = text[start:end]
        if is_han(word):
            found |= _chinese_name(text, words, number)
        elif word[0].isupper() and (not _begins(text, start) or (word.isupper() and len(word) > 1)):
            found |= _run(text, words, number)
    return found


def _begins(text: str, start: int) -> bool:
    """Whether a sentence begins here, so that a capital tells nothing."""
    before = text[:start][-12:]
    return not text[:start].strip() or SENTENCE.search(before) is not None


def _run(text: str, words: Sequence[tuple[int, int, str]], number: int) -> set[int]:
    """The capitalised words before this one that it follows directly, also where they begin the sentence: Bank of China."""
    found, at = {number}, number - 1
    while at >= 0 and words[at][2] == "word" and not text[words[at][1] : words[at + 1][0]].strip():
        word = text[words[at][0] : words[at][1]]
        links = word in LINKS and at > 0 and text[words[at - 1][0]].isupper()
        if not links and not word[0].isupper():
            break
        found.add(at)
        at -= 1
    return found


def _chinese_name(text: str, words: Sequence[tuple[int, int, str]], number: int) -> set[int]:
    """A word that ends as names of companies and places do, and the words before it that belong to it."""
    start, end, _ = words[number]
    word = text[start:end]
    ending = NAME_ENDS.search(word)
    if ending is None or len(word) < LEAST_NAME:
        return set()
    found, at = {number}, number - 1
    while word == ending[0] and number - at <= BEFORE_END and at >= 0:
        before = text[words[at][0] : words[at][1]]
        if words[at][1] != words[at + 1][0] or not is_han(before) or len(before) < LEAST_NAME:
            break
        found.add(at)
        at -= 1
    return found
