"""Check that a tokenizer keeps every digit and cuts numbers alike; write one that puts digits apart.

seektune data digits models/qwen
seektune data digits models/qwen --split models/qwen-digits
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from ... import console


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tokenizer", help="the folder of a tokenizer or a model, or a tokenizer.json")
    parser.add_argument(
        "--split", metavar="FOLDER", help="write the tokenizer there with digits one by one; ids stay as they are"
    )
    parser.add_argument("--json", action="store_true", help="print what was found as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    from ...data import digits

    console.use_stderr(options.json)
    found = digits.check(digits.opened(options.tokenizer))
    after = digits.split(options.tokenizer, options.split) if options.split else None
    if options.json:
        print(json.dumps(found.as_dict() | ({"split": after.as_dict()} if after else {}), ensure_ascii=False, indent=2))
        return 0
    _show(found)
    if after:
        console.say(f"written  {options.split}  (digits one by one: {after.numbers:,} numbers come back exactly)")
    return 0


def _show(found: Any) -> None:
    console.say(f"numbers  {found.numbers:,}, in texts of many forms")
    console.say(
        f"lost     {found.lost_count:,}"
        + (f"  ({found.lost[0][0]!r} comes back as {found.lost[0][1]!r})" if found.lost else "")
    )
    rows = []
    for length, cuts in sorted(found.cuts.items()):
        cut, count = cuts.most_common(1)[0]
        rows.append(
            [length, len(cuts), "+".join(map(str, cut)), f"{count / cuts.total():.0%}", " ".join(found.examples[cut])]
        )
    console.table(["digits", "ways", "mostly", "share", "example"], rows)
    if found.one_by_one:
        console.say("every digit is a piece of its own")
    elif found.irregular:
        console.warn(
            f"numbers of {len(found.irregular)} lengths are cut in several ways: --split FOLDER puts digits apart"
        )
