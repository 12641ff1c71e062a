"""Evaluations on disk: a JSONL file whose first line says what was measured and whose other lines are the records.

A run keeps its own under `evaluation/`. A record is known by the hash of its content, so that two runs can be paired.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import files
from ..contracts import Record
from ..errors import DataError, problem
from .evaluator import Report

FORMAT = 1
FOLDER = "evaluation"


@dataclass
class Evaluation:
    """One stored evaluation: its head and the line of each record."""

    path: Path
    head: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def measures(self) -> list[tuple[dict[str, Any], list[str]]]:
        """Each measure as a recipe writes it, and under which names its values stand in the rows."""
        return list(zip(self.head["measures"], self.head["columns"], strict=True))


def record_hash(record: Record) -> str:
    """16 hex digits of a record's content; key order does not matter."""
    return hashlib.sha256(json.dumps(record, ensure_ascii=False, sort_keys=True, default=str).encode()).hexdigest()[:16]


def write(path: Path, report: Report, records: Sequence[Record], model: str) -> Path:
    """Store an evaluation in one step; returns the path."""
    head = {
        "format": FORMAT,
        "time": time.time(),
        "model": model,
        "records": len(records),
        "measures": report.measures,
        "columns": report.columns,
        "scores": report.scores,
    }
    lines = [json.dumps(head, ensure_ascii=False)]
    for i, (record, answer) in enumerate(zip(records, report.answers, strict=True)):
        values = {name: column[i] for name, column in report.values.items()}
        lines.append(json.dumps({"record": record_hash(record), **answer, "values": values}, ensure_ascii=False))
    files.write_text(path, "\n".join(lines) + "\n")
    return path


def place(run: Path) -> Path:
    """Where a run's next evaluation goes: named after the time, never over an old one."""
    stem = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names: Iterable[str] = (stem if i == 1 else f"{stem}-{i}" for i in range(1, 1000))
    return next(path for name in names if not (path := run / FOLDER / f"{name}.jsonl").exists())


def read(path: Path) -> Evaluation:
    """Raises DataError for what is no evaluation, or of a newer format."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        head, *rows = [json.loads(line) for line in lines if line]
    except (OSError, ValueError) as error:
        raise DataError(
            problem(str(path), f"cannot be read as an evaluation ({error})", "a file that `seektune evaluate` wrote")
        ) from error
    if not isinstance(head, dict) or "measures" not in head:
        raise DataError(
            problem(str(path), "its first line is no evaluation's", "a file that `seektune evaluate` wrote")
        )
    if head.get("format") != FORMAT:
        raise DataError(
            problem(str(path), f"format {head.get('format')}", f"format {FORMAT}", "evaluate again with this version")
        )
    return Evaluation(path, head, rows)


def evaluations(path: Path) -> list[Evaluation]:
    """Those of a run, newest first, or the one of a file. DataError where there is none."""
    if path.is_file():
        return [read(path)]
    found = [read(file) for file in sorted((path / FOLDER).glob("*.jsonl"))]
    if not found:
        raise DataError(problem(str(path), "has no stored evaluation", fix=f"seektune evaluate {path} --data FILE"))
    return sorted(found, key=lambda e: e.head["time"], reverse=True)
