"""Records through stages: the code behind `seektune data run` and behind `stages` of a recipe's input.

Stages that look at one record at a time go together over batches, on several processes; before a stage that needs all records
these are kept on disk, in `folder`. So memory stays flat, and what was interrupted goes on from the last such place.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import files, kinds
from .contracts import Record, Stage
from .data.fingerprint import fingerprint, of_digests
from .data.store import Records, Writer, stored
from .errors import DataError, problem
from .stages._each import Row, run_row
from .stages._work import PLACE, Counts, Show, Work, bare, equip, generator, silent, whole_digest, work_of

STAGE_PATHS = (  # options of stages that name files, or folders of models
    "path", "against", "target", "table", "lexicon", "audit", "examples", "model", "onward", "round_trip",
)  # fmt: skip


@dataclass
class Passage:
    """What the stages are given, and, once the records are through, what each has done."""

    stages: Sequence[Stage]
    folder: Path  # for what is kept between stages; may hold what an interrupted passage has left
    seed: int = 17
    processes: int = 0
    show: Show = silent
    answers: Path | None = None  # where answers of models are kept
    where: str = "stages"  # how errors name the list
    reports: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, stage in enumerate(self.stages):
            seed = int(generator(self.seed, number, kinds.kind_of("stage", type(stage))).integers(2**31))
            equip(stage, Work(seed, self.processes, self.folder, self.answers, self.show))

    def run(self, records: Iterable[Record]) -> Iterator[Record]:
        """What comes out at the end. Raises DataError where a stage drops all records, naming it and its reasons."""
        self.folder.mkdir(parents=True, exist_ok=True)
        parts = list(_parts(self.stages))
        start, held = self._last_place(parts)
        self.reports = list(held.facts["reports"]) if held is not None else []
        stream: Iterable[Record] = held if held is not None else records
        for number in range(start, len(parts)):
            first, part = parts[number]
            if number > start and not hasattr(part[0], "each"):
                stream = self._kept(stream, number)
            run = self._each if hasattr(part[0], "each") else self._whole
            stream = run(first, part, stream, number)
        yield from stream

    def lost(self) -> Iterator[dict[str, Any]]:
        """The dropped records with the stage and the reason, in the order of the stages."""
        for path in sorted(self.folder.glob("lost-*.jsonl")):
            yield from files.read_lines(path)

    def _last_place(self, parts: list[Any]) -> tuple[int, Records | None]:
        for number in range(len(parts) - 1, 0, -1):
            if (held := stored(self.folder / f"before-{number}")) is not None:
                return number, held
        return 0, None

    def _kept(self, stream: Iterable[Record], number: int) -> Records:
        """All records so far on disk, with the reports so far: from here an interrupted passage goes on."""
        with Writer(self.folder / f"before-{number}", ["record"], [0]) as writer:
            for count, record in enumerate(stream, 1):
                writer.add(record, 0, count)
            return writer.finish({"records": len(writer), "reports": self.reports})

    def _each(self, first: int, part: Sequence[Any], stream: Iterable[Record], number: int) -> Iterator[Record]:
        counts = [Counts() for _ in part]
        digests = [bytearray() for _ in part]
        began = time.perf_counter()
        with _Lost(self.folder / f"lost-{number:02}.jsonl") as lost:
            for passed in run_row(Row(part, digests=True), stream, self.processes):
                for i, found in enumerate(passed.counts):
                    lost.write(self._name(first + i), found)
                    counts[i].merge(found)
                    digests[i] += passed.digests[i]
                yield from passed.records
        for i, stage in enumerate(part):
            work_of(stage).counts = counts[i]
            self._report(first + i, stage, digests[i], time.perf_counter() - began)

    def _whole(self, first: int, part: Sequence[Any], stream: Iterable[Record], number: int) -> Iterator[Record]:
        [stage] = part
        digests, began = bytearray(), time.perf_counter()
        with _Lost(self.folder / f"lost-{number:02}.jsonl") as lost:
            for record in stage(stream):
                digests += whole_digest(record)
                lost.write(self._name(first), work_of(stage).counts)
                yield record
            lost.write(self._name(first), work_of(stage).counts)
        self._report(first, stage, digests, time.perf_counter() - began)

    def _report(self, number: int, stage: Any, digests: bytearray, seconds: float) -> None:
        told = stage.report()
        print_ = of_digests(np.frombuffer(digests, "<u8").reshape(-1, 2))
        self.reports.append({"kind": self._name(number), "options": kinds.plain(stage), **told, "fingerprint": print_,
                             "seconds": round(seconds, 2)})  # fmt: skip
        if told["seen"] and not told["kept"] + told["added"]:
            reasons = ", ".join(f"{count:,} × {reason}" for reason, count in list(told["reasons"].items())[:3])
            what = f"{self._name(number)} dropped all {told['seen']:,} records ({reasons})"
            raise DataError(problem(f"{self.where}.{number}", what, "some that are left", "loosen its options"))

    def _name(self, number: int) -> str:
        return kinds.kind_of("stage", type(self.stages[number]))


def _parts(stages: Sequence[Any]) -> Iterator[tuple[int, list[Any]]]:
    """(number of the first, stages): those that look at single records together, the others alone."""
    first, row = 0, list[Any]()
    for number, stage in enumerate(stages):
        if hasattr(stage, "each"):
            first = first if row else number
            row.append(stage)
            continue
        if row:
            yield first, row
        yield number, [stage]
        row = []
    if row:
        yield first, row


class _Lost:
    """The file of what one part has dropped; begun anew by whoever runs the part again."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> _Lost:
        self._file = open(self._path, "w", encoding="utf-8", errors="backslashreplace")
        return self

    def write(self, stage: str, counts: Counts) -> None:
        for line in counts.lost:
            self._file.write(json.dumps({"stage": stage} | line, ensure_ascii=False, default=str) + "\n")
        counts.lost.clear()

    def __exit__(self, *error: object) -> None:
        self._file.close()


