"""One text against one classifier: its embedding climbs the loss, and is led back to real words near the place it came to.

After Miyato, Dai and Goodfellow (2017), whose step is epsilon · g / |g| over the whole text; here epsilon is a share of the
length of the text's own embedding, so that it means the same for every model. Reading back takes, for one word after the
other (the ones that moved furthest first), that of the `NEAREST` real words around the new place which lies most in the
direction of the climb.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ..contracts import Document, Record
from ..data import pack
from ..engine.engine import Engine, quiet
from ..engine.opening import folder_of, head_of, open_engine
from ..errors import ModelError, problem
from ..models import forward
from ._edits import pieces
from ._synonyms import whole_words
from ._words import is_han

NEAREST = 8


@dataclass
class Place:
    """A token that may become another: `token` is its position among the ids, `text[start:end]` what it stands for."""

    token: int
    start: int
    end: int


@dataclass
class Found:
    """A text that the model takes for another class. `distance`: cosine distance of the mean embeddings of both texts."""

    text: str
    answer: str
    changed: int
    distance: float


@dataclass
class Attack:
    """A classifier with the words that texts are led back to: their ids and rows of its embedding, by script."""

    engine: Engine
    words: dict[bool, tuple[list[str], torch.Tensor]]  # Chinese or not -> words, (words, width)

    def answer(self, texts: Sequence[str], pair: str | None) -> list[str]:
        """What the model says to each."""
        asked: list[Record] = [{"text": text} | ({"text_pair": pair} if pair is not None else {}) for text in texts]
        return [self.engine.labels[int(np.argmax(row))] for row in self.engine.classify(asked)]

    def against(
        self, text: str, pair: str | None, label: str, *, epsilon: float, steps: int, changed: float, distance: float,
        keep: Sequence[str],
    ) -> Found | None:  # fmt: skip
        """The nearest changed text (fewest words) that is taken for another class, within the bounds; None without."""
        encoding = self.engine.renderer.tokenizer.encode(text, pair)
        ids = np.array(encoding.ids[: self.engine.limit], np.int32)
        places = [place for place in _places(text, encoding, keep) if place.token < len(ids)]
        most = max(1, int(changed * len(places)))
        if not places:
            return None
        start = self.embedded(ids)
        moved = climbed(self.engine.model, ids, self.engine.labels.index(label), start, epsilon, steps)
        tried = self._read_back(text, places, start, moved)[:most]
        if not tried:
            return None
        for number, (new, answer) in enumerate(zip(tried, self.answer(tried, pair), strict=True), 1):
            if answer != label and (apart := self.apart(text, new)) <= distance:
                return Found(new, answer, number, apart)
        return None

    def embedded(self, ids: np.ndarray) -> torch.Tensor:
        """(time, width) rows of the input embedding."""
        with torch.no_grad():
            rows: torch.Tensor = _embedding(self.engine.model)(torch.from_numpy(ids.astype(np.int64)).to(self._device))
        return rows

    def apart(self, text: str, other: str) -> float:
        """Cosine distance of the mean embeddings of two texts; 0 where they are equal."""
        one, two = (
            self.embedded(np.array(self.engine.renderer.encode(t), np.int32)).float().mean(0) for t in (text, other)
        )
        return float(1 - torch.nn.functional.cosine_similarity(one, two, dim=0))

    def _read_back(self, text: str, places: list[Place], start: torch.Tensor, moved: torch.Tensor) -> list[str]:
        """The text with one, two, three … words changed, the ones that moved furthest first."""
        way = (moved - start).norm(dim=-1)
        made: dict[int, tuple[Place, str]] = {}
        tried = []
        for place in sorted(places, key=lambda place: -float(way[place.token])):
            word = self._nearest(text[place.start : place.end], start[place.token], moved[place.token])
            if word is not None:
                made[place.start] = place, word
                tried.append(_with(text, made))
        return tried

    def _nearest(self, old: str, start: torch.Tensor, moved: torch.Tensor) -> str | None:
        """Another real word of the same script near the new place."""
        words, rows = self.words[is_han(old)]
        if len(words) <= NEAREST:
            return None
        near = (rows - moved).norm(dim=-1).topk(NEAREST, largest=False).indices
        others = [i for i in near.tolist() if words[i].lower() != old.lower()]
        gains = [(float((rows[i] - start) @ (moved - start)), i) for i in others]
        best = max(gains, default=(0.0, -1))
        if best[0] <= 0:
            return None
        word = words[best[1]]
        return word[0].upper() + word[1:] if old[0].isupper() else word

    @property
    def _device(self) -> torch.device:
        return next(self.engine.model.parameters()).device


def climbed(
    model: torch.nn.Module, ids: np.ndarray, label: int, start: torch.Tensor, epsilon: float, steps: int
) -> torch.Tensor:
    """(time, width) the embedding after so many steps up the loss of the right class."""
    moved, length = start.clone(), epsilon * start.norm()
    for _ in range(steps):
        slope = gradient(model, ids, label, moved)
        moved = moved + length * slope / slope.norm().clamp_min(1e-12)
    return moved


def gradient(model: torch.nn.Module, ids: np.ndarray, label: int, embedded: torch.Tensor) -> torch.Tensor:
    """(time, width) slope of the cross-entropy of the class with respect to what the model reads."""
    leaf = embedded.detach().clone().requires_grad_()
    alone = pack.collate([Document(ids, np.zeros(len(ids), np.float32))], packed=False, device=embedded.device)
    handle = _embedding(model).register_forward_hook(lambda module, given, found: leaf[None].to(found.dtype))
    try:
        with quiet(model), torch.enable_grad():
            logits = forward.class_logits(model, alone).float()
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor([label], device=logits.device))
            (slope,) = torch.autograd.grad(loss, leaf)
    finally:
        handle.remove()
    return slope


@lru_cache(2)
def opened(path: str, changed: float) -> Attack:
    """The classifier of a folder or run. Raises ModelError where it is none. `changed`: when its folder was."""
    folder = folder_of(path)
    if head_of(folder) != "classifier":
        raise ModelError(problem(path, "a language model, which has no classes to take a text for", "a classifier"))
    engine = open_engine(path)
    if engine.several:
        raise ModelError(problem(path, "several classes may hold at once", "a classifier of one class a text"))
    found = whole_words(engine.renderer.tokenizer)
    table = _embedding(engine.model).weight.detach()
    by_script = {han: {word: i for word, i in found.items() if is_han(word) == han} for han in (True, False)}
    return Attack(engine, {han: (list(words), table[list(words.values())]) for han, words in by_script.items()})


def changed_at(path: str) -> float:
    """So that a folder that is written anew is opened anew."""
    folder = folder_of(path)
    return max((os.stat(file).st_mtime for file in folder.glob("*.safetensors")), default=0.0)


def _embedding(model: Any) -> Any:
    return model.get_input_embeddings()


def _places(text: str, encoding: Any, keep: Sequence[str]) -> list[Place]:
    """Tokens that are a whole word that may be changed, or lie within a Chinese one."""
    whole, chinese, at = dict[int, int](), list[tuple[int, int]](), 0
    for piece in pieces(text, keep)[0]:
        start = at + len(piece.gap)
        at = start + len(piece.text)
        if piece.free and is_han(piece.text):
            chinese.append((start, at))
        elif piece.free:
            whole[start] = at
    found = []
    for number, ((start, end), sequence) in enumerate(zip(encoding.offsets, encoding.sequence_ids, strict=True)):
        start += len(text[start:end]) - len(text[start:end].lstrip())
        inside = whole.get(start) == end or any(a <= start < end <= b for a, b in chinese)
        if sequence == 0 and start < end and inside:
            found.append(Place(number, start, end))
    return found


def _with(text: str, made: dict[int, tuple[Place, str]]) -> str:
    parts, at = [], 0
    for start in sorted(made):
        place, word = made[start]
        parts += [text[at:start], word]
        at = place.end
    return "".join(parts) + text[at:]
