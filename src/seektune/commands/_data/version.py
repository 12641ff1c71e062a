"""Put pipelines with their inputs and outputs under DVC, in a git repository: what changed runs again, old versions come back.

seektune data version pipeline.yaml more.yaml
seektune data version --remote /mnt/data          all that are under DVC, pushed to a folder
"""

from __future__ import annotations

import argparse

from ... import console


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipelines", nargs="*", metavar="PIPELINE", help="YAML files; those of dvc.yaml where left out")
    parser.add_argument("--remote", metavar="FOLDER", help="keep the data in this folder, too, and push to it")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    from ... import versioning

    console.use_stderr(options.json)
    made = versioning.version(options.pipelines, options.remote)
    for line in versioning.described(made):
        console.say(line)
    if options.json:
        console.result(versioning.as_dict(made))
    return 0
