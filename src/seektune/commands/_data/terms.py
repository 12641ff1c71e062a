"""Give a model the terms of a field as tokens of their own, with rows that start from their definitions.

seektune data terms base:tiny terms.csv --output with_terms
seektune data terms Qwen/Qwen2.5-0.5B terms.jsonl --output with_terms --weight 0.7

The file has the columns term and definition. The folder is an ordinary one: name it under model.path of a recipe.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ... import console


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="hub id, folder or base:tiny")
    parser.add_argument("terms", help="JSONL, CSV or TSV with the columns term and definition")
    parser.add_argument("--output", required=True, help="the folder to write")
    parser.add_argument(
        "--weight",
        type=_share,
        default=0.5,
        help="of the definition in a new row, 0 to 1; the rest is of the old pieces (0.5)",
    )
    parser.add_argument("--revision", default="main", help="branch, tag or commit of a hub id")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON on stdout")


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number between 0 and 1")
    return value


def run(options: argparse.Namespace) -> int:
    from ... import files
    from ...errors import ModelError, problem
    from ...models import adapters, load, terms
    from ...models.quiet import quiet
    from ...tuners._folders import save_model

    console.use_stderr(options.json)
    output, given = Path(options.output), load.Model(options.model, options.revision)
    if output.exists():
        raise ModelError(problem(f"--output {output}", "is there already", "a new folder"))
    wanted = terms.read_terms(options.terms)
    folder = load.folder_of(given)
    if adapters.is_adapter(folder):
        raise ModelError(problem(options.model, "is an adapter", "a whole model", "train it with tuner.merged: true"))
    tokenizer, model = load.open_tokenizer(folder), load.open_model(given)
    done = terms.extend(model, tokenizer, wanted, options.weight)
    with files.new_folder(output) as aside, quiet():
        save_model(model, aside)
        tokenizer.save_pretrained(aside)
        files.write_json(aside / "terms.json", done.as_dict() | {"weight": options.weight, "model": options.model})
    if options.json:
        print(json.dumps(done.as_dict(), ensure_ascii=False, indent=2))
    else:
        show(done.as_dict(), output)
    return 0


def show(told: dict[str, Any], output: Path) -> None:
    shown = list(told["added"].items())
    rows = [[name, str(term["id"]), str(term["pieces"]), str(term["of_definition"])] for name, term in shown[:20]]
    console.table(["term", "id", "pieces before", "tokens of its definition"], rows)
    console.say(f"added    {len(shown):,} terms, {told['tokens_per_term_before']} tokens each before, 1 now")
    if told["without_definition"]:
        console.warn(f"without a definition: {told['without_definition']:,}; these rows start from their pieces alone")
    if told["known"]:
        some = ", ".join(told["known"][:8])
        console.say(f"known    {len(told['known']):,} are one token already and stay as they are: {some}")
    console.say(f"model    {output}")
