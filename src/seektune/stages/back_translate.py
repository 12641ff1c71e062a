"""Translates texts back into the language that a model shall learn to translate from, and so makes parallel records of plain text.

Sennrich, Haddow & Birch 2016 (arXiv:1511.06709): the side that is learnt stays as people wrote it, the model's own mistakes stand
in what is read only. A tag in front of made texts (Caswell et al. 2019, arXiv:1906.06442) lets the model tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..contracts import Record, at_least, between, option
from ._synthetic import Making
from ._translate import check_prompt, translator
from ._work import seen, work_of


@dataclass
class BackTranslate:
    """Adds to each record a pair whose one side is its text and whose other side a model has written."""

    model: str = option(
        help="translates the text: a folder, a run, a hub id, base:tiny, or http://host/v1#name",
        probe=seen("other_translator"),
    )
    column: str | None = option(
        None, "the text that stays; left out: the last answer of a conversation, or `text`", probe=seen("topic")
    )
    into: str | None = option(
        None, "the column of what is made; left out: the last question of a conversation", probe=seen("made")
    )
    from_language: str = option("", "language of the text, as the model knows it (English, eng_Latn)",
                                probe=seen("Chinese", to_language="English"))  # fmt: skip
    to_language: str = option("", "language that is made", probe=seen("English", from_language="Chinese"))
    prompt: str | None = option(
        None, "what the model is asked, with {text}, {source} and {target}, or Jinja", probe=seen("{text} ="),
        check=check_prompt,
    )  # fmt: skip
    round_trip: str | None = option(None, "a model for the way back; what does not return is not taken",
                                    probe=seen("other_translator"))  # fmt: skip
    least: float = option(
        40.0, "lowest chrF between a text and its return, 0 to 100", check=between(0, 100),
        probe=seen(0.0, round_trip="other_translator"),
    )  # fmt: skip
    ratio: float = option(3.0, "most words of one side to those of the other", probe=seen(1.0), check=at_least(1))
    most: int = option(2000, "characters; longer texts are not translated", probe=seen(45), check=at_least(1))
    missing: bool = option(False, "only texts whose other side is missing are translated", probe=seen(True))
    tag: str = option("", "put in front of what was made, such as '<made> '", probe=seen("<made> "))
    max_new_tokens: int = option(256, "longest translation, in tokens", probe=seen(3), check=at_least(1))
    temperature: float = option(
        0.0, "0 takes the likeliest; above, translations are drawn and differ more", probe=seen(2.0), check=at_least(0)
    )

    example: ClassVar[dict[str, Any]] = {"model": "translator"}

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        work = work_of(self)
        settings: dict[str, Any] = {"max_new_tokens": self.max_new_tokens, "temperature": self.temperature}
        there = translator(
            self.model, work, prompt=self.prompt, source=self.from_language, target=self.to_language, **settings
        )
        settings["temperature"] = 0.0  # the way back measures: nothing is drawn
        back = [translator(self.round_trip, work, prompt=self.prompt, source=self.to_language, target=self.from_language,
                           **settings)] if self.round_trip else []  # fmt: skip
        making = Making("back_translate", work, [there], back, self.column, self.into, self.least, self.ratio, self.most,
                        self.tag, self.missing)  # fmt: skip
        return making.run(records)

    def report(self) -> dict[str, Any]:
        return work_of(self).report()
