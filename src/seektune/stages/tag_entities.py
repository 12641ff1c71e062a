"""Marks entities in texts by a token-classification model, such as one that objective `tag` has trained."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..contracts import Record, option
from ..errors import ModelError, problem
from ._texts import texts
from ._work import Work, seen, work_of

TOGETHER = 256  # records whose texts the model reads at once


@dataclass
class TagEntities:
    """Adds to the column `marks` what a tagger finds, as `recognise_entities` does; what is marked already stays as it is."""

    model: str = option(help="a tagger: a run, a folder or a hub id", probe=seen("other_tagger"))
    types: list[str] | None = option(None, "the types that are marked; all where left out", probe=seen(["place"]))
    column: str | None = option(None, "a field; all texts where left out", probe=seen("topic"))

    example: ClassVar[dict[str, Any]] = {"model": "tagger"}

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        work, stream = work_of(self), iter(records)
        engine = None
        while batch := list(itertools.islice(stream, TOGETHER)):
            engine = engine or open_tagger(self.model)
            yield from self._marked(batch, engine, work)

    def _marked(self, batch: list[Record], engine: Any, work: Work) -> Iterator[Record]:
        given = [(i, path, text) for i, record in enumerate(batch) for path, text in texts(record, self.column)]
        found: list[list[dict[str, Any]]] = [[] for _ in batch]
        for (i, path, text), spans in zip(given, engine.tag([{"text": text} for *_, text in given]), strict=True):
            taken = [m for m in batch[i].get("marks", []) if m["at"] == list(path)]
            found[i] += [
                {"at": list(path), "start": start, "end": end, "text": text[start:end], "type": type, "by": "model"}
                for start, end, type in spans
                if (self.types is None or type in self.types)
                and not any(start < mark["end"] and mark["start"] < end for mark in taken)
            ]
        for record, marks in zip(batch, found, strict=True):
            if not marks:
                work.keep()
                yield record
                continue
            made = record | {"marks": sorted([*record.get("marks", []), *marks], key=lambda m: (m["at"], m["start"]))}
            work.counts.figures.update(Counter(mark["type"] for mark in marks))
            work.change(record, made, "entities marked")
            yield made

    def report(self) -> dict[str, Any]:
        return work_of(self).report()


def open_tagger(model: str) -> Any:
    """The engine of a model that tags. Raises ModelError for one that does not."""
    from ..engine.opening import folder_of, head_of, open_engine

    head = head_of(folder_of(model))
    if head != "tagger":
        raise ModelError(problem(model, f"is a {head}", "a token-classification model", "train one with objective tag"))
    return open_engine(model)
