"""What may be wrong with a recipe and its data, found without a model: each check yields findings, one line each with a remedy.

Counts cover all records where they cost nothing; what must be read is looked at in at most `RECORDS` records and
`DOCUMENTS` documents, spread evenly, and the line says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from . import kinds, run
from .contracts import Document, Record
from .data import split
from .data.draft import any_of
from .data.prepare import Prepared
from .errors import problem

if TYPE_CHECKING:
    from .data.chat import Renderer
    from .data.tokens import Tokens
    from .runtime import Speed

RECORDS, DOCUMENTS = 10_000, 2_000
NAMED = 3  # places that a line names

SMALL = 50_000_000  # parameters below which learning rates ten times as high are usual
FAR = 3  # a rate is far from the usual ones when it is so many times outside of them
RATES = {"lora": (5e-5, 1e-3), "full": (1e-6, 1e-4), "freeze": (1e-6, 1e-3)}  # usual peak rates of Adam-like optimizers
ORDINARY = re.compile(r"</?(think|tool_call|tool_response)>")  # added tokens that belong inside answers


@dataclass(frozen=True)
class Finding:
    """Something that a person should know before the run; an error stops it. `check` is the name of what was looked at."""

    severity: Literal["error", "warning"]
    check: str
    line: str


def warning(check: str, where: str, found: str, expected: str = "", fix: str = "") -> Finding:
    return Finding("warning", check, nearby(problem(where, found, expected, fix)))


def error(check: str, where: str, found: str, expected: str = "", fix: str = "") -> Finding:
    return Finding("error", check, nearby(problem(where, found, expected, fix)))


def nearby(text: str) -> str:
    """Places below the current folder without its path: a line names several."""
    return text.replace(f"{Path.cwd()}/", "")


@dataclass
class Look:
    """The recipe and its data, with the records and documents that the checks share."""

    recipe: Any
    data: Prepared

    @cached_property
    def records(self) -> list[tuple[str, Record]]:
        """(where, record) of training records."""
        held = self.data.train
        return [(held.where(i), held[i]) for i in spread(len(held), RECORDS)]

    @cached_property
    def documents(self) -> list[Document]:
        return [self.data.train_tokens[i] for i in spread(len(self.data.train_tokens), DOCUMENTS)]

    @property
    def classifier(self) -> bool:
        return bool(self.recipe.objective.head != "lm")

    def sides(self) -> Iterator[tuple[str, int, Tokens]]:
        """("data.train", records, tokens), and the same of the held-out ones."""
        yield "data.train", len(self.data.train), self.data.train_tokens
        if self.data.valid is not None and self.data.valid_tokens is not None:
            yield "data.valid", len(self.data.valid), self.data.valid_tokens

    def where(self, documents: Iterable[Document]) -> list[str]:
        return list(dict.fromkeys(self.data.train.where(d.record) for d in documents))


def of_data(look: Look) -> Iterator[Finding]:
    """All findings about the data, in the order of its way: files, records, rendering, cutting."""
    for check in (left_out, duplicates, leaks, labels, special_inside, template_drops, double_bos, empty_answers,
                  end_never_learnt, nothing_learnt, cut):  # fmt: skip
        yield from check(look)


# ---- files and records ----


def left_out(look: Look) -> Iterator[Finding]:
    """Rows that reading has dropped, below the share that stops a run."""
    for key, records in (("data.train", look.data.train), ("data.valid", look.data.valid)):
        inputs = records.facts["inputs"] if records is not None and _own_files(look, key) else []
        for one in inputs:
            if not one["dropped"]:
                continue
            reasons = ", ".join(f"{count:,} × {reason}" for reason, count in one["reasons"].items())
            places = named([example["where"] for example in one["examples"]], one["dropped"])
            only_empty = all("empty" in reason for reason in one["reasons"])
            check = "empty_answers" if only_empty else "left_out"
            yield warning(
                check,
                one["path"],
                f"{one['dropped']:,} of {one['rows']:,} rows are left out ({reasons}): {places}",
                fix="correct or remove them",
            )


def _own_files(look: Look, key: str) -> bool:
    """Held-out records that were split off share the facts of the training files."""
    return key == "data.train" or look.recipe.data.valid.path is not None


def duplicates(look: Look) -> Iterator[Finding]:
    records = look.data.train
    if found := split.duplicates(records):
        pairs = named([f"{records.where(j)} equals {records.where(i)}" for i, j in found[:NAMED]], len(found))
        yield warning(
            "duplicates",
            "data.train",
            f"{len(found):,} of {len(records):,} records have stood before: {pairs}",
            fix="remove them, unless they are meant to weigh more",
        )


def leaks(look: Look) -> Iterator[Finding]:
    train, valid = look.data.train, look.data.valid
    if valid is not None and (found := split.leaks(train, valid)):
        pairs = named([f"{valid.where(j)} equals {train.where(i)}" for i, j in found[:NAMED]], len(found))
        fix = (
            "remove them from one side, or the scores will flatter; `valid: {fraction: …}` keeps equal records together"
        )
        yield warning(
            "leaks",
            "data.valid",
            f"{len(found):,} of {len(valid):,} held-out records are training records: {pairs}",
            fix=fix,
        )


def labels(look: Look) -> Iterator[Finding]:
    """Labels that the held-out records never show. (One that training never shows is refused when the data is prepared.)"""
    data = look.data
    if data.labels is None or data.valid is None:
        return
    seen: set[str] = set()
    for record in data.valid:
        label = record.get("label")
        if look.recipe.objective.head == "tagger":
            label = [f"B-{kind}" for *_, kind in record["spans"]]
        seen.update(map(str, label if isinstance(label, list) else [label]))
    inside = look.recipe.objective.head == "tagger"  # there O is everywhere, and I goes with B
    missing = [label for label in data.labels if label not in seen and not (inside and not label.startswith("B-"))]
    if missing:
        found = f"{len(missing):,} of {len(data.labels):,} labels are in no held-out record: {named(list(map(repr, missing)))}"
        yield warning(
            "labels", "data.valid", found, fix="hold out more records, or nothing is known about these classes"
        )


def special_inside(look: Look) -> Iterator[Finding]:
    """Control tokens of the model that stand in what people wrote."""
    added = look.data.renderer.tokenizer.get_added_tokens_decoder().values()
    pattern = any_of(token.content for token in added if token.special and not ORDINARY.fullmatch(token.content))
    if pattern is None:
        return
    found = [
        (where, hit.group()) for where, record in look.records if (hit := pattern.search("\n".join(texts(record))))
    ]
    if found:
        places = named([f"{where} has {token!r}" for where, token in found])
        yield warning(
            "special_inside",
            "data.train",
            f"{len(found):,} of {_looked(look)} hold control tokens of the model in their text: {places}",
            fix="take them out: the model reads them as its own marks",
        )


def texts(record: Record) -> list[str]:
    """Everything in a record that people wrote."""
    found = [record.get("text"), record.get("text_pair"), *(m.get("content") for m in record.get("messages") or [])]
    return [text for text in found if isinstance(text, str)]


# ---- rendering ----


def template_drops(look: Look) -> Iterator[Finding]:
    """What the template leaves out of answers."""
    words = {"reasoning_dropped": "reasoning of", "content_dropped": "text beside the tool calls of"}
    for key, _, tokens in look.sides():
        for note, what in words.items():
            if count := tokens.facts.get("notes", {}).get(note):
                yield warning(
                    "template_drops",
                    key,
                    f"the chat template leaves out the {what} {counted(count, 'answer')}, which is not learnt",
                    fix="take a template that renders it, with data.template",
                )


def double_bos(look: Look) -> Iterator[Finding]:
    renderer = look.data.renderer
    marks = [renderer.special.get(name) for name in ("bos_token", "cls_token")]
    firsts = {renderer.tokenizer.token_to_id(mark) for mark in marks if mark} - {None}
    found = [d for d in look.documents if len(d) > 1 and d.ids[0] == d.ids[1] and int(d.ids[0]) in firsts]
    if found:
        token = renderer.decode([found[0].ids[0]], skip_special=False)
        fix = "take it out of the texts, or out of the template (data.template)"
        yield warning(
            "double_bos",
            "data.train",
            f"{len(found):,} of {len(look.documents):,} documents begin with two {token!r}: {named(look.where(found))}",
            "one",
            fix,
        )


def empty_answers(look: Look) -> Iterator[Finding]:
    """Answers with nothing behind their reasoning. (Those without any text are left out when the files are read.)"""
    found = [where for where, record in look.records if any(map(_says_nothing, record.get("messages") or []))]
    if found:
        yield warning(
            "empty_answers",
            "data.train",
            f"{len(found):,} of {_looked(look)} have an answer with nothing behind its reasoning: {named(found)}",
            fix="complete or remove them, or the model learns to say nothing",
        )


def _says_nothing(message: Record) -> bool:
    content = message.get("content")
    if message["role"] != "assistant" or message.get("tool_calls") or not isinstance(content, str):
        return False
    learnt = message.get("train", True) and message.get("weight", 1.0)
    return bool(learnt) and not content.rpartition("</think>")[2].strip()


def end_never_learnt(look: Look) -> Iterator[Finding]:
    """A model that never learns the token that ends its turn does not stop."""
    renderer, documents = look.data.renderer, look.documents
    ends = renderer.end_ids
    if look.classifier or not documents or any(np.isin(d.ids[d.weights != 0], ends).any() for d in documents):
        return
    known = " or ".join(repr(renderer.decode([token], skip_special=False)) for token in ends) or "none is known"
    chatml = ", such as data.template: chatml" if renderer.tokenizer.token_to_id("<|im_end|>") is not None else ""
    yield warning(
        "end_never_learnt",
        "data.train",
        f"the token that ends a turn ({known}) is learnt in none of {len(documents):,} documents: the model will not stop by itself",
        fix=f"raise data.max_length where answers are cut; else take a template that ends answers with a token of this tokenizer{chatml}",
    )


def vocabulary(data: Prepared, rows: int) -> Iterator[Finding]:
    """Token ids against the `rows` of the embedding: beyond them nothing can be looked up. 0 rows: not known."""
    if not rows:
        return
    used = max(
        int(tokens.arrays["ids"].max())
        for tokens in (data.train_tokens, data.valid_tokens)
        if tokens is not None and len(tokens)
    )
    known = tokens_of(data.renderer)
    if used >= rows:
        token = data.renderer.tokenizer.id_to_token(used)
        yield error(
            "vocabulary",
            "model.path",
            f"the tokenizer gives the id {used:,} ({token!r}), but the embedding has {rows:,} rows",
            "a tokenizer and weights of one model",
            "take both from one folder",
        )
    elif known > rows:
        yield warning(
            "vocabulary",
            "model.path",
            f"the tokenizer has {known - rows:,} ids beyond the {rows:,} rows of the embedding; none stands in the data",
            fix="a prompt that holds one of them will fail",
        )


def tokens_of(renderer: Renderer) -> int:
    """One more than the largest id of a tokenizer."""
    return 1 + max(renderer.tokenizer.get_vocab(with_added_tokens=True).values())


# ---- cutting ----


def nothing_learnt(look: Look) -> Iterator[Finding]:
    """Records without a token to learn; an error where they are more than a whole batch and more than may be dropped."""
    options = look.recipe.data
    for key, records, tokens in look.sides():
        rows = tokens.facts.get("no_answer_left", [])
        count = tokens.facts.get("counts", {}).get("no_answer_left", len(rows))
        if not count and len(tokens):
            continue
        many = count >= look.recipe.train.batch_size and count > options.allow_dropped * records
        report = error if key == "data.train" and (many or not len(tokens)) else warning
        after_cutting = any("cutting" in row["reason"] for row in rows)
        when = f" after cutting at data.max_length: {options.max_length}" if after_cutting else ""
        fix = (
            "raise data.max_length, or leave them out knowingly with data.too_long: drop"
            if after_cutting
            else "remove them, or look at `train` and `weight` of their messages"
        )
        yield report(
            "nothing_learnt",
            key,
            f"{count:,} of {records:,} records have no token to learn{when} and are left out: {named([row['where'] for row in rows], count)}",
            fix=fix,
        )


def cut(look: Look) -> Iterator[Finding]:
    """Answers that lost their end, texts of a classifier that were cut, documents that were dropped as too long."""
    limit = look.recipe.data.max_length
    fix = "raise data.max_length; the longest documents cost the most memory"
    for key, records, tokens in look.sides():
        facts = tokens.facts
        for what, one, told in (
            ("answers_cut", "answer", "cut off at"),
            ("dropped", "document", "left out: longer than"),
        ):
            if count := facts.get("counts", {}).get(what):
                places = named([row["where"] for row in facts[what]], count)
                found = f"{counted(count, one)} {told} data.max_length: {limit} ({records:,} records in all): {places}"
                yield warning(what, key, found, fix=fix)
        if count := facts.get("split"):
            found = f"{counted(count, 'text')} longer than data.max_length: {limit} split into {facts['pieces']:,} documents"
            yield warning(
                "split", key, found, fix="what stands before a piece is not seen; raise data.max_length to keep it"
            )
        if look.classifier and facts.get("cut"):
            yield warning(
                "texts_cut", key, f"{facts['cut']:,} of {records:,} texts cut off at data.max_length: {limit}", fix=fix
            )


# ---- the recipe ----


def learning_rate(recipe: Any, parameters: int) -> Iterator[Finding]:
    """A peak rate more than three times outside of what is usual for this tuner and size. Only for AdamW."""
    rate = getattr(recipe.optimizer, "learning_rate", None)
    tuner = kinds.kind_of("tuner", type(recipe.tuner))
    if rate is None or tuner not in RATES or kinds.kind_of("optimizer", type(recipe.optimizer)) != "adamw":
        return
    low, high = usual_rates(tuner, parameters)
    if not low / FAR <= rate <= high * FAR:
        size = f"under {SMALL // 10**6} million" if parameters < SMALL else f"{parameters / 1e6:,.0f} million"
        found = f"{rate:g} is far {'above' if rate > high else 'below'} what suits the tuner {tuner!r} on a model of {size} parameters"
        yield warning(
            "learning_rate", "optimizer.learning_rate", found, f"{low:g} to {high:g}", f"try {(low * high) ** 0.5:.0e}"
        )


def usual_rates(tuner: str, parameters: int) -> tuple[float, float]:
    low, high = RATES[tuner]
    return low, high * (10 if parameters < SMALL else 1)


def precision(asked: str, measure: Callable[[], Speed]) -> Iterator[Finding]:
    """bfloat16 where the machine is slow at it; `measure` is only called where that was asked for."""
    if asked == "bfloat16" and (speed := measure()).bfloat16 < speed.float32:
        share = speed.bfloat16 / speed.float32
        yield warning(
            "precision",
            "train.precision",
            f"bfloat16 computes at {share:.2f} times the speed of float32 on this machine",
            fix="train.precision: auto takes the faster one",
        )


def previous(recipe: Any, root: Path) -> Iterator[Finding]:
    """Batch size and learning rate both changed against the last run of this name: what made the difference cannot be told."""
    name = str(recipe.name)
    before = run.previous(root, re.sub(r"-\d+$", "", name))
    values = _values(before.path / "recipe.yaml") if before is not None else {}
    changed = []
    for key, now in (
        ("train.batch_size", recipe.train.batch_size),
        ("optimizer.learning_rate", getattr(recipe.optimizer, "learning_rate", None)),
    ):
        section, _, option = key.partition(".")
        was = (values.get(section) or {}).get(option)
        if was is not None and now is not None and was != now:
            changed.append(f"{key} was {was:g} and is {now:g}")
    if before is not None and len(changed) == 2:
        yield warning(
            "previous",
            f"against {before.path}",
            " and ".join(changed),
            "one change at a time",
            "what made the difference could not be told",
        )


def _values(path: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML, YAMLError

    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, YAMLError, UnicodeDecodeError):
        return {}  # a run that never got as far, or was edited since: there is nothing to compare with
    return values if isinstance(values, dict) else {}


# ---- pieces ----


def spread(count: int, most: int) -> list[int]:
    """At most `most` numbers below `count`, evenly spread, the first and last among them."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, most))}) if count else []


def named(places: Sequence[str], count: int | None = None) -> str:
    """The first places, and how many more there are."""
    count = len(places) if count is None else count
    shown = ", ".join(places[:NAMED])
    more = count - min(len(places), NAMED)
    return f"{shown} and {more:,} more" if more > 0 and shown else shown


def counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _looked(look: Look) -> str:
    held, looked = len(look.data.train), len(look.records)
    return f"{held:,} records" if looked == held else f"{looked:,} records looked at (of {held:,})"
