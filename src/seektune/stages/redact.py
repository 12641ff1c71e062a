"""Replaces what identifies a person: emails, telephone, identity, card and account numbers, addresses of machines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ..contracts import Record, option
from ._each import Outcome, run_each
from ._private import FINDERS, Match, matches
from ._texts import Path, replaced, texts
from ._work import seen, work_of

KINDS = ["email", "phone", "id", "card", "iban", "ip"]
_held = re.compile(r"<([A-Z]+)_(\d{1,6})>")


def _known(value: Any) -> str | None:
    return None if value and set(value) <= set(FINDERS) else "some of " + ", ".join(FINDERS)


@dataclass
class Redact:
    """Puts a placeholder where a text names a person's address or number; the same value has the same one in a record."""

    kinds: list[str] = option(
        help="what is looked for: email, phone, id, card, iban, ip, passport",
        probe=seen(["phone"]),
        factory=KINDS.copy,
        check=_known,
    )
    style: Literal["placeholder", "mask", "remove"] = option(
        "placeholder",
        "placeholder: <EMAIL_1>; mask: a star for each letter and digit; remove: nothing",
        probe=seen("mask"),
    )
    column: str | None = option(None, "a field; all texts where left out", probe=seen("topic"))

    def each(self, record: Record) -> Outcome:
        names, made, figures = _Names(record, self.column), dict[Path, str](), Counter[str]()
        for path, text in texts(record, self.column):
            found = matches(text, self.kinds)
            figures.update(f"{m.kind}" if m.valid else f"{m.kind} with a wrong check digit, left" for m in found)
            valid = [match for match in found if match.valid]
            if valid:
                made[path] = self._without(text, valid, names)
        if not made:
            return Outcome(record, figures=dict(figures))
        reason = " + ".join(sorted(kind for kind in figures if kind in FINDERS))
        return Outcome(replaced(record, made), reason, figures=dict(figures))

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        return run_each(self, records)

    def report(self) -> dict[str, Any]:
        return work_of(self).report()

    def _without(self, text: str, found: list[Match], names: _Names) -> str:
        parts, at = [], 0
        for match in found:
            parts += [text[at : match.start], self._instead(text[match.start : match.end], match, names)]
            at = match.end
        return "".join([*parts, text[at:]])

    def _instead(self, words: str, match: Match, names: _Names) -> str:
        if self.style == "placeholder":
            return names.of(match)
        return re.sub("[0-9A-Za-z]", "*", words) if self.style == "mask" else ""


class _Names:
    """Placeholders of one record, numbered by kind; goes on behind those that stand there already."""

    def __init__(self, record: Record, column: str | None):
        self._of: dict[tuple[str, str], str] = {}
        self._last = Counter[str]()
        for _, text in texts(record, column):
            for kind, number in _held.findall(text):
                self._last[kind] = max(self._last[kind], int(number))

    def of(self, match: Match) -> str:
        key = (match.kind, match.value)
        if key not in self._of:
            self._last[match.kind.upper()] += 1
            self._of[key] = f"<{match.kind.upper()}_{self._last[match.kind.upper()]}>"
        return self._of[key]
