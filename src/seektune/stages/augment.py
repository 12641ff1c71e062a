"""Adds changed copies of records: synonyms, inserted, swapped and left out words; or changes each record anew in every epoch.

The four changes are those of Wei and Zou (2019, EDA). Labels, answers, numbers, names, code, addresses and placeholders stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..contracts import Record, at_least, between, option
from ._each import Outcome, run_each
from ._edits import MARK, Piece, joined, pieces
from ._synonyms import Synonyms, synonyms
from ._texts import is_answer, replaced, texts
from ._words import is_han
from ._work import generator, seen, whole_digest, work_of

TABLE = {"table": "synonyms.csv"}


@dataclass
class Augment:
    """Shares are of the words that may be changed. What is asked of a model is changed, what it should answer never."""

    copies_records: ClassVar[bool] = True

    table: str | None = option(
        None, "synonyms of your own: .csv, .tsv or .jsonl", probe=seen("other_synonyms.jsonl", table="synonyms.csv")
    )
    model: str | None = option(
        None,
        "takes synonyms from the nearest words in its embedding, where no table is given: a folder or base:tiny",
        probe=seen("base:tiny"),
    )
    synonyms: float = option(0.2, "share of words replaced by a synonym", probe=seen(0.9, **TABLE), check=between(0, 1))
    insert: float = option(
        0.1, "share of words behind which a synonym of one of the text is put, or a word of the text where there is none",
        probe=seen(0.9), check=between(0, 1),
    )  # fmt: skip
    swap: float = option(0.05, "share of words that change places with the next", probe=seen(0.9), check=between(0, 1))
    delete: float = option(0.0, "share of words left out", probe=seen(0.5), check=between(0, 1))
    copies: int = option(1, "changed copies of each record", probe=seen(2), check=at_least(1))
    keep: list[str] = option(
        help="names and terms that stay as they are", probe=seen(["river", "say", "went"]), factory=list
    )
    column: str | None = option(None, "a field; all texts that are no answers where left out", probe=seen("topic"))
    per_epoch: bool = option(
        False, "in a recipe: no copies; the records themselves are changed, anew in each epoch", probe=seen(True)
    )

    def each(self, record: Record) -> Outcome:
        if self.per_epoch:
            return Outcome(record)
        made = list[Record]()
        for number in range(self.copies):
            copy = self.changed(record, (work_of(self).seed, number))
            if copy is not record and all(copy != other for other in made):
                made.append(copy)
        figures = {"copies that would have been equal": self.copies - len(made)} if len(made) < self.copies else {}
        return Outcome(record, "changed copy", more=[copy | {MARK: "augment"} for copy in made], figures=dict(figures))

    def in_epoch(self, seed: Any) -> Any:
        """(record, epoch) -> the record as the epoch has it."""
        return _InEpoch(self, seed)

    def changed(self, record: Record, seed: Any) -> Record:
        """A copy with changed texts, the same from the same seed; the record itself where nothing could be changed."""
        if record.get("spans") is not None or isinstance(record.get("label"), dict) or "tags" in record:
            return record  # positions in the text are part of what is learnt
        random = generator(seed, whole_digest(record))
        source = synonyms(self.table, self.model)
        made = {
            path: new
            for path, text in texts(record, self.column)
            if not is_answer(record, path) and (new := self._text(text, source, random)) != text
        }
        return replaced(record, made) if made else record

    def _text(self, text: str, source: Synonyms | None, random: np.random.Generator) -> str:
        found, tail = pieces(text, self.keep)
        free = [piece for piece in found if piece.free]
        if not free:
            return text
        known = [(piece, others) for piece in free if (others := source.of(piece.text))] if source else []
        inserts = [(piece, _inserted(random, known, free)) for piece in _chosen(random, free, free, self.insert)]
        for piece, others in _chosen(random, known, free, self.synonyms):
            piece.text = _cased(others[random.integers(len(others))], piece.text)
        for piece, word in inserts:
            piece.text += (" " if not is_han(piece.text[-1]) or not is_han(word) else "") + word
        for first, second in _chosen(random, _neighbours(found), free, self.swap):
            first.text, second.text = second.text, first.text
        if len(free) > 1:
            for piece in _chosen(random, free, free, self.delete)[: len(free) - 1]:
                piece.gap, piece.text = _closed_gap(piece), ""
        return joined(found, tail)

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        return run_each(self, records)

    def report(self) -> dict[str, Any]:
        work = work_of(self)
        work.facts["synonyms_from"] = (
            self.table or self.model or "nothing: no table and no model, so no word was replaced"
        )
        if self.per_epoch:
            work.facts["per_epoch"] = "the records are changed while they are learnt, not here"
        return work.report()


@dataclass
class _InEpoch:
    stage: Augment
    seed: Any

    def __call__(self, record: Record, epoch: int) -> Record:
        return self.stage.changed(record, (self.seed, epoch))


def _chosen(random: np.random.Generator, among: list[Any], of: list[Any], share: float) -> list[Any]:
    """About `share` of the words `of`, taken from `among`: rounded up or down by chance, so that it holds on the mean."""
    count = min(int(share * len(of) + random.random()), len(among))
    return [among[i] for i in random.choice(len(among), count, replace=False).tolist()] if count else []


def _inserted(random: np.random.Generator, known: list[tuple[Piece, list[str]]], free: list[Piece]) -> str:
    if not known:
        return free[random.integers(len(free))].text.lower()
    others = known[random.integers(len(known))][1]
    return others[random.integers(len(others))]


def _cased(word: str, like: str) -> str:
    return word[0].upper() + word[1:] if like[0].isupper() else word


def _neighbours(found: list[Piece]) -> list[tuple[Piece, Piece]]:
    """Words with nothing but space between them; each belongs to one pair."""
    pairs, at = [], 0
    while at + 1 < len(found):
        one, two = found[at], found[at + 1]
        near = one.free and two.free and not two.gap.strip() and "\n" not in two.gap
        if near:
            pairs.append((one, two))
        at += 2 if near else 1
    return pairs


def _closed_gap(piece: Piece) -> str:
    """What is left before a word that goes: line breaks stay, the space before it goes with it."""
    return piece.gap.rstrip(" ")
