"""Pairs made by translating: the text of a record stays as people wrote it, its other side is a model's, kept where filters let it.

Where a record had both sides, the made pair is added behind it; where it had the text alone, it becomes the pair, and goes where
no translation was fit.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..contracts import Record
from ._need import need
from ._pairs import answer_of, question_of, with_question
from ._translate import Translator
from ._words import words
from ._work import EXAMPLES, Work, place_of, shortened

TOGETHER = 256  # records between two calls of a model
NOTHING = "no text to translate"
MARK = "synthetic"  # the column that names the stage which made a record


@dataclass
class Making:
    """What is made of records, and of which quality. `there` are the steps from the text to its other side, `back` the way back."""

    kind: str
    work: Work
    there: Sequence[Translator]
    back: Sequence[Translator] = ()
    column: str | None = None
    into: str | None = None
    least: float = 0.0  # chrF of the round trip, 0 to 100
    ratio: float = 3.0  # words of the longer side to the shorter
    most: int = 2000  # characters
    tag: str = ""
    missing: bool = False  # only records without the other side
    refused: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    chrf: list[float] = field(default_factory=lambda: [0.0, 0])  # sum, count
    tried: int = 0

    def run(self, records: Iterable[Record]) -> Iterator[Record]:
        stream = iter(records)
        while part := list(itertools.islice(stream, TOGETHER)):
            yield from self._part(part)
        self.work.facts["translations"] = self._facts()

    def _part(self, records: list[Record]) -> Iterator[Record]:
        looked = [self._text(record) for record in records]
        fit = [text for text, reason in looked if not reason]
        made = _through(self.there, fit)
        again = _through(self.back, made)
        found = iter(zip(fit, made, again, strict=True))
        for record, (_, reason) in zip(records, looked, strict=True):
            yield from self._left(record, reason) if reason else self._judged(record, *next(found))

    def _text(self, record: Record) -> tuple[str, str]:
        """(text, why it is not translated)."""
        text = answer_of(record, self.column)
        if text is None:
            return "", NOTHING
        if self.missing and self._whole(record):
            return text, "has both sides"
        return text, f"longer than {self.most} characters" if len(text) > self.most else ""

    def _judged(self, record: Record, text: str, made: str | None, again: str | None) -> Iterator[Record]:
        self.tried += 1
        reason, detail = self._unfit(text, made, again)
        if reason or made is None:
            if len(self.examples) < EXAMPLES:
                shown = {"where": place_of(record), "reason": reason, "detail": detail, "text": text, "made": made}
                self.examples.append(shortened(shown | ({"again": again} if self.back else {})))
            yield from self._left(record, reason, detail)
            return
        pair = with_question(record, self.into, self.tag + made, text) | {MARK: self.kind}
        if self._whole(record):
            self.work.keep()
            yield record
            self.work.add(pair, "translated")
        else:
            self.work.change(record, pair, "translated")
        yield pair

    def _left(self, record: Record, reason: str, detail: str = "") -> Iterator[Record]:
        """A record of which no pair was made: it stays where it is one already."""
        self.refused[reason] += 1
        if self._whole(record) or reason == NOTHING:
            self.work.keep()
            yield record
        else:
            self.work.drop(record, reason, detail)

    def _whole(self, record: Record) -> bool:
        return question_of(record, self.into) is not None

    def _unfit(self, text: str, made: str | None, again: str | None) -> tuple[str, str]:
        """(reason, detail) why a translation is not taken; empty where it is."""
        if made is None:
            return "longer than the model takes", ""
        if not made:
            return "an empty translation", ""
        if made.casefold() == text.strip().casefold():
            return "the translation repeats the text", ""
        there, here = len(words(made)) or 1, len(words(text)) or 1
        if max(there, here) > self.ratio * min(there, here):
            return f"one side has over {self.ratio:g} times the words", f"{here} to {there}"
        if not self.back:
            return "", ""
        score = chrf(again or "", text)
        self.chrf[0] += score
        self.chrf[1] += 1
        return ("the way back differs", f"chrF {score:.1f} below {self.least:g}") if score < self.least else ("", "")

    def _facts(self) -> dict[str, Any]:
        asked = [step.answers.asked for step in [*self.there, *self.back]]
        total, count = self.chrf
        facts = {"translated": self.tried, "asked": sum(asked), "refused": dict(self.refused.most_common()),
                 "refused_examples": self.examples}  # fmt: skip
        return facts | ({"round_trip_chrf": round(total / count, 2)} if count else {})


def chrf(found: str, expected: str) -> float:
    """chrF2 of one sentence, 0 to 100 (Popović 2015: n-grams of up to 6 characters, recall weighs twice)."""
    return float(need("sacrebleu", "the round-trip filter").sentence_chrf(found, [expected]).score)


def _through(steps: Sequence[Translator], texts: Sequence[str | None]) -> list[str | None]:
    """What is empty, or was too long for a step, is not handed on."""
    made = list(texts)
    for step in steps:
        some = iter(step.translate([text for text in made if text]))
        made = [next(some) if text else text for text in made]
    return made
