"""From the `data:` part of a recipe to documents: read and check every row, split, render, tokenise; all counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import DataError, problem
from . import formats, split
from .anew import Anew, Change
from .chat import Renderer
from .fingerprint import fingerprint
from .options import Data, Input
from .origins import origins_of
from .store import Records
from .tags import classes
from .tokens import Tokens, Work, tokenise

Show = Callable[[str], Callable[[int, int], None]]  # a task's name -> what is told (done, total)
Staged = Callable[[int, Records], Records]  # number of an input, its records -> these after its stages


@dataclass
class Prepared:
    """What a run learns from and is measured on. `labels` and `several` only for classifiers."""

    renderer: Renderer
    train: Records
    valid: Records | None
    train_tokens: Tokens
    valid_tokens: Tokens | None
    labels: list[str] | None
    several: bool
    fingerprints: dict[str, Any]

    def facts(self) -> dict[str, Any]:
        """For data.json: fingerprints, counts of each input, and what tokenising did to them."""
        found = {"fingerprint": self.fingerprints, "labels": self.labels}
        for name, records, tokens in (
            ("train", self.train, self.train_tokens),
            ("valid", self.valid, self.valid_tokens),
        ):
            if records is not None and tokens is not None:
                sums = {"documents": len(tokens), "tokens": int(tokens.lengths.sum())}
                found[name] = {"records": len(records), **sums, "inputs": records.facts, "tokenised": tokens.facts}
        return found


def quiet(task: str) -> Callable[[int, int], None]:
    return lambda done, total: None


def prepare(
    data: Data,
    renderer: Renderer,
    *,
    head: Literal["lm", "classifier", "tagger"],
    seed: int,
    cache: Path | None,
    show: Show = quiet,
    staged: Staged | None = None,
    anew: Mapping[int, Sequence[Change]] | None = None,
) -> Prepared:
    """Raises DataError with everything that is wrong with the files, before anything heavy is loaded.

    `staged` runs the stages of an input, where it has any; `anew` are changes that each epoch makes to the records of an input.
    """

    def read(inputs: list[Input]) -> Records:
        return formats.read(inputs, data.allow_dropped, head, cache=_sub(cache, "records"), show=show("reading"))

    if any(one.stages for one in data.train):
        assert staged is not None, "an input has stages, and nobody to run them"
        parts = [staged(i, read([one])) if one.stages else read([one]) for i, one in enumerate(data.train)]
        records = Records.joined(parts)
    else:
        records = read(list(data.train))
    valid: Records | None = None
    if data.valid is not None and data.valid.path is not None:
        valid = read([replace(data.train[0], path=data.valid.path)])  # of the same shape and columns, without stages
    elif data.valid is not None:
        records, valid = split.split(records, data.valid, seed)
    labels, several = _labels(records) if head == "classifier" else (None, False)
    if head == "tagger":
        labels = _tags(records)
    if valid is not None and labels is not None:
        _check_labels(valid, labels)

    def tokens(of: Records) -> Tokens:
        return tokenise(
            of, renderer, train_on=data.train_on, max_length=data.max_length, too_long=data.too_long,
            labels=labels, tags=head == "tagger", cache=_sub(cache, "tokens"), show=show("tokenising"),
        )  # fmt: skip

    _check_template(renderer, records)
    train_tokens = tokens(records)
    if len(train_tokens) == 0:
        raise DataError(
            problem(
                "data.train",
                f"none of {len(records)} records has a token to learn",
                fix="look at data.max_length and data.train_on",
            )
        )
    train_tokens.origins = origins_of(records, data.train)
    if anew:
        work = Work(renderer, data.train_on, data.max_length, data.too_long, labels)
        train_tokens.anew = Anew(records, work, anew)
    valid_tokens = tokens(valid) if valid is not None else None
    prints = {"train": fingerprint(records)} | ({"valid": fingerprint(valid)} if valid is not None else {})
    return Prepared(renderer, records, valid, train_tokens, valid_tokens, labels, several, prints)


def _check_template(renderer: Renderer, records: Records) -> None:
    """Without a chat template no conversation can be rendered: told once, and not for each record."""
    if renderer.template is None and (first := next((r for r in records if "messages" in r), None)):
        renderer.text(first["messages"])


def _sub(cache: Path | None, name: str) -> Path | None:
    return cache / name if cache is not None else None


def _labels(records: Records) -> tuple[list[str], bool]:
    """All labels, sorted, and whether a record may have several."""
    found: set[str] = set()
    several = False
    for record in records:
        label = record.get("label")
        several |= isinstance(label, list)
        found.update(str(one) for one in (label if isinstance(label, list) else [label]))
    if len(found) < 2:
        raise DataError(
            problem(
                "data.train", f"only one label, {sorted(found)[0]!r}" if found else "no label", "at least two labels"
            )
        )
    return sorted(found), several


def _tags(records: Records) -> list[str]:
    """The classes of the pieces: O, and B and I of every type."""
    found = classes(records)
    if len(found) < 2:
        raise DataError(problem("data.train", "no record has a span", "entities to learn"))
    return found


def _check_labels(valid: Records, labels: list[str]) -> None:
    """A held-out record of a class that training never shows cannot be judged."""
    problems = []
    for i, record in enumerate(valid):
        label = (
            [f"B-{kind}" for *_, kind in record["spans"]]
            if labels[0] == "O" and "spans" in record
            else record.get("label")
        )
        for one in label if isinstance(label, list) else [label]:
            if str(one) not in labels:
                problems.append(
                    problem(
                        valid.where(i), f"label {one!r} is in no training record", "one of " + ", ".join(labels[:10])
                    )
                )
    if problems:
        raise DataError(problems[:5] + ([f"… and {len(problems) - 5} more"] if len(problems) > 5 else []))
