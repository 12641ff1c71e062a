"""Words of Chinese, English and mixed text. Chinese has no spaces: runs of it are segmented by jieba, the rest by its letters."""

from __future__ import annotations

import logging
import re
from functools import cache
from typing import Any

from ._need import need

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ffff"
_runs = re.compile(
    rf"(?P<han>[{HAN}]+)|(?P<word>[^\W\d_]+(?:['’][^\W\d_]+)*)|(?P<number>\d+(?:[.,]\d+)*)|(?P<sign>[^\s\w]|_)"
)
_other = re.compile(rf"[^{HAN}]+")


@cache
def _jieba() -> Any:
    jieba = need("jieba", "segmenting Chinese")
    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    return jieba


def is_han(text: str) -> bool:
    """Whether all characters are Chinese ones."""
    return bool(text) and _other.search(text) is None


def han_share(text: str) -> float:
    """Chinese characters among the letters."""
    letters = sum(c.isalpha() for c in text)
    return sum(map(is_han, text)) / letters if letters else 0.0


def spans(text: str) -> list[tuple[int, int, str]]:
    """(start, end, kind) of each word, number and sign; kind: word | number | sign. `text[start:end]` is the word itself."""
    found = []
    for match in _runs.finditer(text):
        if match.lastgroup != "han":
            found.append((match.start(), match.end(), str(match.lastgroup)))
            continue
        at = match.start()
        for word in _jieba().lcut(match.group()):
            found.append((at, at + len(word), "word"))
            at += len(word)
    return found


def words(text: str, signs: bool = False) -> list[str]:
    """Words and numbers in order; punctuation too where `signs`."""
    return [text[a:b] for a, b, kind in spans(text) if signs or kind != "sign"]


def joined(parts: list[str]) -> str:
    """Words to text again: a space between two unless one of them is Chinese, or a sign that leans on the word before."""
    text = ""
    for part in parts:
        tight = not text or is_han(text[-1]) or is_han(part[0]) or part[0] in ",.;:!?)]}%、，。；：！？）】》”’"
        text += part if tight or text[-1] in "([{（【《“‘$#" else f" {part}"
    return text