def key_of(stages: Sequence[Stage], *more: Any) -> str:
    """A name for a passage: the same stages, with the same files behind their options, on the same data (`more`) have the same."""
    specs = [kinds.spec("stage", stage) for stage in stages]
    states = [state for path in files_of_options(stages) for state in _states(path)]
    return files.sha256_text(json.dumps([specs, states, *more], sort_keys=True, default=str))[:32]


def files_of_options(stages: Sequence[Stage]) -> list[Path]:
    """Files and folders that options of stages name."""
    given = [getattr(stage, key, None) for stage in stages for key in STAGE_PATHS]
    named = [one for value in given for one in (value if isinstance(value, list) else [value])]
    return [Path(name).expanduser() for name in named if isinstance(name, str) and Path(name).expanduser().exists()]


def _states(path: Path) -> list[Any]:
    """Name, size and time of a file, or of all files in a folder."""
    inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in inside]


def placed(records: Records) -> Iterator[Record]:
    """The records with the place where each stood."""
    for i, record in enumerate(records):
        yield record | {PLACE: records.where(i)}


def staged(
    stages: Sequence[Stage], records: Records, *, cache: Path, seed: int, processes: int, show: Show, where: str
) -> Records:
    """The records of a recipe's input after its stages, kept in the cache; their reports stand in its facts."""
    key = key_of(stages, fingerprint(records)["order"], seed)
    if (known := stored(cache / key)) is not None:
        return known
    passage = Passage(stages, cache / f"{key}.parts", seed, processes, show, cache / "answers", where)
    names = dict[str, int]()
    held = list[str]()
    labels: Counter[str] = Counter()
    inputs = list[int]()
    with Writer(cache / key, held, inputs) as writer:
        for record in passage.run(placed(records)):
            file, place = _parted(record.get(PLACE, "added"))
            if file not in names:
                names[file] = len(held)
                held.append(file)
                inputs.append(0)
            writer.add(bare(record), names[file], place)
            label = record.get("label", [])
            labels.update(label if isinstance(label, list) else [label])
        facts = {key: value for key, value in records.facts.items() if key != "records"} | {"records": len(writer)}
        if "labels" in facts:
            facts["labels"] = dict(sorted(labels.items()))
        facts["inputs"] = [one | {"stages": passage.reports} for one in facts["inputs"]]
        made = writer.finish(facts)
    files.remove(passage.folder)
    return made


def _parted(place: str) -> tuple[str, int]:
    """("train.jsonl", 12) of "train.jsonl:12"."""
    file, colon, number = place.rpartition(":")
    if colon and number.isdecimal():
        return file, int(number)
    file, _, number = place.rpartition(" record ")
    return (file, -int(number)) if file and number.isdecimal() else (place, 1)
