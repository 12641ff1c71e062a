"""Words that may stand for a word: from a table of the user's, or the nearest ones in the input embedding of a model."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import DataError, ModelError, problem
from ._words import is_han

NEIGHBOURS = 5  # of each word
NEAR = 0.4  # least cosine between a word and another that may stand for it, around the mean of all words
SHAPES = 'word,synonym,… (.csv), word<tab>synonym… (.tsv) or {"word": …, "synonyms": […]} (.jsonl)'


class Synonyms(Protocol):
    def of(self, word: str) -> list[str]: ...


def synonyms(table: str | None, model: str | None) -> Synonyms | None:
    """The table's where there is one; kept for all records of a process."""
    if table is not None:
        path = Path(table)
        if not path.is_file():
            raise DataError(problem(table, "no such file", f"a table of synonyms: {SHAPES}"))
        return _table(table, path.stat().st_mtime_ns)
    return neighbours(model) if model is not None else None


@dataclass
class Table:
    """Looked up without regard to case."""

    rows: dict[str, list[str]]

    def of(self, word: str) -> list[str]:
        return self.rows.get(word.lower(), [])


@lru_cache(8)
def _table(path: str, changed: int) -> Table:
    rows: dict[str, list[str]] = {}
    for number, (word, others) in enumerate(_rows(Path(path)), 1):
        if not word or not others:
            raise DataError(problem(f"{path}:{number}", "no word with a synonym", SHAPES))
        known = rows.setdefault(word.lower(), [])
        known += [other for other in others if other not in known and other.lower() != word.lower()]
    if not rows:
        raise DataError(problem(path, "empty file", f"a table of synonyms: {SHAPES}"))
    return Table(rows)


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".jsonl":
                yield from (_of_object(line) for line in file if line.strip())
                return
            for row in csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ","):
                cells = [part.strip() for cell in row for part in cell.split(";")]
                if cells != ["word", "synonyms"] and cells != ["word", "synonym"]:
                    yield cells[0] if cells else "", [cell for cell in cells[1:] if cell]
    except UnicodeDecodeError as error:
        raise DataError(problem(str(path), "bytes that are not UTF-8", "UTF-8 text")) from error


def _of_object(line: str) -> tuple[str, list[str]]:
    """Of a line that is none: nothing, which is told with its number."""
    try:
        row = json.loads(line)
        word, others = row["word"], row["synonyms"]
    except (ValueError, LookupError, TypeError):
        return "", []
    good = isinstance(word, str) and isinstance(others, list) and all(isinstance(other, str) for other in others)
    return (word, others) if good else ("", [])


# Neighbours in an embedding


@dataclass
class Neighbours:
    """`words` are whole words that the tokenizer has as one token; `vectors` (words, width) of length 1."""

    words: list[str]
    vectors: np.ndarray
    _numbers: dict[str, int] = field(default_factory=dict)
    _known: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._numbers = {word: number for number, word in enumerate(self.words)}

    def of(self, word: str) -> list[str]:
        if word not in self._known:
            number = self._numbers.get(word, self._numbers.get(word.lower()))
            self._known[word] = [] if number is None else self._near(word, number)
        return self._known[word]

    def _near(self, word: str, number: int) -> list[str]:
        closeness = self.vectors @ self.vectors[number]
        found = []
        for other in np.argsort(-closeness, kind="stable")[: 4 * NEIGHBOURS].tolist():
            candidate = self.words[other]
            if closeness[other] >= NEAR and candidate.lower() != word.lower() and is_han(candidate) == is_han(word):
                found.append(candidate)
        return found[:NEIGHBOURS]


@lru_cache(2)
def neighbours(model: str) -> Neighbours:
    """Of a folder, run, hub id or `base:tiny`. Raises ModelError where no input embedding is found."""
    from ..engine.opening import folder_of

    folder = folder_of(model)
    words = whole_words(_tokenizer(folder))
    if not words:
        raise ModelError(problem(model, "its tokenizer has no whole words as tokens", "another model, or a table"))
    vectors = embedding(folder)[list(words.values())]
    vectors = vectors - vectors.mean(axis=0)  # what all have in common says nothing
    return Neighbours(list(words), vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))


def embedding(folder: Path) -> np.ndarray:
    """(tokens, width) float32: the input embedding, read by itself. The model is not opened."""
    from safetensors import safe_open

    from ..models import weights

    held = weights.tensors_of(folder)
    ends = ("embed_tokens.weight", "word_embeddings.weight", "wte.weight", "tok_embeddings.weight", "embed_in.weight")
    name = next((name for name in sorted(held, key=len) if name.endswith(ends)), None)
    if name is None:
        raise ModelError(problem(str(folder), "no input embedding among its weights", ", ".join(ends)))
    with safe_open(held[name].file, framework="pt") as file:
        values: np.ndarray = file.get_tensor(name).float().numpy()
    return values


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(problem(str(folder), "no tokenizer.json", "a folder with a fast tokenizer"))
    return Tokenizer.from_file(str(path))


def whole_words(tokenizer: Any) -> dict[str, int]:
    """Word -> id of the tokens that are whole words. Where tokens mark the beginning of a word, only such as do; a word in
    Chinese has no mark. Where none does, what is one token behind a space by itself."""
    added = set(tokenizer.get_added_tokens_decoder())
    raw = {i: token for token, i in tokenizer.get_vocab().items() if i not in added}
    marks = sum(token[0] in "Ġ▁" for token in raw.values() if len(token) > 1) > len(raw) / 50
    pieces = any(token.startswith("##") for token in raw.values())
    found: dict[str, int] = {}
    for i in sorted(raw):
        text = str(tokenizer.decode([i])).strip()
        if is_han(text) or (text.isalpha() and len(text) > 2 and _is_whole(tokenizer, raw[i], i, text, marks, pieces)):
            found.setdefault(text, i)
    return found


def _is_whole(tokenizer: Any, raw: str, number: int, text: str, marks: bool, pieces: bool) -> bool:
    """Whether a token stands for a word and not for a part of one, as far as the tokenizer tells."""
    if marks or pieces:
        return raw[0] in "Ġ▁" if marks else not raw.startswith("##")
    return len(text) > 3 and bool(tokenizer.encode(f" {text}", add_special_tokens=False).ids[-1] == number)
