"""Compare two runs on the same held-out records.

    seektune compare runs/headlines-2 runs/headlines-3

Takes the newest evaluations of both that share records (`seektune evaluate` makes them), or two evaluation files.
Differences have a 95 % interval from a paired bootstrap; where records are right or wrong, McNemar's test is added.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import console

if TYPE_CHECKING:
    from ..evaluate.compare import Comparison


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="RUN", help="a run, or an evaluation file")
    parser.add_argument("after", metavar="RUN", help="another one")
    parser.add_argument("--show", type=int, default=5, metavar="N", help="so many of the changed answers are shown (5)")
    parser.add_argument(
        "--json", action="store_true", help="print the comparison, with all changed records, as JSON on stdout"
    )


def run(args: argparse.Namespace) -> int:
    from ..evaluate.compare import compare_paths

    console.use_stderr(args.json)
    found = compare_paths(Path(args.before), Path(args.after))
    _show(found, args.show)
    if args.json:
        console.result(dataclasses.asdict(found))
    return 0


def _show(found: Comparison, most: int) -> None:
    console.say(f"{found.records:,} records in both")
    for count, path in ((found.only_before, found.before), (found.only_after, found.after)):
        if count:
            console.say(f"{count:,} more only in {path}: left out", "yellow")
    rows = [[name, *_row(row)] for name, row in found.differences.items() if "/" not in name]
    console.table(["measure", "before", "after", "difference", "95 % interval", "verdict"], rows)
    console.say(f"{len(found.changed):,} records changed")
    for change in found.changed[: max(0, most)]:
        console.say()
        console.facts(
            (key, _shortened(change[key]))
            for key in ("prompt", "reference", "before", "after")
            if change[key] is not None
        )


def _row(row: dict[str, Any]) -> list[str]:
    interval = f"{_number(row['low'])} to {_number(row['high'])}"
    return [_number(row["before"], ""), _number(row["after"], ""), _number(row["difference"]), interval, verdict(row)]


def verdict(row: dict[str, Any]) -> str:
    """In words: whether the difference can be told from chance. Where McNemar's test applies, it decides."""
    if row["low"] is None:
        return "cannot be told"
    if row["low"] == row["high"] == 0:
        return "the same"
    sure = row["p"] < 0.05 if "p" in row else not row["low"] <= 0 <= row["high"]
    test = f" (gained {row['gained']:,}, lost {row['lost']:,}; McNemar p = {row['p']:.3g})" if "p" in row else ""
    return ("differs" if sure else "may be chance") + test


def _number(value: float | None, sign: str = "+") -> str:
    return "none" if value is None else f"{value:{sign}.4f}"


def _shortened(text: str, most: int = 400) -> str:
    return text if len(text) <= most else text[:most] + " …"
