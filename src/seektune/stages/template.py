"""Makes conversations of free columns: prompts in Jinja with named fields, with examples drawn from the data in front."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..contracts import Record, at_least, option
from ..data.options import Input
from ..data.readers import Unfit
from ..data.stream import Found, stream
from ..errors import DataError, RecipeError, problem
from ._prompts import Unfilled, fields_of, filled, wrong_syntax
from ._spool import spool
from ._work import bare, random_of, seen, whole_digest, work_of

SHAPING = ("text", "text_pair", "spans", "chosen", "rejected", "prompt", "system")
"""Columns by which a reader would take the record for another shape than `messages`; they go under `fields`."""
TRIES = 50  # records looked at for each shot, where most have the same user turn or lack a field


@dataclass
class Template:
    """`messages` from templates for each turn; `shots` other records stand in front as turns that are read, not learnt."""

    user: str = option(
        help="template of the user's turn, such as 'Ticket: {{ subject }}'",
        probe=seen("{{ label }}?"),
        check=wrong_syntax,
    )
    answer: str | None = option(
        None, "template of the answer; left out, the records are prompts", probe=seen("{{ label }}"), check=wrong_syntax
    )
    system: str | None = option(
        None, "template of the system turn", probe=seen("You know {{ topic }}."), check=wrong_syntax
    )
    shots: int = option(0, "examples in front of each record", probe=seen(2, answer="{{ label }}"), check=at_least(0))
    examples: str | None = option(
        None, "a file that examples are drawn from; the data itself where left out",
        probe=seen("shots.jsonl", answer="{{ label }}", shots=1, user="{{ topic }}"),
    )  # fmt: skip

    example: ClassVar[dict[str, Any]] = {"user": "About {{ topic }}: {{ messages[0].content }}"}

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        work = work_of(self)
        self._check()
        drawn_from: Sequence[Record] = []
        if self.examples is not None:
            drawn_from = self._read(self.examples)
        elif self.shots:
            records = drawn_from = spool(records, work)
        for record in records:
            try:
                made = self._made(record, self._turns(record, drawn_from))
            except Unfilled as reason:
                work.drop(record, str(reason))
                continue
            work.change(record, made, "made of a template")
            yield made

    def report(self) -> dict[str, Any]:
        return work_of(self).report()

    def _check(self) -> None:
        if self.shots and self.answer is None:
            raise RecipeError(
                problem("template", f"{self.shots} shots without answers", "answer: a template", "or shots: 0")
            )
        if self.examples is not None and not self.shots:
            raise RecipeError(problem("template", "examples that nothing is drawn from", "shots: 1 or more"))

    def _read(self, path: str) -> list[Record]:
        """The records of the file that fill both templates."""
        found, unfit = list[Record](), ""
        for place, row in stream([Input(path=path)], Found()):
            if isinstance(row, Unfit):
                raise DataError(row.line(place))
            try:
                self._pair(row)
                found.append(row)
            except Unfilled as reason:
                unfit = unfit or problem(place, str(reason))
        if not found:
            raise DataError(unfit or problem(path, "no record", "examples"))
        return found

    def _turns(self, record: Record, drawn_from: Sequence[Record]) -> list[Record]:
        """The turns of the examples of one record; their answers are not learnt."""
        turns = list[Record]()
        for shot in self._drawn(record, drawn_from) if self.shots else ():
            asked, answered = self._pair(shot)
            turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered, "train": False}]
        return turns

    def _drawn(self, record: Record, drawn_from: Sequence[Record]) -> Iterator[Record]:
        """`shots` records in an order that follows from seed and record: none equal to it, none that lacks a field, none twice."""
        draw, most = random_of(work_of(self).seed, record), min(len(drawn_from), TRIES * self.shots)
        taken, tried = {self._pair(record)[0]}, set[int]()
        while len(taken) <= self.shots and len(tried) < most:
            number = int(draw.integers(len(drawn_from)))
            if number in tried:
                continue
            tried.add(number)
            shot = drawn_from[number]
            asked = self._asked(shot)
            if asked is not None and asked not in taken and whole_digest(shot) != whole_digest(record):
                taken.add(asked)
                yield shot
        if len(taken) <= self.shots:
            raise Unfilled(f"fewer than {self.shots} other records for its examples")

    def _asked(self, record: Record) -> str | None:
        """The user's turn, by which records are told apart; None where a field is missing."""
        try:
            return self._pair(record)[0]
        except Unfilled:
            return None

    def _pair(self, record: Record) -> tuple[str, str]:
        fields = fields_of(record)
        return filled(self.user, fields), filled(self.answer or "", fields)

    def _made(self, record: Record, shots: list[Record]) -> Record:
        fields = fields_of(record)
        turns = [{"role": "system", "content": filled(self.system, fields)}] if self.system is not None else []
        turns += [*shots, {"role": "user", "content": filled(self.user, fields)}]
        if self.answer is not None:
            turns.append({"role": "assistant", "content": filled(self.answer, fields)})
        if empty := [turn["role"] for turn in turns if not str(turn["content"]).strip()]:
            raise Unfilled(f"an empty {empty[0]} turn")
        moved = {key: value for key, value in bare(record).items() if key in SHAPING}
        held = {key: value for key, value in record.items() if key not in SHAPING}
        return held | {"messages": turns} | ({"fields": moved} if moved else {})
