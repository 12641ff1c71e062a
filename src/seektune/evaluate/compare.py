"""Two evaluations, paired record by record: the difference of each figure with its interval, and which records changed."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import kinds
from ..errors import DataError, problem
from .evaluator import pools
from .significance import Pool, mcnemar, paired
from .stored import Evaluation, evaluations

Pair = tuple[dict[str, Any], dict[str, Any]]  # the row of a record before and after


@dataclass
class Comparison:
    """`differences`: name -> {before, after, difference, low, high, n}, for shares also gained, lost and McNemar's p."""

    before: str
    after: str
    records: int  # in both
    only_before: int
    only_after: int
    differences: dict[str, dict[str, Any]] = field(default_factory=dict)
    changed: list[dict[str, Any]] = field(default_factory=list)  # {record, prompt, reference, before, after, values}


def compare_paths(before: Path, after: Path) -> Comparison:
    """Compare two runs (their newest evaluations that share records) or two evaluation files."""
    ours, theirs = evaluations(before), evaluations(after)
    for one in ours:
        for other in theirs:
            if one.path != other.path and _keyed(one).keys() & _keyed(other).keys():
                return compare(one, other)
    fix = "evaluate both with the same --data"
    raise DataError(
        problem(f"{before} and {after}", "no evaluation of one shares a record with one of the other", fix=fix)
    )


def compare(before: Evaluation, after: Evaluation) -> Comparison:
    """Pairs what both hold; a record that stands in the data twice is paired in its order."""
    ours, theirs = _keyed(before), _keyed(after)
    shared = [key for key in ours if key in theirs]
    if not shared:
        raise DataError(
            problem(
                f"{before.path} and {after.path}", "have no record in common", fix="evaluate both with the same --data"
            )
        )
    pairs = [(ours[key], theirs[key]) for key in shared]
    found = Comparison(
        str(before.path), str(after.path), len(shared), len(ours) - len(shared), len(theirs) - len(shared)
    )
    for measure in before.measures:
        if measure in after.measures:
            found.differences |= _differences(*measure, pairs)
    if not found.differences:
        raise DataError(
            problem(
                f"{before.path} and {after.path}",
                "have no measure with the same options in common",
                fix="evaluate both with the same --measure",
            )
        )
    found.changed = [_change(a, b) for a, b in pairs if _told(a) != _told(b)]
    return found


def _keyed(evaluation: Evaluation) -> dict[tuple[str, int], dict[str, Any]]:
    seen: Counter[str] = Counter()
    keyed = {}
    for row in evaluation.rows:
        keyed[row["record"], seen[row["record"]]] = row
        seen[row["record"]] += 1
    return keyed


def _differences(spec: dict[str, Any], names: list[str], pairs: list[Pair]) -> dict[str, dict[str, Any]]:
    """Of one measure. Its figures are built from both sides at once, so that both have the same columns."""
    measure = kinds.build("evaluate", spec)
    both = [(a, b) for a, b in pairs if all(side["values"][name] is not None for side in (a, b) for name in names)]
    if not names or not both:
        return {}
    rows = [a for a, _ in both] + [b for _, b in both]
    found = {}
    for pool in pools(measure, {name: [row["values"][name] for row in rows] for name in names}):
        one, other = (dataclasses.replace(pool, rows=part) for part in (pool.rows[: len(both)], pool.rows[len(both) :]))
        for name, was, now, (low, high) in zip(pool.names, one.values, other.values, paired(one, other), strict=True):
            numbers = {"before": was, "after": now, "difference": now - was, "low": low, "high": high}
            told = {key: float(value) if math.isfinite(value) else None for key, value in numbers.items()}
            found[name] = told | {"n": len(both)} | (_changes(one, other) if pool.unit else {})
    return found


def _changes(before: Pool, after: Pool) -> dict[str, Any]:
    """Of a share: how many records became right, how many wrong, and whether that can be chance."""
    steps = after.rows[:, 0] - before.rows[:, 0]
    gained, lost = int((steps > 0).sum()), int((steps < 0).sum())
    return {"gained": gained, "lost": lost, "p": mcnemar(gained, lost)}


def _told(row: dict[str, Any]) -> Any:
    return row.get("answer") if row.get("answer") is not None else row["values"]


def _change(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    line = {key: before.get(key) for key in ("record", "prompt", "reference")}
    return line | {
        "before": before.get("answer"),
        "after": after.get("answer"),
        "values": [before["values"], after["values"]],
    }
