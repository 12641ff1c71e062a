"""A pipeline: which files, which stages, where to; read from YAML, checked whole before a byte is read, run into a file and a card.

    input: [{path: raw/*.jsonl}]
    stages: [{kind: clean_text}, {kind: deduplicate, threshold: 0.8}]
    output: clean.jsonl

Beside `clean.jsonl` lie `clean.dropped.jsonl` (every dropped record and why) and the card (`clean.card.json`, `clean.card.md`).
"""

from __future__ import annotations

import dataclasses
import errno
import fnmatch
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from . import __version__, console, files, kinds, recipe_yaml, runtime
from .contracts import Record, Stage
from .data.fingerprint import of_digests
from .data.inputs import expand
from .data.options import Input
from .data.readers import Unfit
from .data.stream import Found, stream
from .data.write import Output, check_output
from .errors import DataError, RecipeError, RunFailedError, nearest, problem
from .kinds import Problem
from .passage import STAGE_PATHS, Passage, key_of
from .stages._work import EXAMPLES, PLACE, REASONS, bare, whole_digest

CARD_FORMAT = 1


@dataclass(kw_only=True)
class Pipeline:
    """One data run. The fields are the keys of the file."""

    input: list[Input] = field(metadata={"help": "the files, as under data.train of a recipe"})
    stages: list[Stage] = field(default_factory=list, metadata={"help": "what is done, in order"})
    output: str = field(
        metadata={"help": "the file to write: .jsonl, .jsonl.gz, .jsonl.zst or .parquet", "check": check_output}
    )
    seed: int = field(default=17, metadata={"help": "of all that is random"})
    strict: bool = field(default=False, metadata={"help": "stop at the first unfit row instead of passing it by"})
    processes: int | None = field(
        default=None, metadata={"help": "of stages that look at single records; one a core where left out"}
    )


def load(path: str | Path, overrides: Sequence[str] = ()) -> Pipeline:
    """The pipeline of a file, changed by `a.b=c` arguments. Raises RecipeError with every mistake and its line."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise RecipeError(
            problem(str(path), "no such file", "a pipeline", nearest(path.name, beside) if beside else "")
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(problem(str(path), f"cannot be read ({error})", "a pipeline in UTF-8")) from None
    written = recipe_yaml.parse(text, str(path))
    if not isinstance(written.values, dict):
        raise RecipeError(problem(f"{path}:1", "found " + kinds.shown(written.values), "keys: input, stages, output"))
    for number, argument in enumerate(overrides, 2):
        key, equals, value = argument.partition("=")
        if not equals:
            written.problems.append(problem(f"argument {number}", f"found {argument!r}", "a setting such as seed=3"))
            continue
        written.values = kinds.expand(Pipeline, written.values)
        written.put(key, recipe_yaml.parse_value(value), f"argument {number}")
    problems: list[Problem] = []
    values = kinds.expand(Pipeline, written.values)
    values.pop("version", None)
    made = kinds.construct(Pipeline, _resolved(values, path.absolute().parent), "", problems)
    for number, stage in enumerate(made.stages if made is not None else ()):
        if getattr(stage, "per_epoch", False):
            key = f"stages.{number}.per_epoch"
            problems.append(
                (key, problem(key, "a pipeline writes its records once", "false, or the stage in a recipe"))
            )
    found = written.problems + [f"{written.where(key)}: {line}" for key, line in problems]
    if found or made is None:
        raise RecipeError(list(dict.fromkeys(found)))
    return made


def _resolved(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Relative inputs are looked for beside the pipeline first, then here; the output goes beside it."""
    for entry in values["input"] if isinstance(values.get("input"), list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("path"), str):
            entry["path"] = found_at(entry["path"], folder)
    for stage in values["stages"] if isinstance(values.get("stages"), list) else []:
        for key in STAGE_PATHS if isinstance(stage, dict) else ():
            if isinstance(stage.get(key), str):
                stage[key] = found_at(stage[key], folder)
            elif isinstance(stage.get(key), list):
                stage[key] = [found_at(one, folder) if isinstance(one, str) else one for one in stage[key]]
    if isinstance(values.get("output"), str):
        values["output"] = str(folder / values["output"])
    return values


