"""Runs measures on an engine: what several of them ask for is generated, scored or classified once; every figure gets
its interval; the answers are kept, record by record, so that two evaluations can be compared later.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import kinds
from ..contracts import Answer, Engine, Measure, Record
from ..errors import RecipeError, problem
from .measures import _records
from .significance import Pool, intervals, mean_of

Show = Callable[[int, int], None]  # (done, all)


@dataclass
class Report:
    """What an evaluation found."""

    scores: dict[str, dict[str, Any]] = field(default_factory=dict)  # name -> {value, low, high, n}
    values: dict[str, list[Any]] = field(default_factory=dict)  # name -> one value a record, None where it asks nothing
    answers: list[dict[str, Any]] = field(default_factory=list)  # {prompt, reference, answer, stopped} of each record
    measures: list[dict[str, Any]] = field(default_factory=list)  # as a recipe writes them
    columns: list[list[str]] = field(default_factory=list)  # which of `values` each measure gave


def evaluate(
    engine: Engine, records: Sequence[Record], measures: Sequence[Measure], show: Show | None = None
) -> Report:
    """All measures on all records. Raises DataError where the records cannot be measured so, RecipeError for name clashes."""
    shared = Shared(engine, show)
    report = Report(measures=[kinds.spec("evaluate", measure) for measure in measures])
    for measure in measures:
        found = measure.measure(shared, records)
        if clash := sorted(set(found) & set(report.scores)):
            raise RecipeError(problem("evaluate", f"two measures give {clash[0]!r}", "one of each name"))
        lists = {name: values for name, values in found.items() if isinstance(values, list)}
        report.values |= lists
        report.columns.append(list(lists))
        report.scores |= scores_of(measure, lists, len(records))
        report.scores |= {
            name: _score(value, math.nan, math.nan, len(records), 0)
            for name, value in found.items()
            if name not in lists
        }
    report.answers = [_line(record, shared, i) for i, record in enumerate(records)]
    return report


def pools(measure: Any, values: dict[str, list[Any]]) -> list[Pool]:
    """The figures behind per-record values (none of them None): the measure's own `figures`, or the mean of each list."""
    if hasattr(measure, "figures"):
        return list(measure.figures(values))
    return [mean_of(name, numbers) for name, numbers in values.items()]


def scores_of(measure: Any, values: dict[str, list[Any]], records: int) -> dict[str, dict[str, Any]]:
    """{name: {value, low, high, n}} of per-record values; records that a measure cannot ask are told as `skipped`."""
    told = {name: [value for value in column if value is not None] for name, column in values.items()}
    found = {}
    for pool in pools(measure, told) if told else []:
        for name, value, (low, high) in zip(pool.names, pool.values, intervals(pool), strict=True):
            found[name] = _score(float(value), float(low), float(high), len(pool.rows), records - len(pool.rows))
    return found


def _score(value: float, low: float, high: float, n: int, skipped: int) -> dict[str, Any]:
    score: dict[str, Any] = {"value": _finite(value), "low": _finite(low), "high": _finite(high), "n": n}
    if skipped:
        score["skipped"] = skipped
    if score["value"] is None:
        score["reason"] = "nothing to measure" if not n else f"not finite ({value})"
    return score


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


class Shared:
    """An engine that answers the same request once. It holds what it was asked with, so that no other list takes its id."""

    def __init__(self, engine: Engine, show: Show | None = None):
        self._engine = engine
        self._show: dict[str, Any] = {} if show is None else {"show": show}
        self._told: dict[Any, tuple[Any, Any]] = {}
        self.labels: list[str] = list(getattr(engine, "labels", []))
        self.several = bool(getattr(engine, "several", False))
        self.generated: dict[str, Answer] = {}  # question -> its first answer
        self.classified: list[list[float]] = []
        self.tagged: list[list[tuple[int, int, str]]] = []

    def generate(self, prompts: Sequence[Record], **sampling: Any) -> list[Answer]:
        spelled = [_spelled(prompt) for prompt in prompts]
        key = ("generate", tuple(spelled), tuple(sorted(sampling.items())))
        found = self._once(key, prompts, lambda: self._engine.generate(prompts, **sampling, **self._show))
        for question, answer in zip(spelled, found, strict=True):
            self.generated.setdefault(question, answer)
        return found

    def stream(self, prompt: Record, **sampling: Any) -> Iterator[str]:
        return self._engine.stream(prompt, **sampling)

    def score(self, records: Sequence[Record]) -> list[tuple[float, float]]:
        return self._once(("score", id(records)), records, lambda: self._engine.score(records, **self._show))

    def classify(self, records: Sequence[Record]) -> list[list[float]]:
        self.classified = self._once(
            ("classify", id(records)), records, lambda: self._engine.classify(records, **self._show)
        )
        return self.classified

    def tag(self, records: Sequence[Record]) -> list[list[tuple[int, int, str]]]:
        self.tagged = self._once(("tag", id(records)), records, lambda: self._engine.tag(records, **self._show))
        return self.tagged

    def _once(self, key: Any, asked: Any, ask: Callable[[], Any]) -> Any:
        if key not in self._told:
            self._told[key] = (asked, ask())
        return self._told[key][1]


def _spelled(prompt: Record) -> str:
    return json.dumps(prompt, ensure_ascii=False, sort_keys=True, default=str)


def _line(record: Record, shared: Shared, index: int) -> dict[str, Any]:
    """What a person reads of one record: the question, what was expected, what came."""
    question = _records.question(record)
    answer = shared.generated.get(_spelled(question)) if question is not None else None
    line: dict[str, Any] = {"prompt": _prompt(question or record), "reference": None, "answer": None, "stopped": None}
    if question is not None:
        line["reference"] = _records.reference(record)
    elif len(shared.tagged) > index:
        line |= {"reference": _entities(record, record["spans"]), "answer": _entities(record, shared.tagged[index])}
    elif "label" in record:
        line["reference"] = ", ".join(_records.class_names(record["label"], shared.labels))
    if answer is not None:
        line |= {"answer": answer.text, "stopped": answer.stopped}
    elif shared.labels and len(shared.classified) > index:
        line["answer"] = ", ".join(_records.picked(shared.classified[index], shared.labels, shared.several))
    return line


def _entities(record: Record, spans: Sequence[Any]) -> str:
    return ", ".join(f"{record['text'][start:end]} ({kind})" for start, end, kind in spans)


def _prompt(record: Record) -> str:
    messages = record.get("messages")
    if not messages:
        return "\n".join(str(record[key]) for key in ("text", "text_pair") if record.get(key))
    if len(messages) == 1:
        return str(messages[0].get("content") or "")
    return "\n".join(f"{message['role']}: {message.get('content') or ''}" for message in messages)
