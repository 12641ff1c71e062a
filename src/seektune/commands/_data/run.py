"""Run the stages of a pipeline over files: writes the records, the dropped ones with reasons, and a card.

seektune data run pipeline.yaml
seektune data run pipeline.yaml seed=3 stages.1.threshold=0.7
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ... import console
from ...errors import StoppedError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipeline", help="a YAML file with input, stages and output")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that replace those of the pipeline")
    parser.add_argument("--json", action="store_true", help="print the card as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    from ... import pipeline

    console.use_stderr(options.json)
    read = pipeline.load(options.pipeline, options.settings)
    try:
        card = pipeline.run(read)
    except KeyboardInterrupt:
        raise StoppedError("stopped; the same command goes on from where it was") from None
    if options.json:
        print(json.dumps(card, ensure_ascii=False, indent=2, default=str))
    else:
        show(card, Path(read.output))
    return 0


def show(card: dict[str, Any], output: Path) -> None:
    from ... import pipeline

    read = card["input"]
    for name, mended in read["mended"].items():
        for what, told in mended.items():
            console.warn(f"{name}:{told['first'][0]}: {what} ({told['lines']:,} lines)")
    for example in [e for e in read["examples"] if e["stage"] == "read"][:5]:
        console.warn(f"{example['where']}: {example['reason']}")
    rows = [["read", read["rows"], read["kept"], 0, read["dropped"], 0, ""]]
    rows += [[s["kind"], *(s[n] for n in ("seen", "kept", "changed", "dropped", "added")), console.duration(s["seconds"])]
             for s in card["stages"]]  # fmt: skip
    console.table(
        ["stage", "in", "kept", "changed", "dropped", "added", "took"],
        [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows],
    )
    for stage in card["stages"]:
        for reason, count in list(stage["reasons"].items())[:5]:
            console.say(f"{stage['kind']:<16} {count:,} × {reason}")
    console.say(f"records  {output}  ({card['output']['fingerprint']['records']:,})")
    console.say(f"dropped  {pipeline.dropped_of(output)}")
    console.say(f"card     {pipeline.card_of(output).with_suffix('.md')}")
