"""Keeps records of some languages, or writes down which language each is in.

Chinese, Japanese and Korean are told by their script; the other languages by lingua, out of 75 or out of `candidates`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..contracts import Record, option
from ._each import Outcome, run_each
from ._languages import language_of, script_of
from ._texts import text_of
from ._work import seen, work_of


def _several(value: Any) -> str | None:
    return "two codes at least, or none" if isinstance(value, list) and len(value) == 1 else None


@dataclass
class Language:
    """Detects the language of each record; counts them, keeps some, adds a column."""

    keep: list[str] = option(
        help="codes of ISO 639-1 such as zh, en; all where left out", probe=seen(["zh"]), factory=list
    )
    route: bool = option(False, "add a column `language`", probe=seen(True))
    candidates: list[str] = option(
        help="the languages that can occur; fewer are told apart better, and faster",
        probe=seen(["zh", "fr", "de"]),
        factory=list,
        check=_several,
    )
    accurate: bool = option(
        False,
        "lingua's larger models: better for short texts, slower, 900 MB for each process",
        probe=seen(True, candidates=["en", "cy", "ga", "sq"], column="label"),
    )
    script: bool = option(False, "tell simplified (zh-hans) and traditional (zh-hant) Chinese apart", probe=seen(True))
    column: str | None = option(None, "the field that is looked at; all texts where left out", probe=seen("label"))

    def each(self, record: Record) -> Outcome:
        code = self._code(text_of(record, self.column))
        figures = {f"language {code}": 1.0}
        if self.keep and code not in self.keep and code.partition("-")[0] not in self.keep:
            return Outcome(None, f"language {code}", figures=figures)
        if self.route:
            return Outcome(record | {"language": code}, "language added", figures=figures)
        return Outcome(record, figures=figures)

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        return run_each(self, records)

    def report(self) -> dict[str, Any]:
        return work_of(self).report()

    def _code(self, text: str) -> str:
        code = language_of(text, tuple(self.candidates), self.accurate)
        return script_of(text) if code == "zh" and self.script else code
