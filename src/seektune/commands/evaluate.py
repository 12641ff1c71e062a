"""Measure a model on held-out records.

    seektune evaluate runs/headlines-3 --data test.jsonl
    seektune evaluate base:tiny --data test.jsonl --measure exact_match,normalise=json --limit 200
    seektune evaluate runs/headlines-3 --data test.jsonl --require 'exact_match>0.9'

Each figure comes with its 95 % interval. The answers are kept (in the run, or in --out) for `seektune compare`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import console
from ..errors import RecipeError, problem

if TYPE_CHECKING:
    from ..contracts import Measure, Record
    from ..evaluate.evaluator import Report

SEED = 17  # of --limit


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a run, a model or adapter folder, a hub id, or base:tiny")
    parser.add_argument(
        "--data", action="append", required=True, metavar="FILE", help="held-out records; may be repeated"
    )
    parser.add_argument("--format", default="auto", help="shape of the records, where `auto` does not find it")
    parser.add_argument(
        "--measure",
        action="append",
        metavar="KIND[,OPTION=VALUE]",
        help="what to measure; may be repeated (a language model: exact_match and perplexity, a classifier: accuracy and f1)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help=f"N of the records, drawn with seed {SEED}")
    parser.add_argument(
        "--require", action="append", default=[], metavar="'NAME>0.9'", help="exit 1 where a figure does not reach it"
    )
    parser.add_argument("--out", metavar="FILE", help="where the answers go (JSONL); of a run they are kept in the run")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    parser.add_argument(
        "--template", default="auto", metavar="FILE", help="a Jinja chat template instead of the model's own"
    )
    parser.add_argument("--json", action="store_true", help="print the scores as one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    from ..engine import opening
    from ..evaluate.evaluator import evaluate
    from ..require import check_requirements

    console.use_stderr(args.json)
    require = requirements(args.require)
    measures = [measure_of(text) for text in args.measure or []]
    head = opening.head_of(opening.folder_of(args.model))
    records = _records(args, head)
    measures = measures or _usual(head, records)
    engine = opening.open_engine(args.model, args.device, template=args.template)
    with console.Progress("evaluating", len(records)) as progress:
        report = evaluate(engine, records, measures, show=lambda done, _: progress.update(done))
    kept = _keep(args, report, records)
    _show(report, kept)
    unmet = check_requirements(require, {}, report.scores)
    if args.json:
        scores = {"model": args.model, "records": len(records), "measures": report.measures, "scores": report.scores}
        console.result(scores | {"answers": None if kept is None else str(kept), "unmet": unmet})
    console.error(unmet)
    return 1 if unmet else 0


def requirements(lines: list[str]) -> dict[str, str]:
    """{name: condition} of `--require` lines. Raises RecipeError listing those that cannot be read."""
    from ..require import parse

    found: dict[str, str] = {}
    problems = []
    for line in lines:
        place = next((i for i, char in enumerate(line) if char in "<>="), 0)
        name, condition = line[:place].strip(), line[place:].strip()
        try:
            if not name or "before" in condition:
                raise RecipeError("")
            parse(condition)
        except RecipeError:
            problems.append(problem("--require", f"found {line!r}", "like 'exact_match>0.9'"))
        found[name] = f"{found[name]} and {condition}" if name in found else condition
    if problems:
        raise RecipeError(problems)
    return found


def measure_of(text: str) -> Measure:
    """`exact_match,normalise=json` as a measure; values are read as YAML. Raises RecipeError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from .. import kinds

    kind, *settings = text.split(",")
    spec: dict[str, Any] = {"kind": kind.strip()}
    for setting in settings:
        name, equals, value = setting.partition("=")
        try:
            if not equals:
                raise YAMLError
            spec[name.strip()] = YAML(typ="safe", pure=True).load(value)
        except YAMLError:
            raise RecipeError(problem("--measure", f"found {setting!r} in {text!r}", "OPTION=VALUE")) from None
    measure: Measure = kinds.build("evaluate", spec)
    return measure


def _usual(head: str, records: Any) -> list[Measure]:
    from ..evaluate.measures._records import question

    if head == "tagger":
        return [measure_of("span_f1")]
    if head == "classifier":
        return [measure_of("accuracy"), measure_of("f1")]
    answered = any(question(records[i]) is not None for i in range(len(records)))
    return [measure_of("exact_match"), measure_of("perplexity")] if answered else [measure_of("perplexity")]


def _records(args: argparse.Namespace, wants: Any) -> Any:
    """The records of --data, or `--limit` of them in their order."""
    import random

    from ..data.formats import read
    from ..data.options import Input

    if args.limit is not None and args.limit < 1:
        raise RecipeError(problem("--limit", f"found {args.limit}", "at least 1"))
    records = read([Input(path=path, format=args.format) for path in args.data], 0.01, wants)
    if args.limit is None or args.limit >= len(records):
        return records
    console.say(f"{args.limit:,} of {len(records):,} records, drawn with seed {SEED}", "dim")
    return records.select(sorted(random.Random(SEED).sample(range(len(records)), args.limit)))


def _keep(args: argparse.Namespace, report: Report, records: list[Record]) -> Path | None:
    from ..evaluate import stored
    from ..run import Run

    path = Path(args.out) if args.out else None
    if path is None and Run(args.model).wrong is None:
        path = stored.place(Path(args.model))
    return path and stored.write(path, report, records, args.model)


def _show(report: Report, kept: Path | None) -> None:
    rows = [[name, *_figures(score)] for name, score in report.scores.items() if "/" not in name]
    console.table(["measure", "value", "95 % interval", "records"], rows)
    if classes := {name.partition("/")[2]: None for name in report.scores if "/" in name}:
        kinds = [
            name for name in ("precision", "recall", "f1") if any(key.startswith(name + "/") for key in report.scores)
        ]
        lines = [[one, *(_number(report.scores[f"{kind}/{one}"]["value"]) for kind in kinds)] for one in classes]
        console.table(["class", *kinds], lines)
    if kept is not None:
        console.say(f"answers: {kept}", "dim")


def _figures(score: dict[str, Any]) -> list[Any]:
    interval = f"{_number(score['low'])} to {_number(score['high'])}" if score["low"] is not None else "none"
    skipped = f" ({score['skipped']:,} skipped: nothing to answer)" if score.get("skipped") else ""
    return [
        _number(score["value"]) if score["value"] is not None else score["reason"],
        interval,
        f"{score['n']:,}{skipped}",
    ]


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}"
