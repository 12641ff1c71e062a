"""What a stage is given (seed, processes, cache, progress) and what it leaves: counts, reasons, examples, dropped records.

A stage is its options; what belongs to one passage is its `Work`, which whoever runs it hands over by `equip` and the stage
asks for by `work_of`. Records carry the place where they stood under `PLACE`, which no hash and no output file holds.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Probe, Record
from ..data.store import digest

PLACE = "_where"  # key of a record: "train.jsonl:7312"
EXAMPLES = 10  # of each: dropped, changed, added
REASONS = 50  # different reasons counted by name

Show = Callable[[str], Callable[[int, int], None]]  # a task's name -> what is told (done, total)


def seen(other: Any, scenario: str = "stage", **given: Any) -> Probe:
    """How a test sees that an option of a stage is read: what comes out, or the report, differs. `given`: further options."""
    return Probe(other, "stage", scenario, {f"data.train.0.stages.0.{key}": value for key, value in given.items()})


def place_of(record: Record) -> str:
    return str(record.get(PLACE, "a record"))


def bare(record: Record) -> Record:
    """The record without the place that it came from."""
    return {key: value for key, value in record.items() if key != PLACE} if PLACE in record else record


def whole_digest(record: Record) -> bytes:
    """16 bytes of all columns, wherever the record stood."""
    return digest(bare(record), None)


def silent(task: str) -> Callable[[int, int], None]:
    return lambda done, total: None


@dataclass
class Counts:
    """What became of records. Two are joined by `merge`, so that processes count by themselves."""

    seen: int = 0
    kept: int = 0  # changed ones among them
    dropped: int = 0
    changed: int = 0
    added: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # of drops, changes and additions
    figures: Counter[str] = field(default_factory=Counter)  # what else a stage adds up
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    lost: list[dict[str, Any]] = field(default_factory=list)  # dropped records, until they are written

    def keep(self) -> None:
        self.seen += 1
        self.kept += 1

    def change(self, before: Record, after: Record, reason: str) -> None:
        """`before` is kept as `after`."""
        self.keep()
        self.changed += 1
        self._count(reason)
        self._example("changed", lambda: {"where": place_of(before), "reason": reason, **_difference(before, after)})

    def drop(self, record: Record, reason: str, detail: str = "") -> None:
        """`reason` is counted; `detail` (of which record it is a duplicate, which score it had) is told beside it."""
        self.seen += 1
        self.dropped += 1
        self._count(reason)
        told = {"where": place_of(record), "reason": reason} | ({"detail": detail} if detail else {})
        self._example("dropped", lambda: told | {"record": shortened(bare(record))})
        self.lost.append(told | {"record": bare(record)})

    def add(self, record: Record, reason: str) -> None:
        """A record that was not there before."""
        self.added += 1
        self._count(reason)
        self._example("added", lambda: {"where": place_of(record), "reason": reason, "record": shortened(bare(record))})

    def merge(self, other: Counts) -> None:
        for name in ("seen", "kept", "dropped", "changed", "added"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, count in other.reasons.items():
            self._count(reason, count)
        self.figures.update(other.figures)
        for kind, found in other.examples.items():
            mine = self.examples.setdefault(kind, [])
            mine += found[: EXAMPLES - len(mine)]
        self.lost += other.lost

    def _count(self, reason: str, count: int = 1) -> None:
        known = reason in self.reasons or len(self.reasons) < REASONS
        self.reasons[reason if known else "other reasons"] += count

    def _example(self, kind: str, made: Callable[[], dict[str, Any]]) -> None:
        held = self.examples.setdefault(kind, [])
        if len(held) < EXAMPLES:
            held.append(made())

    def as_dict(self) -> dict[str, Any]:
        """Written to data.json and cards."""
        numbers = {name: getattr(self, name) for name in ("seen", "kept", "dropped", "changed", "added")}
        return numbers | {"reasons": dict(self.reasons.most_common()), "examples": self.examples} | self._figures()

    def _figures(self) -> dict[str, Any]:
        return {"figures": {name: _rounded(value) for name, value in self.figures.items()}} if self.figures else {}


@dataclass
class Work:
    """See above. `facts` is what a stage reports besides its counts: thresholds found, shares, agreement."""

    seed: int = 17
    processes: int = 0  # 0: in this process
    cache: Path | None = None  # for large intermediate results; gone when the passage has ended
    answers: Path | None = None  # for what models have answered; stays
    show: Show = silent
    counts: Counts = field(default_factory=Counts)
    facts: dict[str, Any] = field(default_factory=dict)

    def keep(self) -> None:
        self.counts.keep()

    def change(self, before: Record, after: Record, reason: str) -> None:
        self.counts.change(before, after, reason)

    def drop(self, record: Record, reason: str, detail: str = "") -> None:
        self.counts.drop(record, reason, detail)

    def add(self, record: Record, reason: str) -> None:
        self.counts.add(record, reason)

    def report(self) -> dict[str, Any]:
        return self.counts.as_dict() | self.facts

    def random(self, *salt: Any) -> np.random.Generator:
        """Random numbers of this stage that follow from its seed and the salt alone."""
        return generator(self.seed, *salt)


def equip(stage: Any, work: Work) -> None:
    vars(stage)["_work"] = work


def work_of(stage: Any) -> Work:
    """What the stage was equipped with; where nobody did, work with seed 17 in this process."""
    work: Work = vars(stage).setdefault("_work", Work())
    return work


def generator(seed: int, *salt: Any) -> np.random.Generator:
    """Random numbers from a seed and anything with a stable `repr`: the same in every process."""
    made = hashlib.blake2b(repr((seed, *salt)).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(made, "little"))


def random_of(seed: int, record: Record) -> np.random.Generator:
    """Random numbers that follow from the seed and the record's content: the same in whichever process and order."""
    return generator(seed, whole_digest(record))


def shortened(value: Any, length: int = 200) -> Any:
    """For showing: long texts cut, long lists too."""
    if isinstance(value, str):
        return value if len(value) <= length else value[: length - 1] + "…"
    if isinstance(value, dict):
        return {key: shortened(inner, length) for key, inner in list(value.items())[:20]}
    return [shortened(inner, length) for inner in value[:10]] if isinstance(value, list) else value


def _difference(before: Record, after: Record) -> dict[str, Any]:
    """The fields that changed, before and after."""
    keys = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
    both = ({key: record[key] for key in keys if key in record} for record in (before, after))
    return dict(zip(("before", "after"), (shortened(bare(one)) for one in both), strict=True))


def _rounded(value: float) -> float:
    return round(value, 6) if isinstance(value, float) else value
