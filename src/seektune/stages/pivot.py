"""Translates texts through a third language, where no model for the two languages is at hand but one for each half of the way.

De Gispert & Mariño 2006 (bridging by a language in between); the same filters as those of `back_translate` stand at the end.
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
class Pivot:
    """Adds to each record a pair whose one side is its text and whose other side came by way of a third language."""

    model: str = option(
        help="from the text's language into the third: a folder, a run, a hub id, base:tiny, or http://host/v1#name",
        probe=seen("other_translator"),
    )
    onward: str = option(help="from the third language on, named likewise", probe=seen("translator"))
    column: str | None = option(
        None, "the text that stays; left out: the last answer of a conversation, or `text`", probe=seen("topic")
    )
    into: str | None = option(
        None, "the column of what is made; left out: the last question of a conversation", probe=seen("made")
    )
    from_language: str = option("", "language of the text, as the model knows it",
                                probe=seen("Swahili", through="English", to_language="Chinese"))  # fmt: skip
    through: str = option(
        "", "the third language", probe=seen("English", from_language="Swahili", to_language="Chinese")
    )
    to_language: str = option(
        "", "language that is made", probe=seen("Chinese", from_language="Swahili", through="English")
    )
    prompt: str | None = option(
        None, "what both models are asked, with {text}, {source} and {target}, or Jinja", probe=seen("{text} ="),
        check=check_prompt,
    )  # fmt: skip
    round_trip: str | None = option(None, "a model for the whole way back; what does not return is not taken",
                                    probe=seen("translator"))  # fmt: skip
    least: float = option(
        30.0, "lowest chrF between a text and its return, 0 to 100", check=between(0, 100),
        probe=seen(0.0, round_trip="translator"),
    )  # fmt: skip
    ratio: float = option(3.0, "most words of one side to those of the other", probe=seen(1.0), check=at_least(1))
    most: int = option(2000, "characters; longer texts are not translated", probe=seen(45), check=at_least(1))
    missing: bool = option(False, "only texts whose other side is missing are translated", probe=seen(True))
    max_new_tokens: int = option(256, "longest translation of a step, in tokens", probe=seen(3), check=at_least(1))

    example: ClassVar[dict[str, Any]] = {"model": "translator", "onward": "other_translator"}

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        work = work_of(self)

        def step(model: str, source: str, target: str) -> Any:
            return translator(
                model, work, prompt=self.prompt, source=source, target=target, max_new_tokens=self.max_new_tokens
            )

        there = [step(self.model, self.from_language, self.through), step(self.onward, self.through, self.to_language)]
        back = [step(self.round_trip, self.to_language, self.from_language)] if self.round_trip else []
        making = Making("pivot", work, there, back, self.column, self.into, self.least, self.ratio, self.most,
                        missing=self.missing)  # fmt: skip
        return making.run(records)

    def report(self) -> dict[str, Any]:
        return work_of(self).report()
