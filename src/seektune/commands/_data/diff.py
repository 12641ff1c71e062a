"""Compare two versions of data: which records were added, removed and changed, and the fingerprints of both.

seektune data diff old.jsonl new.jsonl
seektune data diff old/ new/ --key id          changed records are those with the same id
seektune data diff old.card.json runs/sft-1    a card stands for its file, a run for the fingerprint in its data.json
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from ... import console

if TYPE_CHECKING:
    from ._versions import Difference


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a file, a folder, a glob, a card (.card.json), a run or its data.json")
    parser.add_argument("b", metavar="B", help="the other version")
    parser.add_argument("--key", metavar="COLUMN", help="the column that names a record in both")
    parser.add_argument("--examples", type=int, default=10, metavar="N", help="of each kind that are shown (10)")
    parser.add_argument("--json", action="store_true", help="print all as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    from ._versions import compare, side

    console.use_stderr(options.json)
    a, b = side(options.a), side(options.b)
    with _Bars() as bars:
        found = compare(a, b, options.key, max(0, options.examples), bars.open)
    if options.json:
        console.result({"a": options.a, "b": options.b} | _plain(found))
    else:
        show(options.a, options.b, found)
    return 0


class _Bars:
    """Progress of one task after the other."""

    _bar: console.Progress | None = None

    def open(self, task: str) -> console.Progress:
        self.close()
        self._bar = console.Progress(task, None, unit="bytes" if task.startswith("reading") else "")
        return self._bar

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _plain(found: Difference) -> dict[str, Any]:
    held = dict(vars(found))
    return {"fingerprints": {"a": held.pop("a"), "b": held.pop("b")}} | held


def show(a: str, b: str, found: Difference) -> None:
    rows = [
        [name, one.get("records", ""), one["content"][:16], one["order"][:16]]
        for name, one in ((a, found.a), (b, found.b))
    ]
    console.table(["version", "records", "content", "order"], rows)
    for note in found.notes:
        console.warn(note)
    console.say(verdict(found))
    if not found.compared:
        return
    console.say(f"same {found.same:,}   added {found.added:,}   removed {found.removed:,}   changed {found.changed:,}")
    if found.changed:
        console.say("changed  " + ", ".join(f"{name} {count:,}" for name, count in found.columns.most_common(10)))
    for example in found.examples["removed"]:
        console.say(f"- {example['where']}  {_line(example['record'])}", "red")
    for example in found.examples["added"]:
        console.say(f"+ {example['where']}  {_line(example['record'])}", "green")
    for example in found.examples["changed"]:
        console.say(f"~ {example['where']} → {example['to']}", "yellow")
        for name, values in example["fields"].items():
            console.say(f"    {name}: {_line(values['before'])} → {_line(values['after'])}")


def verdict(found: Difference) -> str:
    if found.a["content"] != found.b["content"]:
        return "different records" + (
            "" if found.compared else "; which ones cannot be told, as one side is a fingerprint only"
        )
    return "the same records" + (" in the same order" if found.a["order"] == found.b["order"] else " in another order")


def _line(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 160 else text[:159] + "…"
