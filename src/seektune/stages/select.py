"""Keeps the records that are near a target task: by their TF-IDF distance to examples of it.

The distance is 1 minus the cosine of two TF-IDF vectors, so 0 is a record of the same words and 1 one that shares none. It
is taken to the nearest example, or to the centre of all; the inverse document frequencies are those of the records and the
examples together. Selecting training text by its likeness to a task follows Moore and Lewis (2010) in aim, not in score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ..contracts import Record, at_least, option
from ..data.options import Input
from ..data.readers import Unfit
from ..data.stream import Found, stream
from ..errors import DataError, problem
from ._need import need
from ._spool import spool
from ._texts import text_of
from ._tfidf import Vectors, inverse_frequency
from ._work import Work, seen, work_of

NEAR = 0.3  # the distance that is kept where nothing is asked; the usual advice
MOST = 5000  # examples of a target; of more a seeded sample
OWN = 0.9  # `auto`: so large a share of the examples would be kept by the others


def _fit(value: Any) -> str | None:
    return None if value in (None, "auto") or 0 < value <= 1 else "above 0 and at most 1, or auto"


@dataclass
class Select:
    """Keeps records whose TF-IDF distance to the examples in `target` is below a bound, or the nearest ones."""

    target: str = option(
        help="a file, a glob or a folder of examples of the task", probe=seen("other_target.jsonl", distance=0.9)
    )
    distance: float | Literal["auto"] | None = option(
        None,
        f"records at this distance or further are dropped; {NEAR} where neither this nor `best` is given; auto takes the "
        "distance within which 9 of 10 examples have another one",
        probe=seen(0.9),
        check=_fit,
    )
    best: int | None = option(None, "so many are kept at most, the nearest ones", probe=seen(3), check=at_least(1))
    to: Literal["nearest", "centre"] = option(
        "nearest",
        "the distance is that to the nearest example, or to the mean of all",
        probe=seen("centre", distance=0.9),
    )
    column: str | None = option(None, "a field; all texts where left out", probe=seen("topic"))
    add: str | None = option(None, "a column that tells the distance of the records kept", probe=seen("distance"))

    example: ClassVar[dict[str, Any]] = {"target": "target.jsonl"}

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        work = work_of(self)
        held = spool(records, work)
        if not len(held):
            return
        distances = self._measured(Vectors(held, self.column, work, "select"), work)
        bound = self._bound(work)
        kept = self._chosen(distances, bound)
        work.facts["distances"] = _quantiles(distances)
        for record, distance, keep in zip(held, distances.tolist(), kept.tolist(), strict=True):
            if keep:
                yield self._passed(record, round(distance, 4), work)
            else:
                far = bound is not None and distance >= bound
                reason = f"{bound:g} or further from the target" if far else f"not among the {self.best:,} nearest"
                work.drop(record, reason, f"distance {distance:.3f}")

    def _passed(self, record: Record, distance: float, work: Work) -> Record:
        if self.add is None:
            work.keep()
            return record
        after = record | {self.add: distance}
        work.change(record, after, "distance told")
        return after

    def _measured(self, vectors: Vectors, work: Work) -> np.ndarray:
        """(records,) float32: the distance of each. Leaves what is known of the target in the facts."""
        examples = Vectors(self._examples(work), self.column, Work(work.seed, cache=work.cache), "select")
        weights = inverse_frequency(vectors, examples)
        target = _stacked(examples.weighted(weights))
        work.facts["target"] = {"examples": target.shape[0], "between": _quantiles(_among(target, self.to))}
        toward = target if self.to == "nearest" else _unit(target.mean(axis=0))
        show, done, found = work.show("distances"), 0, list[np.ndarray]()
        for batch in vectors.weighted(weights):
            found.append(1 - _most(batch, toward))
            show(done := done + batch.shape[0], vectors.count)
        return np.concatenate(found)

    def _examples(self, work: Work) -> list[Record]:
        """The records of the target that have text. Raises DataError where there is none."""
        rows = [row for _, row in stream([Input(self.target, stages=[], columns={})], Found())]
        found = [row for row in rows if not isinstance(row, Unfit) and text_of(row, self.column).strip()]
        if not found:
            where = "text" if self.column is None else f"text in {self.column!r}"
            raise DataError(problem(self.target, f"none of {len(rows):,} rows has {where}", "examples of the task"))
        if len(found) <= MOST:
            return found
        picked = work.random("target").choice(len(found), MOST, replace=False)
        return [found[i] for i in sorted(picked)]

    def _bound(self, work: Work) -> float | None:
        bound = self.distance
        if bound == "auto":
            bound = work.facts["target"]["between"][f"{OWN:.0%}"]
        elif bound is None and self.best is None:
            bound = NEAR
        work.facts["bound"] = bound
        return bound

    def _chosen(self, distances: np.ndarray, bound: float | None) -> np.ndarray:
        kept = np.ones(len(distances), bool) if bound is None else distances < bound
        if self.best is not None:
            nearest = np.argsort(distances, kind="stable")[: self.best]  # of equal ones the first
            kept &= np.isin(np.arange(len(distances)), nearest)
        return kept

    def report(self) -> dict[str, Any]:
        return work_of(self).report()


def _stacked(batches: Iterable[Any]) -> Any:
    return need("scipy.sparse", "select").vstack(list(batches)).tocsr()


def _unit(row: Any) -> Any:
    made = np.asarray(row).reshape(1, -1)
    return need("scipy.sparse", "select").csr_matrix(made / max(float(np.linalg.norm(made)), 1e-12))


def _most(batch: Any, toward: Any) -> np.ndarray:
    """(rows,): the largest cosine of each row with a row of `toward`."""
    found = (batch @ toward.T).max(axis=1)
    return np.minimum(found.toarray().ravel().astype(np.float32), 1)


def _among(target: Any, to: str) -> np.ndarray:
    """(examples,): the distance of each example to what the others alone would make of the target."""
    count = target.shape[0]
    if count < 2:
        return np.zeros(count, np.float32)
    if to == "nearest":
        return np.concatenate([1 - _nearest_other(target, start) for start in range(0, count, 512)])
    total, own = np.asarray(target.sum(axis=0)).reshape(-1), _lengths(target)
    dots = np.asarray(target @ total).ravel()
    norms = np.sqrt(np.maximum(float(total @ total) - 2 * dots + own, 1e-12))  # of the sum of the others
    return (1 - (dots - own) / norms).astype(np.float32)


def _nearest_other(target: Any, start: int) -> np.ndarray:
    alike = (target[start : start + 512] @ target.T).toarray()
    alike[np.arange(len(alike)), start + np.arange(len(alike))] = 0
    return np.minimum(alike.max(axis=1), 1)


def _lengths(rows: Any) -> np.ndarray:
    """(rows,): squared lengths, 1 or (without words) 0."""
    return np.asarray(rows.multiply(rows).sum(axis=1)).ravel()


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {f"{q:.0%}": round(float(np.quantile(values, q)), 4) for q in (0.01, 0.1, 0.25, 0.5, 0.75, OWN, 0.99)}
