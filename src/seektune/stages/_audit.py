"""An audit: labels of a random sample that a person has judged, read from the file that was filled in, and what follows.

`right` holds yes or no, or the label that would be right. Rows left empty count as not judged.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from ..contracts import Record
from ..data import readers
from ..data.inputs import expand
from ..data.mend import Mended
from ..data.readers import Unfit
from ..data.store import place_name
from ..errors import DataError, nearest, problem
from ._texts import label_of, text_of

COLUMNS = ("where", "id", "text", "label", "right")
YES = ("yes", "y", "true", "right", "是", "对", "正确")
NO = ("no", "n", "false", "wrong", "否", "不", "错", "错误")
Z = NormalDist().inv_cdf(0.975)  # intervals are 95 %


@dataclass(frozen=True)
class Judged:
    """One row of an audit that was filled in."""

    id: str
    label: str
    right: bool
    corrected: str | None  # the label that would be right, where the person has said it


def id_of(record: Record, label: str) -> str:
    """12 characters of text and label, by which a row of an audit finds its record, however spreadsheets mend the text."""
    made = hashlib.blake2b(f"{label}\0{text_of(record)}".encode("utf-8", "surrogatepass"), digest_size=6)
    return "x" + made.hexdigest()  # never a number to a spreadsheet


def ids_of(records: Iterable[Record], label: str) -> Iterator[tuple[str, str]]:
    """(id, label) of each record that has one label."""
    for record in records:
        if (name := label_of(record, label)) is not None:
            yield id_of(record, name), name


def read_audit(path: str, labels: Iterable[str]) -> list[Judged]:
    """The rows that were judged. Raises DataError with every row that cannot be read, or where none was filled in."""
    rows, problems = list(_rows(path)), list[str]()
    known = {*labels, *(str(row.get("label")) for _, row in rows)}
    found = []
    for where, row in rows:
        if missing := [name for name in ("id", "label", "right") if name not in row]:
            raise DataError(problem(where, f"no column {missing[0]!r}", "a file that `seektune data audit` wrote"))
        said = str("" if row["right"] is None else row["right"]).strip()
        judged = _judged(str(row["id"]), str(row["label"]), said, known) if said else None
        if judged is not None:
            found.append(judged)
        elif said:
            fix = nearest(said, known) if len(known) <= 50 else ""
            problems.append(problem(where, f"`right` is {said!r}", "yes, no or the right label", fix))
    if problems:
        raise DataError(problems)
    if not found:
        raise DataError(problem(path, "no row was filled in", "yes, no or a label in the column `right`"))
    return found


def _judged(id: str, label: str, said: str, known: set[str]) -> Judged | None:
    """Labels go before yes and no, since a class may be called so."""
    if said in known:
        return Judged(id, label, said == label, None if said == label else said)
    if said.lower() in YES:
        return Judged(id, label, True, None)
    return Judged(id, label, False, None) if said.lower() in NO else None


def _rows(path: str) -> Iterator[tuple[str, Record]]:
    """(place, row) as the file has them, in whichever encoding a spreadsheet has saved it."""
    [file, *_] = expand(path)[0]
    with open(file.path, "rb") as raw:
        mended = None if file.kind == "parquet" else io.BufferedReader(Mended(raw))
        for place, row in readers.rows_of(file, "utf-8", mended) if mended else readers.rows(file, "none", raw):
            where = place_name(file.name, place)
            if isinstance(row, Unfit):
                raise DataError(row.line(where))
            if not isinstance(row, dict):
                raise DataError(problem(where, "the row is no object", "a file that `seektune data audit` wrote"))
            yield where, row


def accuracy_of(judged: Iterable[Judged]) -> dict[str, Any]:
    """The share of right labels with its interval, and which labels are confused with which."""
    rows, confused, by_label = list(judged), Counter[tuple[str, str]](), defaultdict[str, list[bool]](list)
    for row in rows:
        by_label[row.label].append(row.right)
        if not row.right:
            confused[row.label, row.corrected or ""] += 1
    right = sum(row.right for row in rows)
    low, high = wilson(right, len(rows))
    return {
        "judged": len(rows),
        "right": right,
        "accuracy": round(right / len(rows), 4) if rows else None,
        "interval": [round(low, 4), round(high, 4)],
        "confused": [{"label": a, "right_label": b or None, "count": n} for (a, b), n in confused.most_common(20)],
        "by_label": {name: {"judged": len(v), "right": sum(v)} for name, v in sorted(by_label.items())},
    }


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): the shares p whose distance to hits / n is at most Z of their own
    standard errors, the two roots of (hits - n p)² = Z² n p (1 - p)."""
    if not n:
        return 0.0, 1.0
    square = Z * Z
    middle = hits + square / 2
    spread = Z * math.sqrt(hits * (n - hits) / n + square / 4)
    return max(0.0, (middle - spread) / (n + square)), min(1.0, (middle + spread) / (n + square))


def sample_size(width: float, expected: float) -> int:
    """The smallest sample whose interval is at most twice `width` wide where a share `expected` is right."""
    low, high = 1, 1
    while _half(high, expected) > width:
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if _half(middle, expected) > width else (low, middle)
    return high


def _half(n: int, share: float) -> float:
    square = Z * Z
    return Z * math.sqrt(n * share * (1 - share) + square / 4) / (n + square)
