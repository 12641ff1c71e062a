"""Tokens of a text with their places in it, and texts put together so that the prompt's tokens stay the prompt's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import tokenizers


@dataclass
class Draft:
    """A document while answers are being placed in it: its text, the tokens and where in the text each stands."""

    text: str
    ids: list[int]
    starts: np.ndarray  # (time,) first character of each token
    ends: np.ndarray  # (time,) one past its last
    weights: np.ndarray  # (time,) float32
    notes: Counter[str] = field(default_factory=Counter)

    def learn(self, start: int, end: int, weight: float) -> None:
        """Give `weight` to every token that holds a character of text[start:end]."""
        if start < end:
            self.weights[(self.starts < end) & (self.ends > start)] = weight

    def then(self, other: Draft) -> Draft:
        """This text followed by another, whose tokens stay as they are."""
        return Draft(
            self.text + other.text,
            self.ids + other.ids,
            np.concatenate([self.starts, other.starts + len(self.text)]),
            np.concatenate([self.ends, other.ends + len(self.text)]),
            np.concatenate([self.weights, other.weights]),
            self.notes + other.notes,
        )

    @classmethod
    def token(cls, token: int, weight: float) -> Draft:
        """One token that stands for no text."""
        nowhere = np.zeros(1, dtype=np.int64)
        return cls("", [token], nowhere, nowhere, np.array([weight], np.float32))


class Drafter:
    """Makes drafts with one tokenizer, and adds nothing to what stands in a text."""

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        self.tokenizer = tokenizer
        if tokenizer.post_processor and b'"trim_offsets":true' in tokenizer.post_processor.__getstate__():
            self.tokenizer = tokenizers.Tokenizer.from_str(tokenizer.to_str())
            self.tokenizer.post_processor = None  # it would take spaces away from the places of tokens
        self.added = {token: added.content for token, added in tokenizer.get_added_tokens_decoder().items()}
        self.added_pattern = any_of(self.added.values())
        self.guard = max(self.added.values(), key=len, default="")

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def draft(self, text: str) -> Draft:
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return Draft(text, encoding.ids, offsets[:, 0], offsets[:, 1], np.zeros(len(offsets), np.float32))

    def following(self, prompt: str, answer: str) -> Draft:
        """prompt + answer, whose first tokens are the prompt's own: where a token would straddle the border, it is split."""
        whole = self.draft(prompt + answer)
        if self.border(whole, len(prompt)) is not None:
            return whole
        return self.draft(prompt).then(self._continued(answer))

    def _continued(self, answer: str) -> Draft:
        """The tokens of a text that goes on from another: read behind an added token, where no space is put before it."""
        draft = self.draft(self.guard + answer)
        inside = draft.starts >= len(self.guard)
        ids = [token for token, kept in zip(draft.ids, inside, strict=True) if kept]
        starts, ends = draft.starts[inside] - len(self.guard), draft.ends[inside] - len(self.guard)
        return Draft(answer, ids, starts, ends, draft.weights[inside])

    def border(self, draft: Draft, at: int) -> int | None:
        """How many tokens of the draft are exactly the tokens of text[:at], or None where they are others.

        Added tokens split a text before anything else does, so only what stands behind the last of them is compared.
        """
        count = int(np.searchsorted(draft.starts, at))
        if count and draft.ends[:count].max() > at:
            return None
        anchor = next((i for i in range(count - 1, 0, -1) if draft.ids[i] in self.added), 0)
        begin = int(draft.starts[anchor]) if anchor else 0
        return count if self.encode(draft.text[begin:at]) == draft.ids[anchor:count] else None


def any_of(words: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern for any of these texts, the longest first; None without any."""
    ordered = sorted((word for word in words if word), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None
