"""The options under `data:` in a recipe: which files, how they are read, split, rendered and cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..contracts import Probe, Stage, above, at_least, between, option
from ..errors import RecipeError, nearest, problem

Format = Literal["auto", "messages", "conversations", "instruction", "completion", "text", "label", "pair"]

# the names that `columns` may give to a file's own
FIELDS = (
    "instruction",
    "input",
    "output",
    "history",
    "system",
    "messages",
    "conversations",
    "tools",
    "prompt",
    "completion",
    "text",
    "text_pair",
    "spans",
    "tokens",
    "tags",
    "label",
    "chosen",
    "rejected",
)


MIXED = {
    "data.train": [{"path": "train.jsonl", "weight": 1.0}, {"path": "other.jsonl"}],
    "source": {"kind": "mixture"},
}  # of a probe


def _ours(columns: Any) -> str | None:
    for name in columns:
        if name not in FIELDS:
            return f"fields of ours before the colon, {name!r} is none ({nearest(name, FIELDS)})"
    return None


def _inside(value: Any) -> str | None:
    return None if value is None or 0 < value < 1 else "between 0 and 1, both left out"


def _some(value: Any) -> str | None:
    return None if value else "at least one file"


@dataclass(frozen=True)
class Input:
    """One entry of `data.train`: files of one origin."""

    path: str = option(help="a file, a glob or a folder", probe=Probe(other="other.jsonl"))
    format: Format = option(
        "auto",
        "the shape of its records; auto finds it from the field names",
        probe=Probe(other="text"),
    )
    columns: dict[str, str] = option(
        help="our field name: the name in the file",
        probe=Probe(other={"output": "input", "input": "output"}),
        check=_ours,
        factory=dict,
    )
    stages: list[Stage] = option(
        help="what is done to the records before they are split and rendered, in order",
        probe=Probe(other=[{"kind": "length", "least": 40}]),
        factory=list,
    )
    weight: float | None = option(
        None,
        "its part of what is learnt, against the other inputs' (7, 2, 1); any makes the source a mixture, where others count 1",
        probe=Probe(other=5.0, given=MIXED),
        check=above(0),
    )


@dataclass(frozen=True)
class Valid:
    """Where the validation records come from: a fraction of the training records, or files of their own."""

    fraction: float | None = option(
        None, "share of the training records", probe=Probe(other=0.4, given={"data.valid.fraction": 0.2}), check=_inside
    )
    path: str | None = option(
        None,
        "a file, a glob or a folder",
        probe=Probe(other="train.jsonl", seen="metrics", given={"data.valid.path": "other.jsonl"}),
    )
    group: str | None = option(
        None,
        "a field; records with equal values stay on one side of the split",
        probe=Probe(other="topic", given={"data.valid.fraction": 0.4}),
    )

    def __post_init__(self) -> None:
        if (self.fraction is None) == (self.path is None):
            found = "neither `fraction` nor `path`" if self.path is None else "both `fraction` and `path`"
            raise RecipeError(problem("data.valid", found, "one of them"))
        if self.path is not None and self.group is not None:
            raise RecipeError(problem("data.valid.group", "`group` beside `path`", "`group` with `fraction` only"))


@dataclass(frozen=True)
class Data:
    """Everything between files and tokens."""

    train: list[Input] = option(
        help="the training files",
        probe=Probe(other=[{"path": "other.jsonl"}]),
        check=_some,
    )
    valid: Valid | None = option(
        None,
        "held-out records: {fraction: 0.05} or {path: file}",
        probe=Probe(other={"fraction": 0.4}, seen="metrics"),
    )
    template: str = option(
        "auto",
        "auto takes the tokenizer's own chat template; or a Jinja file",
        probe=Probe(other="other.jinja"),
    )
    train_on: Literal["all_answers", "last_answer", "everything"] = option(
        "all_answers", "which tokens of a conversation are learnt", probe=Probe(other="everything")
    )
    max_length: int = option(2048, "tokens of the longest document", probe=Probe(other=24), check=at_least(2))
    too_long: Literal["cut", "drop", "error", "split"] = option(
        "cut",
        "what happens to a longer one; only plain texts can be split",
        probe=Probe(other="drop", given={"data.max_length": 24}),
    )
    allow_dropped: float = option(
        0.01,
        "share of an input's rows that may be unfit before the run is refused",
        probe=Probe(other=0.0, seen="stop", scenario="unfit_rows"),
        check=between(0, 1),
    )
