"""Look at data files, mend them by stages, compare and version them.

seektune data look FILE ...                            what stands in files, and what is suspicious; --html writes a page
seektune data run pipeline.yaml                        the stages of a pipeline, into a file and a card
seektune data diff A B                                 what was added, removed and changed
seektune data audit FILE                               draws a sample of the labels for a person to judge; --filled reads it
seektune data version pipeline.yaml                    inputs, pipeline and card under DVC, in your git repository
seektune data vocabulary MODEL FILES --tokens N        grows a tokenizer for another language
seektune data terms MODEL TERMS --output FOLDER        a dictionary of terms becomes tokens
seektune data digits TOKENIZER                         whether every digit is kept; --split puts digits apart
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
