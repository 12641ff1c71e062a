"""Texts and dialogues: what `clean_text`, `redact`, `template` and `dialogue_states` do on real records, and how fast.

    python bench/_data_text.py ../shared/data

Precision of `redact` rests on a look at every match in these files (`LOOKED_AT`); where another number is found than
was looked at, there is no figure until somebody has looked again.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from seektune.stages._each import Row, run_row
from seektune.stages._private import identity_checks, luhn, matches
from seektune.stages._work import Work, equip
from seektune.stages.clean_text import CleanText
from seektune.stages.dialogue_states import DialogueStates
from seektune.stages.redact import KINDS, Redact
from seektune.stages.template import Template

Figure = dict[str, Any]
SETS = {"text_c4_en": "c4.jsonl", "cls_chnsenticorp": "train.jsonl", "cls_finnews_zh": "finnews.jsonl"}
LOOKED_AT = {"text_c4_en": (24, 24), "cls_chnsenticorp": (4, 4), "cls_finnews_zh": (9, 9)}  # found, right
CHARACTERS = 8_000_000  # of the timing
PLANTED = 2000


def figures(folder: Path) -> list[Figure]:
    rows = []
    for name in SETS:
        rows += timed(lambda name=name: cleaned(folder, name))
        rows += timed(lambda name=name: precision(folder, name))
    rows += timed(lambda: speed(folder, CleanText(), "clean_text"))
    rows += timed(lambda: speed(folder, CleanText(simplified=True), "clean_text", "simplified, "))
    rows += timed(lambda: speed(folder, Redact(), "redact"))
    rows += timed(lambda: planted(folder))
    rows += timed(lambda: prompts(folder))
    rows += timed(lambda: states(folder))
    return rows


def timed(measure: Callable[[], list[Figure]]) -> list[Figure]:
    began = time.perf_counter()
    found = measure()
    return [row | {"seconds": round(time.perf_counter() - began, 2)} for row in found]


def row(stage: str, figure: str, value: Any, data: str, asked: str = "", reached: bool | None = None) -> Figure:
    return {"stage": stage, "figure": figure, "value": value, "asked": asked, "reached": reached, "data": data}


def read(folder: Path, name: str, file: str = "") -> list[dict[str, Any]]:
    lines = (folder / name / (file or SETS[name])).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def cleaned(folder: Path, name: str) -> list[Figure]:
    """Which share of the records of a real set changes, and by what."""
    records, stage = read(folder, name), CleanText()
    equip(stage, Work())
    list(stage(records))
    told = stage.report()
    by = {step: int(count) for step, count in told.get("figures", {}).items() if " " not in step}
    share = round(told["changed"] / len(records), 4)
    return [row("clean_text", f"share of records changed ({by})", share, f"{name}, {len(records):,} records")]


def precision(folder: Path, name: str) -> list[Figure]:
    records = read(folder, name)
    found = [
        m for r in records for key in ("title", "text") if r.get(key) for m in matches(r[key], KINDS) if m.valid
    ]  # fmt: skip
    seen, right = LOOKED_AT[name]
    value = round(right / seen, 4) if len(found) == seen else None
    return [row("redact", f"share of {seen} matches that are right", value, f"{name}, {len(records):,} records")]


def speed(folder: Path, stage: Any, kind: str, what: str = "") -> list[Figure]:
    """Characters a second through the stage on two processes, reading and writing of files left out."""
    equip(stage, Work())
    some = [record for name in SETS for record in read(folder, name)]
    once = sum(len(record["text"]) for record in some)
    records = some * (CHARACTERS // once + 1)
    began = time.perf_counter()
    for _ in run_row(Row([stage]), records, 2):
        pass
    value = round(once * (CHARACTERS // once + 1) / (time.perf_counter() - began))
    return [row(kind, f"{what}characters a second on 2 processes", value, ", ".join(SETS))]


def planted(folder: Path) -> list[Figure]:
    """Valid numbers put into real sentences, and the same with one digit changed, which are none."""
    draw, texts = random.Random(17), [record["text"] for record in read(folder, "cls_chnsenticorp")]
    found = left = 0
    for i in range(PLANTED):
        kind, number = ("id", identity(draw)) if i % 2 else ("card", card(draw))
        at = draw.randrange(len(number))
        wrong = number[:at] + draw.choice([d for d in "0123456789" if d != number[at]]) + number[at + 1 :]
        text = draw.choice(texts)[:60]
        found += number in _values(f"{text}，号码{number}，{text}", kind)
        left += wrong not in _values(f"{text}，号码{wrong}，{text}", kind)
    data = f"{PLANTED:,} identity and card numbers in cls_chnsenticorp"
    return [
        row("redact", "share found of numbers with right check digits", found / PLANTED, data),
        row("redact", "share left of numbers with one digit changed", left / PLANTED, data),
    ]


def _values(text: str, kind: str) -> set[str]:
    return {match.value for match in matches(text, KINDS) if match.valid and match.kind == kind}


def identity(draw: random.Random) -> str:
    body = f"110101{draw.randint(1940, 2015)}{draw.randint(1, 12):02}{draw.randint(1, 28):02}{draw.randint(1, 999):03}"
    return next(body + last for last in "0123456789X" if identity_checks(body + last))


def card(draw: random.Random) -> str:
    body = draw.choice(["4", "51", "62"])
    body += "".join(draw.choice("0123456789") for _ in range(15 - len(body)))
    return next(body + last for last in "0123456789" if luhn(body + last))


def prompts(folder: Path) -> list[Figure]:
    records, stage = read(folder, "cls_banking77", "train.jsonl"), Template("{{ text }}", "{{ label }}", shots=4)
    equip(stage, Work())
    began = time.perf_counter()
    count = sum(1 for _ in stage(records))
    value = round(count / (time.perf_counter() - began))
    return [
        row("template", "records a second with 4 shots, one process", value, f"cls_banking77, {len(records):,} records")
    ]


def states(folder: Path) -> list[Figure]:
    records, stage = read(folder, "dialogue_state_sgd", "dialogues.jsonl"), DialogueStates()
    equip(stage, Work())
    list(stage(iter(records)))
    told = stage.report()
    values = int(told["figures"]["slot values"])
    figure = f"share of {values:,} slot values that stand letter by letter in the turns so far"
    return [row("dialogue_states", figure, told["literal_share"], f"dialogue_state_sgd, {len(records)} dialogues")]


def _lines(folder: Path) -> Iterator[str]:
    for found in figures(folder):
        yield json.dumps(found, ensure_ascii=False)


if __name__ == "__main__":
    for line in _lines(Path(sys.argv[1])):
        print(line)
