"""Replaces words by their translations from a bilingual lexicon, which is given or learnt from the parallel records themselves.

Mixed texts pull the words of two languages together (Qin et al. 2020, CoSDA-ML, arXiv:2006.06402). Learning is IBM model 1 in
both directions (_ibm1.py); numbers, signs and words that the lexicon lacks stay.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Record, at_least, between, option
from ..errors import DataError, problem
from . import _ibm1
from ._pairs import answer_of, question_of, with_question
from ._spool import spool
from ._synthetic import MARK
from ._words import is_han, spans, words
from ._work import Work, random_of, seen, work_of

Entries = dict[str, list[tuple[str, float]]]  # word in small letters -> [(translation, weight)]
SHOWN = 10  # entries in the report


@dataclass
class CodeSwitch:
    """Adds to each record one whose question (or column) has a share of its words in the other language."""

    lexicon: str | None = option(
        None,
        "lines of word, tab, translation (and weight); learnt from the records where left out",
        probe=seen("lexicon.tsv"),
    )
    share: float = option(
        0.2, "of the words that are replaced", probe=seen(0.9, lexicon="lexicon.tsv"), check=between(0, 1)
    )
    column: str | None = option(
        None, "the text whose words are replaced; left out: the last question of a conversation", probe=seen("topic")
    )
    other: str | None = option(
        None, "its translation, to learn from; left out: the last answer, or `text`", probe=seen("topic", share=0.9)
    )
    keep: bool = option(True, "the record stays beside the switched one; false: it is changed", probe=seen(False))
    pairs: int = option(20_000, "records that are learnt from at most", probe=seen(6, share=0.9), check=at_least(1))
    iterations: int = option(5, "of expectation-maximisation", probe=seen(1, share=0.9), check=at_least(1))
    count: int = option(2, "times that two words have to be linked", probe=seen(40, share=0.9), check=at_least(1))
    probability: float = option(
        0.3,
        "least share of a word's places that are linked to a translation",
        probe=seen(0.9, share=0.9, pairs=10),
        check=between(0, 1),
    )

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        work = work_of(self)
        if self.lexicon is not None:
            entries = read_lexicon(Path(self.lexicon), work)
        else:
            records = spool(records, work)
            entries = self._learnt(records, work)
        work.facts["lexicon"] = len(entries)
        work.facts["entries"] = {word: to[0][0] for word, to in itertools.islice(entries.items(), SHOWN)}
        return self._switched(records, entries, work)

    def _learnt(self, records: Sequence[Record], work: Work) -> Entries:
        found = _ibm1.learn(
            itertools.islice(self._parallel(records), self.pairs),
            iterations=self.iterations, count=self.count, probability=self.probability,
        )  # fmt: skip
        work.facts |= {"agreement": round(found.agreement, 4), "learnt_from": found.records}
        spoken = {word: entries for word, entries in found.entries.items() if not _has_digit(word)}
        told = {
            word: [(to, p) for to, p in entries if to != word and not _has_digit(to)]
            for word, entries in spoken.items()
        }
        return {word: entries for word, entries in told.items() if entries}

    def _parallel(self, records: Iterable[Record]) -> Iterator[tuple[list[str], list[str]]]:
        for record in records:
            text, other = question_of(record, self.column), answer_of(record, self.other)
            if text is not None and other is not None:
                yield [word.lower() for word in words(text)], [word.lower() for word in words(other)]

    def _switched(self, records: Iterable[Record], entries: Entries, work: Work) -> Iterator[Record]:
        replaced = 0
        for record in records:
            text = question_of(record, self.column)
            made, count = switched(text or "", entries, self.share, random_of(work.seed, record))
            replaced += count
            after = with_question(record, self.column, made) | {MARK: "code_switch"} if count else record
            if count and not self.keep:
                work.change(record, after, "words of the other language")
                yield after
                continue
            work.keep()
            yield record
            if count:
                work.add(after, "words of the other language")
                yield after
        work.facts["words_replaced"] = replaced

    def report(self) -> dict[str, Any]:
        return work_of(self).report()


def switched(text: str, entries: Entries, share: float, random: np.random.Generator) -> tuple[str, int]:
    """The text with about `share` of its words replaced, and how many. Of the words that the lexicon knows some are drawn."""
    found = spans(text)
    spoken = [(a, b) for a, b, kind in found if kind == "word"]
    known = [(a, b) for a, b in spoken if text[a:b].lower() in entries]
    count = min(len(known), int(share * len(spoken) + random.random()))
    chosen = sorted(random.choice(len(known), count, replace=False).tolist()) if count else []
    made, at = "", 0
    for i in chosen:
        a, b = known[i]
        made += text[at:a]
        made += _spaced(_like(text[a:b], _drawn(entries[text[a:b].lower()], random)), made[-1:], text[b : b + 1])
        at = b
    return made + text[at:], len(chosen)


def read_lexicon(path: Path, work: Work) -> Entries:
    """Word, tab, translation, and perhaps a weight; empty lines and those that begin with # are passed by. Raises DataError."""
    entries: Entries = {}
    problems, several = [], 0
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(problem(str(path), f"cannot be read ({error})", "a lexicon in UTF-8")) from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            word, to, weight = _entry(line)
        except ValueError as error:
            problems.append(problem(f"{path}:{number}", str(error), "word, tab, translation, and perhaps a weight"))
            continue
        several += len(words(word)) != 1
        entries.setdefault(word.lower(), []).append((to, weight))
    if problems:
        raise DataError(problems[:20])
    if several:
        work.facts["entries_of_several_words"] = several  # are never met: texts are looked at word by word
    if not entries:
        raise DataError(problem(str(path), "holds no entry", "word, tab, translation"))
    return entries


def _entry(line: str) -> tuple[str, str, float]:
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) not in (2, 3) or not cells[0] or not cells[1]:
        raise ValueError(f"found {line.strip()[:60]!r}")
    weight = float(cells[2]) if len(cells) == 3 else 1.0
    if not 0 < weight < float("inf"):
        raise ValueError(f"a weight of {cells[2]}")
    return cells[0], cells[1], weight


def _has_digit(word: str) -> bool:
    return any(map(str.isdigit, word))


def _drawn(entries: list[tuple[str, float]], random: np.random.Generator) -> str:
    weights = np.array([weight for _, weight in entries])
    return entries[int(random.choice(len(entries), p=weights / weights.sum()))][0]


def _like(word: str, to: str) -> str:
    """As large as the word that it stands for; lone capitals are no sign."""
    if len(word) > 1 and word.isupper():
        return to.upper()
    return to[:1].upper() + to[1:] if word[:1].isupper() else to


def _spaced(to: str, before: str, after: str) -> str:
    """Chinese stands without spaces; a word of letters beside it does not run into it."""

    def touches(edge: str, neighbour: str) -> bool:
        return neighbour.isalnum() and not (is_han(edge) and is_han(neighbour))

    return (" " if touches(to[0], before) else "") + to + (" " if touches(to[-1], after) else "")
