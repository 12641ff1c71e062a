"""`look`: one pass over the rows of files, a few dozen bytes kept of each record, and a sample for what costs more.

Lengths, labels, equal records and suspicions are of all records. Tokens, languages, near duplicates, repeated frames and the
map are of a sample of records drawn evenly (reservoir sampling, Vitter 1985, algorithm R), which is all of a smaller file.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Record
from ..data.inputs import File
from ..data.options import Input
from ..data.readers import Unfit
from ..data.store import place_name
from ..data.stream import Found, Seen, rows_seen
from ..stages._texts import text_of
from . import alike
from .fields import Fields
from .findings import findings
from .language import languages
from .suspects import Suspects, suspicions

SAMPLE = 10_000  # records that near duplicates and frames are looked for in
COVERED = 4000  # characters kept of a sampled text
TOKENISED, NAMED, MAPPED = 2000, 500, 2000  # of the sample: for lengths in tokens, for languages, for the map
MOST_LABELS = 1000
SHOWN = 5  # records of a cluster

Count = Callable[[list[str]], list[int]]  # texts -> their lengths in tokens
Show = Callable[[int, int], None]


@dataclass
class Sampled:
    """A record of the sample. `text` is cut after COVERED characters, `length` is the whole."""

    text: str
    length: int
    label: str
    row: int  # index among all records


@dataclass
class Looked:
    """What one pass has gathered; `profile` makes the report of it."""

    files: list[File] = field(default_factory=list)
    found: Found = field(default_factory=Found)
    fields: dict[str, Fields] = field(default_factory=dict)  # of each file
    unfit: Suspects = field(default_factory=Suspects)
    suspects: Suspects = field(default_factory=Suspects)
    labels: dict[str, Counter[str]] = field(default_factory=dict)  # of each file
    label_field: dict[str, str] = field(default_factory=dict)  # of each file: what the label is called there
    sample: list[Sampled] = field(default_factory=list)  # in the order of the files
    drawn: list[Sampled] = field(default_factory=list)  # the same in an order of chance: any part of it is a sample
    numbers: array[int] = field(default_factory=lambda: array("q"))  # place in the file
    sources: array[int] = field(default_factory=lambda: array("I"))
    lengths: array[int] = field(default_factory=lambda: array("q"))
    whole: array[int] = field(default_factory=lambda: array("q"))  # hash of text and label
    folded: array[int] = field(default_factory=lambda: array("q"))  # hash of the text in small letters, without spaces
    classes: array[int] = field(default_factory=lambda: array("i"))  # index into `names`; -1 without a label
    names: dict[str, int] = field(default_factory=dict)

    def place(self, row: int) -> str:
        return place_name(self.files[self.sources[row]].name, self.numbers[row])


def look(
    paths: Sequence[str | Path], count: Count | None = None, show: Show = lambda done, total: None
) -> tuple[dict[str, Any], Looked]:
    """The profile of files (a dict for JSON) and what it was made of. `count`: a tokenizer, for lengths in tokens.

    Raises DataError where a file is missing, empty or of an unknown kind.
    """
    looked = Looked()
    draw = random.Random(17)
    for seen in rows_seen([Input(path=str(path)) for path in paths], looked.found, show):
        _take(looked, seen, draw)
    looked.sample.sort(key=lambda one: one.row)
    looked.drawn = draw.sample(looked.sample, len(looked.sample))
    return profile(looked, count), looked


def _take(looked: Looked, seen: Seen, draw: random.Random) -> None:
    if not looked.files or looked.files[-1] is not seen.file:
        looked.files.append(seen.file)
        looked.fields[seen.file.name] = Fields()
    fields = looked.fields[seen.file.name]
    if isinstance(seen.row, Unfit):
        fields.broken += 1
    else:
        fields.add(seen.row, seen.number)
    record = seen.record()
    if isinstance(record, Unfit):
        looked.unfit.add(record.reason, seen.place, record.line(seen.place))
        return
    text = words_of(record)
    label = _label(looked, seen, record)
    looked.sources.append(len(looked.files) - 1)
    looked.numbers.append(seen.number)
    looked.lengths.append(len(text))
    looked.whole.append(hash((text, label)))
    looked.folded.append(hash("".join(text.lower().split())))
    for what in suspicions(record, text):
        looked.suspects.add(what, seen.place, text)
    _draw(looked, text, label, draw)


def words_of(record: Record) -> str:
    """The texts of a record, or all its text where it is of no shape that we know."""
    return text_of(record) or "\n".join(value for value in record.values() if isinstance(value, str))


def _label(looked: Looked, seen: Seen, record: Record) -> str:
    value = record.get("label")
    if value is None or isinstance(value, dict):
        looked.classes.append(-1)
        return ""
    name = " + ".join(map(str, value)) if isinstance(value, list) else str(value)
    counts = looked.labels.setdefault(seen.file.name, Counter())
    if seen.file.name not in looked.label_field:
        looked.label_field[seen.file.name] = seen.reading.names.get("label", "label") if seen.reading else "label"
    if name in looked.names or len(looked.names) < MOST_LABELS:
        counts[name] += 1
        looked.classes.append(looked.names.setdefault(name, len(looked.names)))
    else:
        counts["other labels"] += 1
        looked.classes.append(-1)
    return name


def _draw(looked: Looked, text: str, label: str, draw: random.Random) -> None:
    row = len(looked.lengths) - 1
    at = row if row < SAMPLE else draw.randrange(row + 1)
    if at < SAMPLE:
        one = Sampled(text[:COVERED], len(text), label, row)
        if at < len(looked.sample):
            looked.sample[at] = one
        else:
            looked.sample.append(one)


# The report


def profile(looked: Looked, count: Count | None) -> dict[str, Any]:
    """See `look`. Keys: files, records, unfit, lengths, languages, labels, duplicates, suspicious, findings."""
    made = {
        "files": [_file(looked, file) for file in looked.files],
        "records": len(looked.lengths),
        "unfit": looked.unfit.as_list(),
        "lengths": _lengths(looked, count),
        "languages": languages([one.text for one in looked.drawn[:NAMED]]),
        "labels": _labels(looked),
        "duplicates": _duplicates(looked),
        "suspicious": [*looked.suspects.as_list(), *_odd_lengths(looked)],
        "sample": len(looked.sample),
        "skipped": looked.found.skipped,
    }
    return made | {"findings": findings(made, looked.fields, looked.label_field)}


def _file(looked: Looked, file: File) -> dict[str, Any]:
    fields = looked.fields[file.name]
    return {
        "file": file.name,
        "bytes": file.path.stat().st_size,
        "rows": fields.rows + fields.broken,
        "shape": looked.found.shapes.get(file.name, "raw"),
        "packing": file.packing.lstrip("."),
        "mended": looked.found.mended.get(file.name, {}),
        "fields": fields.as_dict(),
    }


def _lengths(looked: Looked, count: Count | None) -> dict[str, Any]:
    found = {"characters": distribution(np.frombuffer(looked.lengths, np.int64))}
    part = looked.drawn[:TOKENISED]
    if count is not None and part:
        tokens = np.array(count([one.text for one in part]), float)
        scale = np.array([one.length / max(len(one.text), 1) for one in part])  # of texts that the sample cuts
        found["tokens"] = distribution((tokens * scale).round().astype(np.int64)) | {"sampled": len(part)}
    return found


def distribution(values: np.ndarray) -> dict[str, Any]:
    """Quantiles and a histogram whose bins grow like the powers of a number, as lengths do."""
    if not len(values):
        return {}
    low, high = int(values.min()), int(values.max())
    edges = np.unique(np.geomspace(max(low, 1), max(high, 2) + 1, 41).round().astype(np.int64))
    counts, _ = np.histogram(np.maximum(values, 1), edges)
    middle = [int(v) for v in np.quantile(values, [0.05, 0.5, 0.95, 0.99])]
    return dict(zip(("p5", "median", "p95", "p99"), middle, strict=True)) | {
        "least": low, "most": high, "mean": round(float(values.mean()), 1), "total": int(values.sum()),
        "edges": edges.tolist(), "counts": counts.tolist(),
    }  # fmt: skip


def _labels(looked: Looked) -> dict[str, Any]:
    total: Counter[str] = Counter()
    for counts in looked.labels.values():
        total.update(counts)
    return {
        "counts": dict(total.most_common()),
        "files": {name: dict(c.most_common()) for name, c in looked.labels.items()},
    }


def _duplicates(looked: Looked) -> dict[str, Any]:
    whole = alike.groups(np.frombuffer(looked.whole, np.uint64))
    folded = alike.groups(np.frombuffer(looked.folded, np.uint64))
    sources, classes = np.frombuffer(looked.sources, np.uint32), np.frombuffer(looked.classes, np.int32)
    across = [rows for rows in folded if len(np.unique(sources[rows])) > 1]
    torn = [rows for rows in folded if len(np.unique(classes[rows])) > 1 and (classes[rows] >= 0).all()]
    once = list({looked.folded[one.row]: one for one in reversed(looked.sample)}.values())[
        ::-1
    ]  # equal ones are told by now
    near = alike.near_clusters([one.text for one in once])
    near_rows = [np.array([once[i].row for i in cluster]) for cluster in near]
    texts = {one.row: one.text for one in looked.sample}
    return {
        "exact": _clusters(looked, whole, texts),
        "but for case and spaces": _clusters(looked, folded, texts),
        "near, equal ones aside": _clusters(looked, near_rows, texts) | {"sampled": len(looked.sample)},
        "in several files": _clusters(looked, across, texts),
        "of several labels": _clusters(looked, torn, texts, labels=True),
        "frames": [{**one, "place": looked.place(looked.sample[one.pop("index")].row)}
                   for one in alike.frames([one.text for one in looked.sample])],
    }  # fmt: skip


def _clusters(looked: Looked, rows: list[np.ndarray], texts: dict[int, str], labels: bool = False) -> dict[str, Any]:
    """`spare`: records beyond the first of each cluster. A text is shown where the sample holds one."""
    names = list(looked.names)
    shown = []
    for cluster in rows[: alike.SHOWN]:
        text = next((texts[int(row)] for row in cluster if int(row) in texts), "")
        one = {
            "records": len(cluster),
            "places": [looked.place(int(row)) for row in cluster[:SHOWN]],
            "text": text[:200],
        }
        shown.append(one | ({"labels": [names[looked.classes[int(row)]] for row in cluster[:SHOWN]]} if labels else {}))
    return {"clusters": len(rows), "spare": sum(map(len, rows)) - len(rows), "first": shown}


def _odd_lengths(looked: Looked) -> list[dict[str, Any]]:
    """Records far beyond the others, on a scale of ratios: median ± 6 times the median distance from it."""
    lengths = np.frombuffer(looked.lengths, np.int64)
    if len(lengths) < 20:
        return []
    scale = np.log(np.maximum(lengths, 1))
    middle = np.median(scale)
    width = max(6 * float(np.median(np.abs(scale - middle))), np.log(4))
    texts = {one.row: one.text for one in looked.sample}
    told = []
    for what, rows, order in (
        (
            f"very long (the median is {round(np.exp(middle)):,} characters)",
            np.flatnonzero(scale > middle + width),
            -lengths,
        ),
        ("very short", np.flatnonzero((scale < middle - width) & (lengths > 0)), lengths),
    ):
        rows = rows[np.argsort(order[rows], kind="stable")]
        if len(rows):
            places = [f"{looked.place(int(row))} ({lengths[row]:,})" for row in rows[:20]]
            text = next((texts[int(row)] for row in rows[:200] if int(row) in texts), "")
            told.append({"what": what, "count": len(rows), "places": places, "text": text[:200]})
    return told
