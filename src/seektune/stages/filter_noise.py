"""Drops records that a scorer distrusts, or gives them the label that it is sure of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..contracts import Probe, Record, between, option
from ..errors import RecipeError, nearest, problem
from . import _scorers as scorers
from ._spool import spool
from ._texts import label_of
from ._work import Work, seen, work_of

SCORERS = ("classifier", "encoder", "likelihood", "difficulty", "judge")
OF_LABELS = ("classifier", "encoder")
WITH_MODEL = ("encoder", "likelihood", "difficulty", "judge")
NOISY = {"data.train.0.path": "noisy.jsonl"}  # labelled texts that can be told apart, some labels wrong


def _scorer(value: Any) -> str | None:
    fine = not isinstance(value, str) or value in SCORERS or ":" in value
    return None if fine else f"module:function, or one of {', '.join(SCORERS)} ({nearest(value, SCORERS)})"


def _noisy(other: Any, **given: Any) -> Probe:
    return Probe(other, "stage", "stage", NOISY | dict(seen(None, **given).given))


@dataclass
class FilterNoise:
    """Each record gets a trust in [0, 1]; below `below` it goes, or is given another label."""

    scorer: str = option(
        "classifier", "classifier, encoder, likelihood, difficulty, judge, or module:function of yours",
        probe=_noisy("of_length:trust"), check=_scorer,
    )  # fmt: skip
    below: float = option(0.8, "trust below which a record goes", probe=_noisy(0.0), check=between(0, 1))
    action: Literal["drop", "relabel"] = option(
        "drop", "relabel: where the classifier is sure of another label, that one; the given is kept as <label>_was",
        probe=_noisy("relabel"),
    )  # fmt: skip
    sure: float = option(
        0.9, "how likely another label must be to take the place of the given one",
        probe=_noisy(0.5, action="relabel"), check=between(0.5, 1),
    )  # fmt: skip
    label: str = option("label", "the field of the label", probe=_noisy("topic"))
    column: str | None = option(
        None, "the field of the text that labels are judged by; all texts where left out", probe=_noisy("note")
    )
    folds: int = option(
        5, "parts of the data of which each is judged by the others", probe=_noisy(2), check=between(2, 20)
    )
    model: str | None = option(
        None, "of the other scorers: run, folder, hub id, base:tiny; of judge also the URL of an endpoint",
        probe=Probe("base:tiny", "stop", "stage", dict(seen(None, scorer="likelihood").given)),
    )  # fmt: skip
    name: str = option(
        "", "of judge: the model's name at an endpoint",
        probe=Probe("b", "stop", "stage", dict(seen(None, scorer="judge", model="base:tiny").given)),
    )  # fmt: skip
    ask: str = option(
        scorers.ASK, "of judge: what it is asked about each record",
        probe=_noisy("Say the number 7.", scorer="judge", model="base:tiny"),
    )  # fmt: skip
    unparsed: Literal["keep", "drop"] = option(
        "keep", "of judge: what becomes of a record where its answer holds no number",
        probe=_noisy("drop", scorer="judge", model="base:tiny"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.scorer in WITH_MODEL and self.model is None:
            raise RecipeError(problem("model", "missing", f"the model that scorer {self.scorer} asks"))
        if self.action == "relabel" and self.scorer not in OF_LABELS:
            fix = f"action: drop, or scorer: {OF_LABELS[0]}"
            raise RecipeError(problem("action: relabel", f"scorer {self.scorer} knows no labels", fix=fix))

        if self.scorer == "judge" and self.name and not str(self.model).startswith(("http://", "https://")):
            fix = "leave it out, or give the URL of an endpoint as model"
            raise RecipeError(problem(f"name: {self.name}", f"model {self.model} is one model alone", fix=fix))

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        work = work_of(self)
        held = spool(records, work)
        if not len(held):
            return
        trust = self._trust(held, work)
        work.facts["trust"] = _facts(trust)
        for i, record in enumerate(held):
            if (left := self._decided(work, record, trust, i)) is not None:
                yield left

    def report(self) -> dict[str, Any]:
        return work_of(self).report()

    def _trust(self, records: Sequence[Record], work: Work) -> scorers.Trust:
        model = str(self.model)
        match self.scorer:
            case "classifier":
                return scorers.classifier(records, work, self.label, self.column, self.folds)
            case "encoder":
                return scorers.encoder(records, work, model, self.label, self.column, self.folds)
            case "likelihood":
                return scorers.likelihood(records, work, model)
            case "difficulty":
                return scorers.difficulty(records, work, model)
            case "judge":
                return scorers.judge(records, work, model, self.name, self.ask)
            case own:
                return scorers.own(records, work, own)

    def _decided(self, work: Work, record: Record, trust: scorers.Trust, i: int) -> Record | None:
        value = trust.values[i]
        if trust.unparsed is not None and trust.unparsed[i] and self.unparsed == "drop":
            work.drop(record, "the judge's answer holds no number")
            return None
        if np.isnan(value) or value >= self.below:
            work.keep()
            return record
        if self.action == "relabel" and trust.sure is not None and trust.sure[i] >= self.sure:
            return self._relabelled(work, record, trust, i)
        guess = f", likelier: {trust.guesses[i]}" if trust.guesses is not None else ""
        work.drop(record, trust.reason, f"trust {value:.3f}{guess}")
        return None

    def _relabelled(self, work: Work, record: Record, trust: scorers.Trust, i: int) -> Record:
        assert trust.guesses is not None
        given, made = record[self.label], trust.guesses[i]
        after = record | {self.label: _like(given, made), f"{self.label}_was": given}
        work.change(record, after, "relabelled")
        return after


def _like(given: Any, label: str | None) -> Any:
    """A label as the type of the one whose place it takes, where that is possible: 1, not "1"."""
    for kind in (bool, int, float):
        if type(given) is kind:
            for value in (True, False) if kind is bool else (_number(kind, label),):
                if label_of({"label": value}) == label:
                    return value
    return label


def _number(kind: type, label: str | None) -> Any:
    try:
        return kind(str(label))
    except ValueError:
        return None


def _facts(trust: scorers.Trust) -> dict[str, Any]:
    """How trust is spread, what could not be judged, and what else the scorer found."""
    known = trust.values[~np.isnan(trust.values)]
    tenths = np.histogram(known, bins=10, range=(0, 1))[0].tolist()
    unknown = {reason: count for reason, count in trust.unknown.items() if count}
    return {"judged": len(known), "tenths": tenths} | ({"not_judged": unknown} if unknown else {}) | trust.facts
