"""What callers see of the engine: `generate`, `stream`, `score`, `classify`, on records and with the one renderer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ..contracts import Answer, Batch, Document, Record
from ..data.pack import cut, learnt_positions
from ..data.tags import Span, spans_of_pieces
from ..errors import DataError, problem
from ..models import forward
from .batches import Request, batches
from .pieces import Pieces
from .rows import batchable, decode
from .sampling import Sampling

if TYPE_CHECKING:
    from ..data.chat import Renderer

Show = Callable[[int, int], None]  # (done, all)
LOGITS = 1 << 26  # logits held at once while scoring, so that memory does not grow with the vocabulary


@dataclass
class Engine:
    """A model with the renderer that it was trained with. Leaves the model in the mode in which it found it."""

    model: torch.nn.Module
    renderer: Renderer
    device: str | torch.device | None = None  # None: where the model is
    train_on: Literal["all_answers", "last_answer", "everything"] = "all_answers"  # what `score` scores
    batch_tokens: int = 16384  # of a batch, prompts and answers together
    name: str = "model"  # for messages

    def __post_init__(self) -> None:
        if self.device is not None:
            self.model.to(self.device)

    @cached_property
    def limit(self) -> int:
        """Tokens that the model can take in, prompt and answer together."""
        config: Any = self.model.config
        return int(getattr(config.get_text_config(), "max_position_embeddings", None) or 1 << 30)

    @cached_property
    def _longest(self) -> int:
        """Tokens of a text to be classified. RoBERTa counts positions from behind its padding id."""
        config: Any = self.model.config.get_text_config()  # type: ignore[union-attr,operator]
        taken = (config.pad_token_id or 0) + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
        return self.limit - taken

    @cached_property
    def labels(self) -> list[str]:
        """The classes of a classifier, by id; empty for a language model."""
        config: Any = self.model.config
        if self.model.get_output_embeddings() is not None:  # type: ignore[operator]
            return []
        return [str(config.id2label[i]) for i in range(config.num_labels)]

    @property
    def several(self) -> bool:
        """Whether several classes may hold at once."""
        return getattr(self.model.config, "problem_type", None) == "multi_label_classification"

    @cached_property
    def _batchable(self) -> bool:
        vocabulary = forward.vocabulary(self.model)
        with quiet(self.model):
            return batchable(self.model, vocabulary, self.limit, self.renderer.pad_id)

    def generate(self, prompts: Sequence[Record], *, show: Show | None = None, **sampling: Any) -> list[Answer]:
        """An answer to each prompt, in their order. `sampling`: the fields of `Sampling`. Greedy unless told otherwise."""
        chosen = Sampling(**sampling)
        requests = self._requests(prompts, chosen)
        lengths = {len(r.ids) for r in requests}
        padding = len(lengths) > 1 and self._batchable
        leave = len(requests) > 1 and self._batchable
        done = 0
        with quiet(self.model):
            for batch in batches(requests, self.batch_tokens, padding):
                for _ in self._decode(batch, chosen, leave):
                    pass
                done += len(batch)
                if show is not None:
                    show(done, len(requests))
        return [Answer(self._text(r.answer), r.answer, r.stopped, r.log_probs) for r in requests]

    def stream(self, prompt: Record, **sampling: Any) -> Iterator[str]:
        """The answer to one prompt in pieces of whole characters; joined, the text that `generate` gives."""
        chosen = Sampling(**sampling)
        requests = self._requests([prompt], chosen)
        pieces = Pieces(self._text)
        with quiet(self.model):
            for _, token in self._decode(requests, chosen, leave=False):
                if piece := pieces.add(token):
                    yield piece
        if piece := pieces.end():
            yield piece

    def score(self, records: Sequence[Record], *, show: Show | None = None) -> list[tuple[float, float]]:
        """(Weighted sum of -log p in nats, sum of the weights) over the learnt tokens of each record.

        A document beyond the model's length is scored in windows that overlap by half: every learnt token counts once.
        """
        documents = [
            piece
            for index, record in enumerate(records)
            for document in self.renderer.documents(record, self.train_on)
            for piece in windows(_of(document, index), self.limit)
        ]
        totals = [[0.0, 0.0] for _ in records]
        vocabulary = forward.vocabulary(self.model)
        done = 0
        with quiet(self.model), torch.no_grad():
            for batch in self._cut(documents, max(1, min(self.batch_tokens, LOGITS // vocabulary))):
                for document, sums in zip(batch.documents, _document_sums(self.model, batch), strict=True):
                    for column, value in enumerate(sums):
                        totals[document.record][column] += value
                done += len(batch.documents)
                if show is not None:
                    show(done * len(records) // len(documents), len(records))
        return [(total, weight) for total, weight in totals]

    def classify(self, records: Sequence[Record], *, show: Show | None = None) -> list[list[float]]:
        """Probability of each class (`labels`) for each record; they sum to 1 unless `several`."""
        documents = []
        for index, record in enumerate(records):
            ids, _ = self.renderer.classifier_ids(record["text"], record.get("text_pair"), self._longest)
            documents.append(Document(np.array(ids, np.int32), np.zeros(len(ids), np.float32), index))
        found: list[list[float]] = [[] for _ in records]
        done = 0
        with quiet(self.model), torch.no_grad():
            for batch in self._cut(documents, self.batch_tokens):
                logits = forward.class_logits(self.model, batch).float()
                probabilities = logits.sigmoid() if self.several else logits.softmax(-1)
                for document, row in zip(batch.documents, probabilities.tolist(), strict=True):
                    found[document.record] = row
                done += len(batch.documents)
                if show is not None:
                    show(done, len(records))
        return found

    def tag(self, records: Sequence[Record], *, show: Show | None = None) -> list[list[Span]]:
        """The entities of each record's text that a tagger finds: (start, end, type), in order. What is beyond its length has none."""
        pieces = [self.renderer.tagger_pieces(record["text"], self._longest) for record in records]
        documents = [
            Document(np.array(ids, np.int32), np.zeros(len(ids), np.float32), i)
            for i, (ids, _) in enumerate(pieces)
            if ids
        ]
        found: list[list[Span]] = [[] for _ in records]
        done = 0
        with quiet(self.model), torch.no_grad():
            for batch in self._cut(documents, self.batch_tokens):
                tags = iter(forward.tag_logits(self.model, batch).argmax(-1).tolist())
                for document in batch.documents:
                    names = [self.labels[tag] for tag in islice(tags, len(document))]
                    found[document.record] = spans_of_pieces(
                        records[document.record]["text"], pieces[document.record][1], names
                    )
                done += len(batch.documents)
                if show is not None:
                    show(done, len(records))
        return found

    def _cut(self, documents: list[Document], tokens: int) -> Iterator[Batch]:
        """Batches of like length (of equal length where the model minds padding), longest first; laid out a few at a time,
        so that memory does not grow with the data."""
        device = next(self.model.parameters()).device
        ordered = sorted(documents, key=len, reverse=True)
        mixed = len({len(d) for d in ordered}) > 1 and (bool(self.labels) or self._batchable)
        alike = [ordered] if mixed else [list(same) for _, same in groupby(ordered, key=len)]
        for group in alike:
            for start in range(0, len(group), 1024):
                part = group[start : start + 1024]
                yield from cut(part, tokens=tokens, rows="padded", pad_id=self.renderer.pad_id, device=device)

    def _decode(self, batch: list[Request], sampling: Sampling, leave: bool) -> Iterator[tuple[Request, int]]:
        ends = frozenset(self.renderer.end_ids)
        return decode(self.model, batch, sampling, ends, self.renderer.pad_id, leave)

    def _requests(self, prompts: Sequence[Record], sampling: Sampling) -> list[Request]:
        requests, problems = [], []
        for index, prompt in enumerate(prompts):
            ids = self.prompt_ids(prompt)
            room = self.limit - len(ids)
            if room < 1 or not ids:
                found = f"{len(ids)} tokens" if ids else "no token"
                problems.append(
                    problem(
                        f"prompt {index + 1}",
                        found,
                        f"1 to {self.limit - 1} ({self.name} takes {self.limit} with the answer)",
                    )
                )
            requests.append(Request(index, ids, min(sampling.max_new_tokens, room), sampling.generator(index)))
        if problems:
            raise DataError(problems)
        return requests

    def prompt_ids(self, prompt: Record) -> list[int]:
        """What the model reads: a conversation up to where the answer begins, or a text to be continued."""
        if "messages" in prompt:
            return list(self.renderer.prompt_ids(prompt["messages"], prompt.get("tools")))
        if "text" in prompt:
            ids = self.renderer.documents({"text": prompt["text"]})[0].ids.tolist()
            return ids[:-1] if ids[-1] in self.renderer.end_ids else ids
        raise DataError(problem("prompt", "has " + ", ".join(map(repr, prompt)), "'messages' or 'text'"))

    def _text(self, ids: Sequence[int]) -> str:
        return self.renderer.decode(list(ids), skip_special=False)  # marks of thinking and tools are part of it


def _document_sums(model: torch.nn.Module, batch: Batch) -> list[tuple[float, float]]:
    """(sum of weight × -log p, sum of weights) of each document of a batch."""
    losses, weights = forward.token_losses(model, batch)
    owners = learnt_positions(batch).documents.cpu()
    columns = torch.stack([losses * weights, weights], 1).cpu().double()
    sums = torch.zeros(len(batch.documents), 2, dtype=torch.float64).index_add_(0, owners, columns)
    return [(total, weight) for total, weight in sums.tolist()]


@contextlib.contextmanager
def quiet(model: torch.nn.Module) -> Iterator[None]:
    """No dropout inside; afterwards every module is in the mode in which it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def windows(document: Document, limit: int) -> Iterator[Document]:
    """The document, or parts of at most `limit` tokens that overlap by half; what a part repeats has weight 0 in it."""
    if len(document) <= limit:
        yield document
        return
    told = 0  # tokens before here are scored
    while told < len(document):
        start = max(0, min(told - limit // 2, len(document) - limit))
        end = start + limit
        weights = document.weights[start:end].copy()
        weights[: told - start] = 0
        yield Document(document.ids[start:end], weights, document.record)
        told = end


def _of(document: Document, record: int) -> Document:
    document.record = record
    return document
