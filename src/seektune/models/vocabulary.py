"""A vocabulary that grows for a new language: merges learnt on top of the old ones, and rows that start from the pieces replaced.

Merges learnt by themselves would often never be reached, since the old ones come first and cut words elsewhere. So byte-pair
encoding (Sennrich et al. 2016, arXiv:1508.07909) goes on where the tokenizer's own training ended: texts are cut by the old
merges, the commonest pair of tokens inside a word becomes a token, and so on. Each new merge stands behind all old ones: what
holds no new pair keeps its ids.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers

from .. import files
from ..errors import ModelError, problem
from . import adapters, heads, load
from .quiet import quiet

if TYPE_CHECKING:
    import torch

SPACES = "Ġ▁"  # how byte-level tokenizers and SentencePiece write the space before a word
LEAST = 2  # times that a pair has to stand in the texts
KEPT = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "generation_config.json")


@dataclass
class Grown:
    """What was learnt: new tokens with the two that they join, and the old pieces that each replaces."""

    merges: list[tuple[str, str]]
    pieces: list[list[int]]  # ids of the old vocabulary
    first: int  # id of the first new token; the others follow

    def __len__(self) -> int:
        return len(self.merges)


def learn(tokenizer: tokenizers.Tokenizer, texts: Iterable[str], count: int) -> Grown:
    """At most `count` merges on top of the tokenizer's own, commonest first; of equals the one that is first by letters.

    Letters join with letters only: digits and signs keep their tokens, so that numbers are read as before.
    """
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    words = _Words(_counted(tokenizer, texts), set(vocabulary))
    grown = Grown([], [], max(vocabulary.values()) + 1)
    made: dict[str, list[int]] = {}
    while len(grown) < count and (pair := words.commonest()) is not None:
        left, right = pair
        made[left + right] = [piece for part in pair for piece in made.get(part) or [vocabulary[part]]]
        grown.merges.append(pair)
        grown.pieces.append(made[left + right])
        words.merge(pair)
    return grown


def extended(tokenizer: tokenizers.Tokenizer, grown: Grown) -> tokenizers.Tokenizer:
    """A tokenizer with the merges behind its own. Marks are written into the vocabulary under their ids, so that these stay."""
    state = json.loads(tokenizer.to_str())
    model = state["model"]
    model["vocab"] |= {token["content"]: token["id"] for token in state["added_tokens"]}
    as_text = bool(model["merges"]) and isinstance(model["merges"][0], str)
    for number, pair in enumerate(grown.merges):
        model["vocab"]["".join(pair)] = grown.first + number
        model["merges"].append(" ".join(pair) if as_text else list(pair))
    return tokenizers.Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def start_rows(model: torch.nn.Module, grown: Grown) -> None:
    """Rows of the embedding (and of a head of its own) for the new tokens: each the mean of the rows of its old pieces.

    Spare rows that a model has are used before the matrices grow; they never shrink.
    """
    import torch

    heads.resize(model, grown.first + len(grown))
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()  # type: ignore[operator]
    matrices = [embedding.weight] if head is None or heads.tied(model) else [embedding.weight, head.weight]
    if head is not None and getattr(head, "bias", None) is not None:
        matrices.append(head.bias)
    with torch.no_grad():
        for matrix in matrices:
            for row, pieces in enumerate(grown.pieces, grown.first):
                matrix[row] = matrix[pieces].float().mean(0).to(matrix.dtype)


def read_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """Of a whole model's folder. ModelError where it is an adapter's, or where its tokenizer has no merges."""
    if adapters.is_adapter(folder):
        raise ModelError(
            problem(str(folder), "holds an adapter", "a whole model", "merge it, then grow its vocabulary")
        )
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(problem(str(folder), "no tokenizer.json", "a tokenizer of the tokenizers library"))
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise ModelError(problem(str(path), f"cannot be read ({error})", "a tokenizer")) from None
    if (kind := type(tokenizer.model).__name__) != "BPE":
        raise ModelError(problem(str(path), f"is of the kind {kind}", "BPE: only that has merges to go on with"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def write(folder: Path, output: Path, grown: Grown, facts: dict[str, Any]) -> None:
    """The model of `folder` with its vocabulary grown, as an ordinary folder; `facts` go beside it as vocabulary.json."""
    tokenizer = extended(read_tokenizer(folder), grown)
    model: Any = load.open_model(load.Model(path=str(folder)))
    start_rows(model, grown)
    with files.new_folder(output) as aside, quiet():
        model.save_pretrained(aside)
        for name in KEPT:
            if (folder / name).is_file():
                files.write_bytes(aside / name, (folder / name).read_bytes())
        tokenizer.save(str(aside / "tokenizer.json"))
        files.write_json(aside / "vocabulary.json", facts)


# Learning


def _counted(tokenizer: tokenizers.Tokenizer, texts: Iterable[str]) -> Counter[tuple[str, ...]]:
    """How often each word stands in the texts, as its tokens."""
    marks = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        encoded = tokenizer.encode(text, add_special_tokens=False)
        word: list[str] = []
        last = None
        for token, number in zip(encoded.tokens, encoded.word_ids, strict=True):
            if word and (number != last or token[0] in SPACES):
                counts[tuple(word)] += 1
                word = []
            if token in marks:
                last = None
                continue
            word.append(token)
            last = number
        if word:
            counts[tuple(word)] += 1
    return counts


class _Words:
    """The words with how often each pair of neighbours stands in them, kept up to date from merge to merge.

    `known` tokens are never made again. The heap holds each count that a pair has had; what is no longer so is passed by.
    """

    def __init__(self, counts: Counter[tuple[str, ...]], known: set[str]):
        self.words = [list(word) for word in counts]
        self.counts = list(counts.values())
        self.known = known
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.where: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        for number in range(len(self.words)):
            self._count(number, 1)
        self.heap = [(-count, pair) for pair, count in self.pairs.items()]
        heapq.heapify(self.heap)

    def commonest(self) -> tuple[str, str] | None:
        while self.heap:
            count, pair = heapq.heappop(self.heap)
            if -count >= LEAST and self.pairs[pair] == -count and "".join(pair) not in self.known:
                return pair
        return None

    def merge(self, pair: tuple[str, str]) -> None:
        self.known.add("".join(pair))
        changed = set[tuple[str, str]]()
        for number in list(self.where[pair]):
            changed |= self._count(number, -1)
            self.words[number] = _joined(self.words[number], pair)
            changed |= self._count(number, 1)
        for other in changed:
            heapq.heappush(self.heap, (-self.pairs[other], other))

    def _count(self, number: int, sign: int) -> set[tuple[str, str]]:
        """Add or take away the pairs of one word; which these are."""
        word = self.words[number]
        found = [pair for pair in itertools.pairwise(word) if _joins(pair[0], True) and _joins(pair[1], False)]
        for pair in found:
            self.pairs[pair] += sign * self.counts[number]
            (self.where[pair].add if sign > 0 else self.where[pair].discard)(number)
        return set(found)


def _joined(word: list[str], pair: tuple[str, str]) -> list[str]:
    made, at = list[str](), 0
    while at < len(word):
        if at + 1 < len(word) and (word[at], word[at + 1]) == pair:
            made.append(word[at] + word[at + 1])
            at += 2
        else:
            made.append(word[at])
            at += 1
    return made


def _joins(token: str, first: bool) -> bool:
    """Whether a token is made of letters (bytes of letters beyond ASCII among them), and of a space before them at most."""
    bare = token.lstrip(SPACES) if first else token
    return all(c.isalpha() if c.isascii() else c not in SPACES for c in bare) and (bool(bare) or first)
