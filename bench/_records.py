"""The records that a bench trains on, as token ids: made-up lengths, our headlines, or a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Sequence = tuple[list[int], int]  # token ids, how many of the first are not learnt
MAX_LENGTH = 1024
Spread = tuple[float, float, int, int]  # of lengths: mean and deviation of the log, least, most
LENGTHS: dict[str, tuple[Spread | None, Spread]] = {  # of prompt (if there is one) and of what is learnt, or read
    "alpaca-like": ((3.85, 0.22, 36, 200), (4.35, 1.30, 4, 550)),  # 1,000 Alpaca records under a Qwen2.5 tokenizer
    "dense-text": (None, (6.30, 0.60, 64, MAX_LENGTH)),  # articles cut at the longest row, every token learnt
    "reviews-like": (None, (4.00, 0.75, 8, 400)),  # a sentence to a page, for classification
}
MADE_UP = (*LENGTHS, "headlines")


@dataclass
class Made:
    """Records of one source; `labels` for classification only, where all tokens are read and none is learnt."""

    sequences: list[Sequence]
    labels: list[int] | None = None


def records(
    source: str, count: int, vocabulary: int, tokenizer: str = "base:tiny", classes: int = 0, seed: int = 17
) -> Made:
    """`count` records of `source`: a name of `MADE_UP`, or a file or folder of records. ValueError where ids do not fit."""
    if source in LENGTHS:
        made = drawn(source, count, vocabulary, seed)
        labels = np.random.default_rng(seed + 1).integers(0, classes, count).tolist() if classes else None
        return Made(made, labels)
    return tokenised(source, count, vocabulary, tokenizer, classes, seed)


def drawn(source: str, count: int, vocabulary: int, seed: int) -> list[Sequence]:
    """Random tokens with lengths of this kind of text."""
    random = np.random.default_rng(seed)

    def lengths(spread: Spread | None) -> np.ndarray:
        if spread is None:
            return np.zeros(count, int)
        mean, deviation, least, most = spread
        return np.clip(random.lognormal(mean, deviation, count), least, most).astype(int)

    prompts, answers = (lengths(spread) for spread in LENGTHS[source])
    return [
        (random.integers(10, vocabulary, prompt + answer).tolist(), int(prompt))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def tokenised(source: str, count: int, vocabulary: int, tokenizer: str, classes: int, seed: int) -> Made:
    """Records as training sees them: read, rendered with the chat template, one learnt answer at the end; a text is learnt whole."""
    from seektune.data.chat import Renderer
    from seektune.data.tokens import tokenise
    from seektune.models.load import Model, folder_of

    folder = folder_of(Model(path=tokenizer)) if tokenizer.startswith("base:") else Path(tokenizer)
    read = headline_records(count, seed) if source == "headlines" else records_of(source, count, classes, seed)
    labels = sorted({str(record["label"]) for record in read}) if classes else None
    if labels and len(labels) > classes:
        raise ValueError(f"--records {source}: {len(labels)} labels, and this shape has {classes} classes")
    documents = list(
        tokenise(read, Renderer.from_folder(folder), train_on="last_answer", max_length=512 if classes else MAX_LENGTH,
                 labels=labels, processes=1)
    )  # fmt: skip
    if (largest := max(int(d.ids.max()) for d in documents)) >= vocabulary:
        raise ValueError(f"--tokenizer {tokenizer}: token {largest} is beyond this shape's vocabulary of {vocabulary}")
    made = [(d.ids.tolist(), 0 if classes else int(np.flatnonzero(d.weights)[0])) for d in documents]
    return Made(made, [int(d.label) for d in documents] if classes else None)


def headline_records(count: int, seed: int) -> Any:
    from seektune.base.headlines import headlines
    from seektune.data.store import Records

    rows = headlines(seed, count, "train")
    asked = [{"role": "user", "content": f"{row['instruction']}\n{row['input']}"} for row in rows]
    answered = [{"role": "assistant", "content": row["output"]} for row in rows]
    return Records.of([{"messages": [one, other]} for one, other in zip(asked, answered, strict=True)])


def records_of(path: str, count: int, classes: int, seed: int) -> Any:
    """A sample of a file's, or a folder's, records."""
    from seektune.data import formats
    from seektune.data.options import Input

    read = formats.read([Input(path=path)], 0.01, "classifier" if classes else "lm")
    return read.select(np.random.default_rng(seed).permutation(len(read))[:count].tolist())
