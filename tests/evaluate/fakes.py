"""Engines that answer from a list, and say how often they were asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from seektune.contracts import Answer, Record


class Parrot:
    """Answers the last message from a dictionary; scores 2 nats for each of the record's words; knows no classes."""

    def __init__(self, answers: dict[str, str] | None = None, labels: Sequence[str] = (), several: bool = False):
        self.answers = answers or {}
        self.labels = list(labels)
        self.several = several
        self.calls: Counter[str] = Counter()
        self.rows: dict[str, list[float]] = {}  # text -> probabilities

    def generate(self, prompts: Sequence[Record], **sampling: Any) -> list[Answer]:
        self.calls["generate"] += 1
        return [Answer(self.answers[p["messages"][-1]["content"]], [], True) for p in prompts]

    def stream(self, prompt: Record, **sampling: Any) -> Iterator[str]:
        yield self.answers[prompt["messages"][-1]["content"]]

    def score(self, records: Sequence[Record]) -> list[tuple[float, float]]:
        self.calls["score"] += 1
        return [(2.0 * len(r["text"].split()), float(len(r["text"].split()))) for r in records]

    def classify(self, records: Sequence[Record]) -> list[list[float]]:
        self.calls["classify"] += 1
        return [self.rows[r["text"]] for r in records]


def chat(question: str, answer: str) -> Record:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
