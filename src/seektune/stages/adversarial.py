"""Adds records that a classifier gets wrong although they read like ones that it gets right: a few words are others.

Found by gradient ascent on the input embedding, led back to real words (stages/_attack.py). They keep the label of the text
that they were made from; to learn from them is adversarial training with whole words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..contracts import Record, above, at_least, between, option
from ..errors import DataError, problem
from ._edits import MARK
from ._texts import is_answer, label_of, replaced, texts
from ._work import place_of, seen, work_of


@dataclass
class Adversarial:
    """What the model already gets wrong is kept and not attacked. Labels, numbers, names, code and placeholders stay."""

    copies_records: ClassVar[bool] = True
    example: ClassVar[dict[str, Any]] = {"model": "judging"}

    model: str = option(help="the classifier: a folder or a run", probe=seen("other_judging"))
    epsilon: float = option(
        0.1, "length of a step, as a share of the length of the text's embedding", probe=seen(0.9), check=above(0)
    )
    steps: int = option(5, "steps up the loss", probe=seen(1, epsilon=0.5), check=at_least(1))
    changed: float = option(
        0.2,
        "most words that are others, as a share of those that may be changed (one at least)",
        probe=seen(0.9),
        check=between(0, 1),
    )
    distance: float = option(
        0.2,
        "furthest that the mean embedding of the text may move, as a cosine distance",
        probe=seen(0.001),
        check=between(0, 2),
    )
    keep: list[str] = option(
        help="names and terms that stay as they are", probe=seen(["What", "did", "say", "about"]), factory=list
    )
    column: str | None = option(
        None, "the field that is read; the first text that is no answer where left out", probe=seen("topic")
    )

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        from ._attack import changed_at, opened

        work = work_of(self)
        work.facts.update(attacked=0, flipped=0, wrong_already=0, without_label=0)
        for record in records:
            work.keep()
            yield record
            attack = opened(self.model, changed_at(self.model))
            made = self._against(attack, record, work.facts)
            if made is not None:
                work.add(made, f"taken for {made['answered']}")
                yield made

    def _against(self, attack: Any, record: Record, facts: dict[str, Any]) -> Record | None:
        """The changed record, marked, with what the model answers; None where none was found."""
        label = label_of(record)
        read = next(((p, text) for p, text in texts(record, self.column) if not is_answer(record, p)), None)
        if label is None or read is None:
            facts["without_label"] += 1
            return None
        if label not in attack.engine.labels:
            known = ", ".join(attack.engine.labels[:20])
            raise DataError(
                problem(place_of(record), f"label {label!r}, which {self.model} does not have", f"one of {known}")
            )
        (path, text), pair = read, record.get("text_pair")
        if attack.answer([text], pair) != [label]:
            facts["wrong_already"] += 1
            return None
        facts["attacked"] += 1
        found = attack.against(
            text,
            pair,
            label,
            epsilon=self.epsilon,
            steps=self.steps,
            changed=self.changed,
            distance=self.distance,
            keep=self.keep,
        )
        if found is None:
            return None
        facts["flipped"] += 1
        marks = {
            MARK: "adversarial",
            "answered": found.answer,
            "words_changed": found.changed,
            "distance": round(found.distance, 4),
        }
        return replaced(record, {path: found.text}) | marks

    def report(self) -> dict[str, Any]:
        """`flipped` of the `attacked` (those that the model had right) have an adversarial neighbour within the bounds."""
        return work_of(self).report()
