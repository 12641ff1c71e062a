"""Text from tokens as they come. A character may span several tokens (Chinese, emoji), and a tokenizer may strip a
leading space, so a piece is the difference of two decodings and waits until its last character is whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

Decode = Callable[[Sequence[int]], str]


class Pieces:
    """Feed ids one by one; what `add` and `end` return, joined, is `decode` of all ids."""

    def __init__(self, decode: Decode):
        self._decode = decode
        self._ids: list[int] = []
        self._start = 0  # tokens from here on are decoded anew: those of the last piece, for their context
        self._told = 0  # tokens whose text was returned
        self._text: list[str] = []

    def add(self, token: int) -> str:
        self._ids.append(token)
        before = self._decode(self._ids[self._start : self._told])
        now = self._decode(self._ids[self._start :])
        if now.endswith("\ufffd") or len(now) <= len(before):
            return ""
        self._start, self._told = self._told, len(self._ids)
        return self._tell(now[len(before) :])

    def end(self) -> str:
        """What was held back: at most an unfinished character."""
        told, whole = "".join(self._text), self._decode(self._ids)
        return self._tell(whole[len(told) :]) if whole.startswith(told) else ""

    def _tell(self, piece: str) -> str:
        self._text.append(piece)
        return piece


OPEN, CLOSE = "<think>", "</think>"


class Thoughts:
    """Splits streamed text into thinking and answer: `add` yields (text, is a thought); the tags are left out."""

    def __init__(self, thinking: bool = False):
        self.thinking = thinking  # True where the prompt itself ends with <think>
        self._held = ""

    def add(self, piece: str) -> Iterator[tuple[str, bool]]:
        self._held += piece
        while (at := self._held.find(self._tag)) >= 0:
            yield from self._told(self._held[:at])
            self._held = self._held[at + len(self._tag) :]
            self.thinking = not self.thinking
        keep = next((n for n in range(len(self._tag) - 1, 0, -1) if self._held.endswith(self._tag[:n])), 0)
        ready = self._held[: len(self._held) - keep]
        self._held = self._held[len(ready) :]
        yield from self._told(ready)

    def end(self) -> Iterator[tuple[str, bool]]:
        yield from self._told(self._held)
        self._held = ""

    @property
    def _tag(self) -> str:
        return CLOSE if self.thinking else OPEN

    def _told(self, text: str) -> Iterator[tuple[str, bool]]:
        if text:
            yield text, self.thinking


def final(text: str) -> str:
    """The answer without its thinking; empty where the thinking never ended."""
    if CLOSE in text:
        return text.rsplit(CLOSE, 1)[1].strip()
    return re.split(re.escape(OPEN), text, maxsplit=1)[0].strip()