def found_at(text: str, folder: Path) -> str:
    """The path beside `folder` where something is there, else as it stands."""
    beside = folder / Path(text).expanduser()
    return str(beside) if beside.exists() or (any(c in text for c in "*?[") and list(folder.glob(text))) else text


def files_behind(path: str) -> list[Path]:
    """What an input depends on: the folder itself where it is one, so that a file that is added counts."""
    return [Path(path)] if Path(path).is_dir() else [file.path for file in expand(path)[0]]


def run(pipeline: Pipeline, cache: Path | None = None) -> dict[str, Any]:
    """Write the output, the dropped records and the card; returns the card. Interrupted and run again, it goes on.

    Raises DataError where the inputs or what becomes of them are wrong, RunFailedError where the disk is full.
    """
    _check_apart(pipeline, Path(pipeline.output))
    try:
        return _run(pipeline, Path(pipeline.output), cache)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = str(error.filename or pipeline.output)
        fix = "make room and run it again: it goes on from where it was"
        raise RunFailedError(problem(where, f"could not be written ({error.strerror})", fix=fix)) from error


def _run(pipeline: Pipeline, output: Path, cache: Path | None) -> dict[str, Any]:
    began, where = time.perf_counter(), runtime.cache_folder() if cache is None else cache
    read = _Read(pipeline)
    folder = where / "passages" / key_of(pipeline.stages, _states(pipeline), pipeline.seed, pipeline.strict)
    processes = runtime.usable_cores() if pipeline.processes is None else pipeline.processes
    passage = Passage(pipeline.stages, folder, pipeline.seed, processes, _shown, where / "answers", "stages")
    digests = bytearray()
    with files_lock(folder), Output(output) as out:
        for record in passage.run(read.resumed(folder)):
            digests += whole_digest(record)
            out.add(bare(record))
        if not out.count:
            raise DataError(problem(pipeline.input[0].path, "no record came through", fix=_reasons(read.reasons)))
    card = {
        "format": CARD_FORMAT,
        "seektune": __version__,
        "made": time.strftime("%Y-%m-%d %H:%M:%S"),
        "seconds": round(time.perf_counter() - began, 2),
        "pipeline": kinds.plain(pipeline),
        "input": read.facts(folder),
        "stages": passage.reports,
        "output": {"file": output.name, "fingerprint": of_digests(np.frombuffer(digests, "<u8").reshape(-1, 2))},
    }
    with Output(dropped_of(output)) as out:
        for line in [*read.lost, *passage.lost()]:
            out.add(line)
    files.write_json(card_of(output), card)
    files.write_text(card_of(output).with_suffix(".md"), described(card))
    files.remove(folder)
    return card


def _check_apart(pipeline: Pipeline, output: Path) -> None:
    """Raises DataError where an input is missing, or what is written would be read, now or when this runs again."""
    written = [output, dropped_of(output), card_of(output)]
    for given in pipeline.input:
        read = [file.path.resolve() for file in expand(given.path)[0]]
        for path in written:
            if path.resolve() in read or _named(os.path.abspath(path), given.path):
                what = f"{path.name} would be written over, or among, the inputs"
                raise DataError(problem(given.path, what, "an output apart from them", "write it into another folder"))


def _named(path: str, pattern: str) -> bool:
    """Whether a file of this name would be among the files of an input, were it there."""
    whole = os.path.abspath(Path(pattern).expanduser())
    if Path(pattern).is_dir():
        return path.startswith(whole + os.sep)
    return fnmatch.fnmatch(path, whole) if "**" in whole else PurePath(path).match(whole)


def files_lock(folder: Path) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    return files.lock(folder)


def stem_of(output: Path) -> str:
    return Path(output.name.removesuffix(".gz").removesuffix(".zst")).stem


def card_of(output: Path) -> Path:
    return output.with_name(f"{stem_of(output)}.card.json")


def dropped_of(output: Path) -> Path:
    return output.with_name(f"{stem_of(output)}.dropped.jsonl")


def _states(pipeline: Pipeline) -> list[Any]:
    """What tells whether the inputs are as they were: options, names, sizes, times."""
    found: list[Any] = []
    for given in pipeline.input:
        for file in expand(given.path)[0]:
            status = file.path.stat()
            found.append([dataclasses.asdict(given) | {"stages": None}, file.name, status.st_size, status.st_mtime_ns])
    return found


