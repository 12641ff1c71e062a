"""The records that a bench trains on, as token ids: made-up lengths like Alpaca's, our headlines, or a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

Sequence = tuple[list[int], int]  # token ids, how many of the first are not learnt
MAX_LENGTH = 1024
ALPACA = {"prompt": (3.85, 0.22, 36, 200), "answer": (4.35, 1.30, 4, 550)}  # mean and deviation of the log, least, most


def sequences(source: str, count: int, vocabulary: int, tokenizer: str = "base:tiny", seed: int = 17) -> list[Sequence]:
    """`count` records of `source`: "alpaca-like", "headlines" or a file of records. ValueError where ids do not fit."""
    if source == "alpaca-like":
        return alpaca_like(count, vocabulary, seed)
    return tokenised(source, count, vocabulary, tokenizer, seed)


def alpaca_like(count: int, vocabulary: int, seed: int) -> list[Sequence]:
    """Random tokens with the lengths that 1,000 Alpaca records have under a Qwen2.5 tokenizer: short prompts, answers from a word to a page."""
    random = np.random.default_rng(seed)

    def lengths(part: str) -> np.ndarray:
        mean, deviation, least, most = ALPACA[part]
        return np.clip(random.lognormal(mean, deviation, count), least, most).astype(int)

    prompts, answers = lengths("prompt"), lengths("answer")
    return [
        (random.integers(10, vocabulary, prompt + answer).tolist(), int(prompt))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def tokenised(source: str, count: int, vocabulary: int, tokenizer: str, seed: int) -> list[Sequence]:
    """Records as training sees them: read, rendered with the chat template, one learnt answer at the end."""
    from seektune.base.headlines import headlines
    from seektune.data import formats
    from seektune.data.chat import Renderer
    from seektune.data.options import Input
    from seektune.data.store import Records
    from seektune.data.tokens import tokenise
    from seektune.models.load import Model, folder_of

    folder = folder_of(Model(path=tokenizer)) if tokenizer.startswith("base:") else Path(tokenizer)
    if source == "headlines":
        rows = headlines(seed, count, "train")
        asked = [{"role": "user", "content": f"{row['instruction']}\n{row['input']}"} for row in rows]
        answered = [{"role": "assistant", "content": row["output"]} for row in rows]
        records = Records.of([{"messages": [one, other]} for one, other in zip(asked, answered, strict=True)])
    else:
        read = formats.read([Input(path=source)], 0.01, "lm")
        records = read.select(np.random.default_rng(seed).permutation(len(read))[:count].tolist())
    documents = list(
        tokenise(records, Renderer.from_folder(folder), train_on="last_answer", max_length=MAX_LENGTH, processes=1)
    )
    if (largest := max(int(d.ids.max()) for d in documents)) >= vocabulary:
        raise ValueError(f"--tokenizer {tokenizer}: token {largest} is beyond this shape's vocabulary of {vocabulary}")
    return [(d.ids.tolist(), int(np.flatnonzero(d.weights)[0])) for d in documents]
