"""Who says how far a record can be trusted: each scorer is a plain function from records to a trust in [0, 1] for each.

A user's own is a function `(records, work) -> numbers`, named `module:function`; None stands for "cannot say".
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..contracts import Record
from ..errors import DataError, RecipeError, problem
from . import _trust
from ._conversations import conversation, last_answer
from ._models import Local, Writer, opened
from ._texts import text_of
from ._work import Work

BATCH = 512
SHOWN = 8000  # characters of a record that a judge is shown
ASK = "How good is the following record for teaching a language model? Is the answer right, complete and to the point?"
NUMBER = "Answer with one number from 0 (wrong or useless) to 10 (right and helpful), and nothing else."

_number = re.compile(r"(?<![\d.,\-])(\d+(?:[.,]\d+)?)(?!\d)")
_thinking = re.compile(r"<think>.*?(?:</think>|\Z)", re.S)


@dataclass
class Trust:
    """What a scorer found. `values`: nan where it cannot say."""

    values: np.ndarray  # (records,)
    reason: str  # why a record below the threshold goes
    guesses: list[str | None] | None = None  # the likeliest other label of each record
    sure: np.ndarray | None = None  # (records,) how likely that one is
    unknown: Counter[str] = field(default_factory=Counter)  # why it could not say: reason -> records
    unparsed: np.ndarray | None = None  # (records,) bool: the judge's answer held no number
    facts: dict[str, Any] = field(default_factory=dict)


# Labels


def classifier(records: Sequence[Record], work: Work, label: str, column: str | None, folds: int) -> Trust:
    """TF-IDF and logistic regression, out of fold."""
    return _of_labels(records, _trust.Words(), work, label, column, folds)


def encoder(records: Sequence[Record], work: Work, model: str, label: str, column: str | None, folds: int) -> Trust:
    """Embeddings of a frozen model and logistic regression, out of fold."""
    from ._embedded import Embedded

    return _of_labels(records, Embedded(model), work, label, column, folds)


def _of_labels(
    records: Sequence[Record], features: _trust.Features, work: Work, label: str, column: str | None, folds: int
) -> Trust:
    found = _trust.judged(records, features, work, label, column, folds)
    made = Trust(np.full(len(records), np.nan), "the label is distrusted", facts=found.facts)
    made.unknown["no label, or none that can be judged"] = len(records) - len(found.at)
    made.guesses, made.sure = [None] * len(records), np.zeros(len(records))
    made.values[found.at] = found.trust
    for row, at in enumerate(found.at):
        others = found.right[row].copy()
        others[found.given[row]] = -1
        best = int(others.argmax())
        made.guesses[at], made.sure[at] = found.classes[best], others[best]
    return made


# A model's own view


def likelihood(records: Sequence[Record], work: Work, model: str) -> Trust:
    """How usual the model finds the answer: its loss a token, as a robust z-score within the set.

    z = (loss - median) / (1.4826 × median absolute deviation); trust = 1 / (1 + e^(z - 3)): half at three deviations above
    the median, 0.8 at 1.6. An answer that is likelier than most is never distrusted.
    """
    losses, refused = _losses(records, conversation, Local(model), work)
    known = losses[~np.isnan(losses)]
    middle = float(np.median(known)) if len(known) else 0.0
    spread = 1.4826 * float(np.median(np.abs(known - middle))) if len(known) else 1.0
    z = (losses - middle) / max(spread, 1e-9)
    facts = {"median_loss": round(middle, 4), "robust_deviation": round(spread, 4)}
    made = Trust(_logistic(3 - z), "the answer is unlikely to the model", facts=facts)
    made.unknown += refused
    return made


def difficulty(records: Sequence[Record], work: Work, model: str) -> Trust:
    """Instruction-following difficulty (Li et al. 2023, arXiv:2308.12032): the loss a token of the answer behind its prompt
    through that of the answer alone.

    At a ratio of 1 the prompt tells the model nothing about the answer. trust = 1 / (1 + e^((ratio - 1) / 0.05) / 4): 0.8
    at a ratio of 1, near 1 where the prompt helps.
    """
    local = Local(model)
    behind, refused = _losses(records, _behind_its_prompt, local, work)
    alone, _ = _losses(records, _alone, local, work)
    ratio = behind / np.where(alone > 1e-9, alone, np.nan)
    facts = {"median_ratio": round(float(np.nanmedian(ratio)), 4)} if (~np.isnan(ratio)).any() else {}
    made = Trust(_logistic(np.log(4) - (ratio - 1) / 0.05), "the prompt does not help to find the answer", facts=facts)
    made.unknown += refused
    return made


def _behind_its_prompt(record: Record) -> Record | None:
    found = last_answer(record)
    if found is None:
        return None
    before, answer = found
    return {"messages": [*({**turn, "train": False} if turn["role"] == "assistant" else turn for turn in before),
                         {"role": "assistant", "content": answer}]}  # fmt: skip


def _alone(record: Record) -> Record | None:
    found = last_answer(record)
    return None if found is None else {"messages": [{"role": "assistant", "content": found[1]}]}


def _losses(
    records: Sequence[Record], shape: Callable[[Record], Record | None], local: Local, work: Work
) -> tuple[np.ndarray, Counter[str]]:
    """(-log p a learnt token of each record in nats, nan where there is none; why: reason -> records)."""
    found, refused = np.full(len(records), np.nan), Counter[str]()
    show = work.show("scoring")
    for rows in _parts(len(records)):
        shaped = [(i, made) for i in rows if (made := shape(records[i])) is not None]
        refused["no answer"] += len(rows) - len(shaped)
        scores = _scored(local, [made for _, made in shaped])
        refused["refused by the model's template"] += sum(score is None for score in scores)
        for (i, _), score in zip(shaped, scores, strict=True):
            if score is not None and score[1]:
                found[i] = score[0] / score[1]
        show(rows[-1] + 1, len(records))
    return found, +refused


def _scored(local: Local, records: list[Record]) -> list[tuple[float, float] | None]:
    """One by one where the template refuses any: None for those."""
    try:
        return list(local.score(records)) if records else []
    except DataError:
        if len(records) == 1:
            return [None]
        half = len(records) // 2
        return _scored(local, records[:half]) + _scored(local, records[half:])


def _logistic(value: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -60, 60))))


def _parts(count: int) -> Iterator[range]:
    return (range(start, min(start + BATCH, count)) for start in range(0, count, BATCH))


# A judge


def judge(records: Sequence[Record], work: Work, model: str, name: str, ask: str) -> Trust:
    """A model that answers with a number from 0 to 10: a tenth of it is the trust."""
    writer = opened(model, work, name=name, max_new_tokens=16)
    return judged_by(records, writer, ask)


def judged_by(records: Sequence[Record], writer: Writer, ask: str) -> Trust:
    """The same with anything that answers prompts."""
    made = Trust(np.full(len(records), np.nan), "distrusted by the judge", unparsed=np.zeros(len(records), bool))
    for rows in _parts(len(records)):
        for i, answer in zip(rows, writer.write([question(records[i], ask) for i in rows]), strict=True):
            number = number_in(answer)
            if number is None:
                made.unparsed[i] = True  # type: ignore[index]
            else:
                made.values[i] = number / 10
    made.facts["unparsed_answers"] = int(made.unparsed.sum())  # type: ignore[union-attr]
    return made


def question(record: Record, ask: str) -> Record:
    """The prompt about a record: what is asked, the record, the form of the answer."""
    return {"messages": [{"role": "user", "content": f"{ask}\n\n{_shown(record)[:SHOWN]}\n\n{NUMBER}"}]}


def _shown(record: Record) -> str:
    read = conversation(record)
    if read is not None and "messages" in read:
        return "\n\n".join(f"[{turn['role']}] {turn.get('content') or ''}" for turn in read["messages"])
    label = f"\n\n[label] {record['label']}" if "label" in record else ""
    return f"[text] {text_of(record)}{label}"


def number_in(answer: str) -> float | None:
    """The first number from 0 to 10 of an answer, thoughts left out; None without one, or where the first is beyond 10."""
    plain = unicodedata.normalize("NFKC", _thinking.sub("", answer))
    found = _number.search(plain)
    number = float(found[1].replace(",", ".")) if found else None
    return number if number is not None and number <= 10 else None


# A user's own


def own(records: Sequence[Record], work: Work, name: str) -> Trust:
    """What a function of the user's says. Raises RecipeError where it cannot be loaded or says something else."""
    found = list(_function(name)(records, work))
    if len(found) != len(records):
        raise RecipeError(
            problem(f"scorer {name}", f"gave {len(found):,} numbers", f"one for each of {len(records):,}")
        )
    values = np.array([np.nan if value is None else float(value) for value in found])
    wrong = np.flatnonzero((values < 0) | (values > 1))
    if len(wrong):
        where = f"scorer {name}, record {int(wrong[0]) + 1}"
        raise RecipeError(problem(where, f"gave {values[wrong[0]]:g}", "a trust between 0 and 1"))
    return Trust(values, f"distrusted by {name}")


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        made: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except Exception as error:  # the user's module may raise anything
        found = f"cannot be loaded ({type(error).__name__}: {error})"
        raise RecipeError(problem(f"scorer {name}", found, "an importable module:function")) from error
    return made
