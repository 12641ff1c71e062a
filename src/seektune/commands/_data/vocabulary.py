"""Grow a model's vocabulary for a new language: learns tokens from files and writes the model with them.

seektune data vocabulary base:tiny swahili.jsonl --tokens 1000 --output model-sw
seektune data vocabulary MODEL 'texts/*.txt' pairs.jsonl --column sw --tokens 4000 --output FOLDER

Each new token starts as the mean of the pieces that it replaces. One text in ten is not learnt from: on these the tokens of a
word are counted before and after.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import console
from ...errors import DataError, RecipeError, problem

if TYPE_CHECKING:
    import tokenizers

HELD_OUT = 10  # one text in so many is measured, not learnt from


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a folder, a run, a hub id, or base:tiny")
    parser.add_argument("files", nargs="+", metavar="FILES", help="texts of the new language, or records with them")
    parser.add_argument("--tokens", type=int, required=True, help="how many new tokens at most")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="the model that is written")
    parser.add_argument("--column", help="the field that holds the text; all texts of a record where left out")
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON on stdout")


def run(options: argparse.Namespace) -> int:
    from ...engine.opening import folder_of
    from ...models import vocabulary

    console.use_stderr(options.json)
    if options.tokens < 1:
        raise RecipeError(problem("--tokens", f"found {options.tokens}", "at least 1"))
    output = Path(options.output)
    if output.exists():
        raise RecipeError(problem("--output", f"{output} exists", "a new folder"))
    folder = folder_of(options.model)
    tokenizer = vocabulary.read_tokenizer(folder)
    learnt, held = parted(texts(options.files, options.column))
    grown = vocabulary.learn(tokenizer, learnt, options.tokens)
    if not len(grown):
        raise DataError(problem(options.files[0], "no pair of tokens stands in it twice", "more text"))
    facts = described(tokenizer, vocabulary.extended(tokenizer, grown), grown, learnt, held)
    vocabulary.write(folder, output, grown, facts)
    if options.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        show(facts, output)
    return 0


def texts(paths: list[str], column: str | None) -> Iterator[str]:
    """Every text of the files, whatever their shape. DataError where none has the column."""
    from ...data.options import Input
    from ...data.stream import Found, stream
    from ...stages._texts import texts as texts_of

    some = False
    for place, row in stream([Input(path=path) for path in paths], Found()):
        if not isinstance(row, dict):
            console.warn(row.line(place))
            continue
        for _, text in texts_of(row, column):
            some = True
            yield text
    if not some:
        raise DataError(problem(paths[0], f"no text in {column!r}" if column else "no text", "another --column"))


def parted(found: Iterator[str]) -> tuple[list[str], list[str]]:
    """(learnt, measured): every tenth text is measured; all of them where there are fewer than ten."""
    every = list(dict.fromkeys(found))
    held = every[HELD_OUT - 1 :: HELD_OUT]
    return ([text for i, text in enumerate(every, 1) if i % HELD_OUT], held) if held else (every, every)


def described(
    before: tokenizers.Tokenizer, after: tokenizers.Tokenizer, grown: Any, learnt: list[str], held: list[str]
) -> dict[str, Any]:
    """What is told and kept: sizes, and tokens of a word (Chinese words as jieba cuts them) on texts that were not learnt."""
    from ...stages._words import words

    count = sum(len(words(text)) for text in held) or 1
    tokens = [sum(len(e.ids) for e in t.encode_batch(held, add_special_tokens=False)) for t in (before, after)]
    return {
        "tokens": len(grown),
        "first_id": grown.first,
        "vocabulary": [before.get_vocab_size(), after.get_vocab_size()],
        "texts_learnt": len(learnt),
        "texts_measured": len(held),
        "tokens_per_word": [round(n / count, 4) for n in tokens],
        "learnt": ["".join(pair) for pair in grown.merges],
    }


def show(facts: dict[str, Any], output: Path) -> None:
    before, after = facts["tokens_per_word"]
    console.say(
        f"learnt   {facts['tokens']:,} tokens from {facts['texts_learnt']:,} texts: {', '.join(facts['learnt'][:8])}"
    )
    console.say(f"a word   {before:.2f} tokens before, {after:.2f} after (on {facts['texts_measured']:,} other texts)")
    console.say(f"model    {output}")