def _shown(task: str) -> Any:
    return console.Progress(task, None)


class _Read:
    """The rows of the inputs as records with their places; counts what is unfit."""

    def __init__(self, pipeline: Pipeline):
        self._pipeline = pipeline
        self.found, self.lost = Found(), list[dict[str, Any]]()
        self.rows = 0
        self.reasons: Counter[str] = Counter()
        self.digests = bytearray()
        self._facts: dict[str, Any] | None = None

    def resumed(self, folder: Path) -> Iterator[Record]:
        """The records; once all are read, what was found is kept in `folder` for whoever goes on from there."""
        with console.Progress("reading", None, unit="bytes") as progress:
            for place, row in stream(self._pipeline.input, self.found, progress):
                self.rows += 1
                if isinstance(row, Unfit):
                    self._pass_by(place, row)
                    continue
                try:
                    self.digests += whole_digest(row)
                except UnicodeEncodeError:
                    self._pass_by(place, Unfit("half a character in a text", "whole characters"))
                    continue
                yield row | {PLACE: place}
        files.write_json(folder / "read.json", {"facts": self._made(), "lost": self.lost})

    def _pass_by(self, place: str, unfit: Unfit) -> None:
        if self._pipeline.strict:
            raise DataError(unfit.line(place) + "; or strict: false to pass such rows by")
        reason = unfit.reason if unfit.reason in self.reasons or len(self.reasons) < REASONS else "other reasons"
        self.reasons[reason] += 1
        self.lost.append({"stage": "read", "where": place, "reason": unfit.line(place).removeprefix(f"{place}: ")})

    def _made(self) -> dict[str, Any]:
        print_ = of_digests(np.frombuffer(self.digests, "<u8").reshape(-1, 2))
        return self.found.facts() | {
            "rows": self.rows, "kept": print_["records"], "dropped": len(self.lost), "reasons": dict(self.reasons.most_common()),
            "examples": self.lost[:EXAMPLES], "fingerprint": print_,
        }  # fmt: skip

    def facts(self, folder: Path) -> dict[str, Any]:
        held = files.read_json(folder / "read.json")
        self.lost = held["lost"]
        return dict(held["facts"])


def _reasons(reasons: Counter[str]) -> str:
    return "; ".join(f"{count:,} × {reason}" for reason, count in reasons.most_common(3))


# The card for people


def described(card: dict[str, Any]) -> str:
    """The card as Markdown: what came in, what each stage did, what went out."""
    read, output = card["input"], card["output"]
    lines = [
        f"# {output['file']}",
        "",
        f"{output['fingerprint']['records']:,} records, made {card['made']} by seektune {card['seektune']}.",
        "",
    ]
    lines += ["## Input", "", f"{read['rows']:,} rows of {len(read['files'])} files, {read['dropped']:,} unfit.", ""]
    lines += [f"- `{name}`: {shape}" for name, shape in list(read["shapes"].items())[:50]]
    for name, mended in read["mended"].items():
        told = "; ".join(
            f"{what}: {v['lines']:,} lines (first: {', '.join(map(str, v['first']))})" for what, v in mended.items()
        )
        lines.append(f"- `{name}` was mended: {told}")
    lines += [f"- {count:,} × {reason}" for reason, count in read["reasons"].items()]
    lines += [
        "",
        "## Stages",
        "",
        "| stage | in | kept | changed | dropped | added | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for s in card["stages"]:
        numbers = " | ".join(f"{s[name]:,}" for name in ("seen", "kept", "changed", "dropped", "added"))
        lines.append(f"| {s['kind']} | {numbers} | {s['seconds']} |")
    for s in card["stages"]:
        options = ", ".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in s["options"].items())
        lines += ["", f"### {s['kind']}", "", options or "no options", ""]
        lines += [f"- {count:,} × {reason}" for reason, count in s["reasons"].items()]
    lines += [
        "",
        "## Fingerprint",
        "",
        f"content `{output['fingerprint']['content']}`  ",
        f"order `{output['fingerprint']['order']}`",
        "",
    ]
    return "\n".join(lines)
