"""Have a person judge labels: draw a sample to fill in, then say how many labels are right.

seektune data audit FILE                          writes FILE.audit.csv; fill in its column `right`: yes, no or the right label
seektune data audit FILE --filled FILE.audit.csv  the share of right labels, its interval, and which labels are confused
"""

from __future__ import annotations

import argparse
import csv
import heapq
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ... import console, files
from ...contracts import Record
from ...errors import DataError, RecipeError, problem

KINDS = (".csv", ".jsonl")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="a file, a glob or a folder of labelled records")
    parser.add_argument("--filled", metavar="AUDIT", help="the sample, filled in")
    parser.add_argument("--label", default="label", metavar="COLUMN", help="the column of the label (label)")
    parser.add_argument(
        "--width", type=float, default=0.02, help="half the width of the interval that is wanted (0.02)"
    )
    parser.add_argument(
        "--expected", type=float, default=0.95, help="the share of right labels that is expected (0.95)"
    )
    parser.add_argument("--size", type=int, metavar="N", help="records to draw, whatever the interval will be")
    parser.add_argument("--seed", type=int, default=17, help="of the sample (17)")
    parser.add_argument("--output", metavar="FILE", help="where to write the sample: .csv or .jsonl (FILE.audit.csv)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    console.use_stderr(options.json)
    found = _result(options) if options.filled else _drawn(options)
    if options.json:
        console.result(found)
    return 0


# The sample


def _drawn(options: argparse.Namespace) -> dict[str, Any]:
    from ...stages._audit import sample_size, wilson

    _check(options)
    output = _output(options)
    size = options.size or sample_size(options.width, options.expected)
    labels: Counter[str] = Counter()
    rows = sorted(_sample(_records(options.file), options.label, size, options.seed, labels))
    _write(output, [row for _, row in rows])
    low, high = wilson(round(len(rows) * options.expected), len(rows))
    found = {"file": str(output), "records": labels.total(), "classes": len(labels), "sampled": len(rows), "seed": options.seed,
             "expected_interval": [round(low, 4), round(high, 4)]}  # fmt: skip
    console.say(f"sample   {output}  ({len(rows):,} of {labels.total():,} records of {len(labels):,} classes)")
    console.say(f"if {options.expected:.0%} of them are right, the interval will be {low:.1%} to {high:.1%}")
    console.say("fill in the column `right` (yes, no or the right label), then")
    console.say(f"seektune data audit {options.file} --filled {output}")
    return found


def _check(options: argparse.Namespace) -> None:
    problems = []
    if not 0 < options.width < 0.5:
        problems.append(problem("--width", f"found {options.width:g}", "between 0 and 0.5"))
    if not 0 <= options.expected <= 1:
        problems.append(problem("--expected", f"found {options.expected:g}", "between 0 and 1"))
    if options.size is not None and options.size < 1:
        problems.append(problem("--size", f"found {options.size}", "at least 1"))
    if problems:
        raise RecipeError(problems)


def _output(options: argparse.Namespace) -> Path:
    """The file to write, which is not there yet: what a person has filled in is never written over."""
    output = Path(options.output or f"{options.file.rstrip('/')}.audit.csv")
    if output.suffix not in KINDS:
        raise RecipeError(problem("--output", f"found {output.name!r}", "a name that ends in .csv or .jsonl"))
    if any(c in output.name for c in "*?["):
        raise RecipeError(problem("--output", "missing beside a glob", "the file to write"))
    if output.exists():
        fix = f"go on with `--filled {output}`, or name another by --output"
        raise DataError(problem(str(output), "is there already", fix=fix))
    return output


def _records(path: str) -> Iterator[tuple[str, Record]]:
    """(place, record) of every row that can be read."""
    from ...data.options import Input
    from ...data.readers import Unfit
    from ...data.stream import Found, stream

    with console.Progress("reading", None, unit="bytes") as progress:
        for place, row in stream([Input(path, stages=[], columns={})], Found(), progress):
            if not isinstance(row, Unfit):
                yield place, row


def _sample(
    records: Iterator[tuple[str, Record]], label: str, size: int, seed: int, labels: Counter[str]
) -> list[tuple[int, dict[str, str]]]:
    """(number, row) of a simple random sample of those that have one label. `labels` counts them all."""
    from ...stages._texts import label_of

    random = np.random.default_rng(seed)

    def drawn() -> Iterator[tuple[float, int, str, Record, str]]:
        for number, (place, record) in enumerate(records):
            if (name := label_of(record, label)) is not None:
                labels[name] += 1
                yield random.random(), number, place, record, name

    found = heapq.nsmallest(size, drawn(), key=lambda one: one[:2])
    if not found:
        raise DataError(problem("--label", f"no record has one {label!r}", "the column that holds the label"))
    return [(number, _row(place, record, name)) for _, number, place, record, name in found]


def _row(place: str, record: Record, label: str) -> dict[str, str]:
    from ...stages._audit import COLUMNS, id_of
    from ...stages._texts import text_of

    return dict(zip(COLUMNS, (place, id_of(record, label), text_of(record), label, ""), strict=True))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".jsonl":
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        files.write_bytes(path, "".join(lines).encode("utf-8", "backslashreplace"))
        return
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    mark = "\ufeff"  # without it spreadsheets take Chinese for something else
    files.write_bytes(path, (mark + text.getvalue()).encode("utf-8", "backslashreplace"))


# The result


def _result(options: argparse.Namespace) -> dict[str, Any]:
    from ...stages._audit import accuracy_of, ids_of, read_audit

    there, count = dict[str, str](), 0
    for id, label in ids_of((record for _, record in _records(options.file)), options.label):
        there[id] = label
        count += 1
    rows = read_audit(options.filled, there.values())
    mine = [row for row in rows if row.id in there]
    if not mine:
        found = f"none of its {len(rows):,} judged records is in {options.file}"
        raise DataError(problem(options.filled, found, "an audit of this file"))
    told = {"records": count, "gone": len(rows) - len(mine), **accuracy_of(mine)}
    _show(told, options.filled)
    return told


def _show(told: dict[str, Any], name: str) -> None:
    low, high = told["interval"]
    if told["gone"]:
        console.warn(f"{name}: {told['gone']:,} judged records are no longer in the file: left out")
    console.say(f"{told['accuracy']:.1%} of the labels are right ({told['right']:,} of {told['judged']:,} judged)")
    console.say(f"95 % interval {low:.1%} to {high:.1%}: of {told['records']:,} records "
                f"{round((1 - high) * told['records']):,} to {round((1 - low) * told['records']):,} are wrong")  # fmt: skip
    if told["confused"]:
        rows = [[one["label"], one["right_label"] or "not said", one["count"]] for one in told["confused"]]
        console.table(["label", "should be", "records"], rows)
