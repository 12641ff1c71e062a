"""Look at data files, mend them by stages, compare and version them.

seektune data look FILE                    what stands in a file, and what is suspicious
seektune data run pipeline.yaml            the stages of a pipeline, into a file and a card
seektune data diff A B                     what was added, removed and changed
"""

from __future__ import annotations

import argparse

from . import _data
from ._verbs import command, verbs


def arguments(parser: argparse.ArgumentParser) -> None:
    inner = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, line in verbs(_data).items():
        module = command(verb, _data)
        of_verb = inner.add_parser(
            verb, help=line, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.arguments(of_verb)


def run(options: argparse.Namespace) -> int:
    return int(command(options.verb, _data).run(options) or 0)
