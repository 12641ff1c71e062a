"""Tell what stands in data files and what is suspicious, with file and line: shapes, lengths, languages, labels, duplicates.

seektune data look train.jsonl test.csv
seektune data look raw/ --html look.html --tokenizer models/qwen
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ... import console


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="files, globs or folders")
    parser.add_argument(
        "--tokenizer", default="base:tiny", help="whose tokens are counted: a folder, a hub id, or base:tiny"
    )
    parser.add_argument("--html", metavar="PAGE", help="write the pictures to this page, too")
    parser.add_argument("--json", action="store_true", help="print the profile as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    from ...data.tokenizer_files import counter
    from ...look.profile import look
    from ...models.load import Model, folder_of

    console.use_stderr(options.json)
    count = counter(folder_of(Model(options.tokenizer)))
    with console.Progress("looking", None, unit="bytes") as progress:
        profile, looked = look(options.files, count, progress)
    if options.html:
        from ...look.page import write_page

        write_page(profile, looked, Path(options.html))
    if options.json:
        console.result(profile)
        return 0
    show(profile)
    if options.html:
        console.say(f"page     {options.html}")
    return 0


def show(profile: dict[str, Any]) -> None:
    """The profile as tables, findings last: they are what a person acts on."""
    rows = [
        [f["file"], f["rows"], console.size(f["bytes"]), f["shape"], ", ".join(f["fields"])] for f in profile["files"]
    ]
    console.table(["file", "rows", "size", "shape", "fields"], rows)
    numbers = ("least", "p5", "median", "mean", "p95", "p99", "most", "total")
    lengths = [[unit, *(told[n] for n in numbers)] for unit, told in profile["lengths"].items() if told]
    console.table(["length in", *numbers], lengths)
    console.facts(_facts(profile))
    if profile["findings"]:
        console.title("What to look at")
        for line in profile["findings"]:
            console.say(line)


def _facts(profile: dict[str, Any]) -> list[tuple[str, str]]:
    told, labels = profile["duplicates"], profile["labels"]["counts"]
    facts = [("records", f"{profile['records']:,} ({sum(one['count'] for one in profile['unfit']):,} unfit rows)"),
             ("languages", f"{_shares(profile['languages']['counts'])}, of {profile['languages']['texts']:,} sampled")]  # fmt: skip
    facts += [("labels", f"{len(labels)}: {_shares(labels)}")] if labels else []
    facts += [(f"copies, {kind}", f"{told[kind]['spare']:,} in {told[kind]['clusters']:,} clusters" + _sampled(told[kind]))
              for kind in ("exact", "but for case and spaces", "near, equal ones aside")]  # fmt: skip
    return facts


def _sampled(told: dict[str, Any]) -> str:
    return f", of {told['sampled']:,} sampled" if "sampled" in told else ""


def _shares(counts: dict[str, int]) -> str:
    whole = sum(counts.values()) or 1
    shown = [f"{name} {count / whole:.1%}" for name, count in list(counts.items())[:8]]
    return " · ".join(shown) + (f" · {len(counts) - 8} more" if len(counts) > 8 else "")
