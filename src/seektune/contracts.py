"""The nouns of seektune, on one page: what each part takes and gives. Read this file first; it imports nothing of ours.

A kind (a tuner, an objective, ...) is a dataclass whose fields are its options and nothing else; model, data and engine
arrive in its methods. So a recipe is these objects written as YAML. Data flows through four classes: a *record* (a plain
dict) is rendered to a `Document` (token ids with a loss weight each); the documents of one optimizer step are a `Batch`;
a micro-batch is the same class, laid out as tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch

Record = dict[str, Any]
"""One of five shapes: {"text"} · {"messages"} (and "tools") · {"prompt"-messages, "chosen", "rejected"} · {"text", "label"}
(and "text_pair") · {"prompt"} with free columns. `data/formats.py` makes these of whatever the files hold."""


@dataclass
class Document:
    """One tokenised record (or one answer of it): what the model reads and which of it is learnt."""

    ids: np.ndarray  # (time,) int32
    weights: np.ndarray  # (time,) float32: loss weight of *predicting* ids[t]; weights[0] is never used and is 0
    record: int = -1  # index of the record that it came from
    label: Any = None  # class id, or list of class ids where several may hold
    extra: dict[str, Any] = field(default_factory=dict)  # what an objective's `annotate` has computed

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Tree:
    """Documents of one unit that begin alike, in a packed row: their common prefix once, and what follows it in each."""

    prefix: int  # tokens
    branches: tuple[int, ...]  # tokens of each document behind the prefix; at least 1, rising


class Learnt(NamedTuple):
    """Every learnt token of a micro-batch, document by document: what is read where. All (n,); n may be 0.

    A token of a shared prefix comes once for each document that learns it.
    """

    positions: torch.Tensor  # int64, in the flattened (rows * time) hidden states: where the token is predicted
    targets: torch.Tensor  # int64, ids
    weights: torch.Tensor  # float32, never 0
    documents: torch.Tensor  # int64, index into `documents` of the batch


@dataclass
class Batch:
    """The documents of one optimizer step; after `data.pack.cut`, one micro-batch of them with its tensors.

    Packed: one row that holds all documents end to end. Padded: one document a row, padding on the right.
    With `trees`, the last documents of a packed row share prefixes: documents by themselves, prefixes, branches (data/trees.py).
    """

    documents: list[Document]
    ids: torch.Tensor | None = None  # (rows, time) int64
    positions: torch.Tensor | None = None  # (rows, time) int64, starting at 0 with each document
    segments: torch.Tensor | None = (
        None  # (rows, time) int64: index into `documents` (of a prefix: its first), -1 where padded
    )
    weights: torch.Tensor | None = (
        None  # (rows, time) float32: weight of predicting the token that stands here (of a prefix: summed)
    )
    lengths: tuple[int, ...] = ()  # of each document, whole
    packed: bool = True
    trees: tuple[Tree, ...] = ()  # of the last documents, in their order
    learnt: Learnt | None = None  # found with the tensors, so that a GPU need not be waited for
    boundary: Any = None  # models.boundary.Boundary: what enters the lowest trained layer, where it has been kept

    @property
    def tokens(self) -> int:
        return sum(len(document) for document in self.documents)


@dataclass
class Loss:
    """Sums over a micro-batch: the loop divides `total` by the summed `weight` of the whole optimizer step, once."""

    total: torch.Tensor  # scalar with gradient: sum of weighted losses
    weight: float  # sum of the weights
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)  # name -> (sum, count), for the log


@dataclass
class Event:
    """Something that happened in a run. `name`: start, step, validation, checkpoint, non_finite, alarm, stop, end, ..."""

    name: str
    step: int
    values: dict[str, Any] = field(default_factory=dict)
    context: Any = None  # the trainer's view (model, batch), for observers that look at tensors; never stored


class Stage(Protocol):
    """Changes a stream of records and counts what it did: kept, dropped, changed, with reasons and examples."""

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]: ...
    def report(self) -> dict[str, Any]: ...


class Source(Protocol):
    """Where the documents of each optimizer step come from; offline and online training differ only here.

    Batches are read ahead by a thread (train/ahead.py), and `state_dict` tells where the batch given last ended. A class
    with `ahead = False` needs what the step changes and is read in turn.
    """

    def open(self, documents: Sequence[Document], *, batch_size: int, unit: int, seed: int) -> None: ...
    def __iter__(self) -> Iterator[Batch]: ...
    def batches_per_epoch(self) -> int: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Tuner(Protocol):
    """*What* may change: marks parameters trainable, or adds some."""

    def apply(self, model: torch.nn.Module) -> torch.nn.Module: ...
    def advance(self, model: torch.nn.Module, progress: float) -> None: ...
    def merge(self, model: torch.nn.Module) -> torch.nn.Module: ...
    def save(self, model: torch.nn.Module, folder: Path) -> None: ...


class Objective(Protocol):
    """*What for*. `unit` documents stay together (2 for pairs). Only `loss` is required; `prepare` and `annotate` may be absent."""

    unit: ClassVar[int]
    head: ClassVar[Literal["lm", "classifier", "tagger"]]  # which Auto class opens the model

    def loss(self, model: torch.nn.Module, batch: Batch) -> Loss: ...


class Optimizer(Protocol):
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer: ...


class Schedule(Protocol):
    """Factor of the learning rate, pure in `progress` in [0, 1]."""

    def __call__(self, progress: float) -> float: ...


class Observer(Protocol):
    """What else happens while training. Never changes a number; returning a string from `observe` asks for a stop with that reason."""

    def observe(self, event: Event) -> str | None: ...


class Measure(Protocol):
    """A figure of a model on records. `level`: 1 loss-like · 2 answers · 3 judged · 4 in use.

    Returns name -> one value per record (a list), or a single number where no per-record value exists; the evaluator
    turns lists into a mean with a confidence interval and keeps them for `compare`.
    """

    level: ClassVar[int]

    def measure(self, engine: Engine, records: Sequence[Record]) -> dict[str, Any]: ...


@dataclass
class Answer:
    """What an engine generated for one request."""

    text: str  # without the closing token
    ids: list[int]
    stopped: bool  # ended by itself, not by `max_new_tokens`
    log_probs: list[float] = field(default_factory=list)


class Engine(Protocol):
    """One engine for all that generates, scores or labels: chat, evaluation, rollouts, serving."""

    def generate(self, prompts: Sequence[Record], **sampling: Any) -> list[Answer]: ...
    def stream(self, prompt: Record, **sampling: Any) -> Iterator[str]: ...
    def score(self, records: Sequence[Record]) -> list[tuple[float, float]]: ...  # (sum of -log p, supervised weight)
    def classify(self, records: Sequence[Record]) -> list[list[float]]: ...  # class probabilities
    def tag(self, records: Sequence[Record]) -> list[list[tuple[int, int, str]]]: ...  # (start, end, type) of entities


class Run(Protocol):
    """A folder; the only truth about what happened (`run.py`)."""

    def append(self, metrics: dict[str, Any]) -> None: ...
    def event(self, name: str, **values: Any) -> None: ...


@dataclass(frozen=True)
class Probe:
    """How a test sees that an option is read (law 1: nothing is ignored).

    The contract test runs `scenario` twice, once as it is and once with this option set to `other`, and looks at `seen`.
    """

    other: Any  # another legal value
    seen: str = (
        "weights"  # weights | losses | gradient | events | metrics | report | text | calls | memory | stop | file:NAME
    )
    scenario: str = "train"  # name of a scenario in tests/contracts/scenarios.py
    given: Mapping[str, Any] = field(default_factory=dict)  # further recipe settings that both runs need, dotted keys


def option(
    default: Any = ...,
    help: str = "",
    *,
    probe: Probe,
    check: Callable[[Any], str | None] | None = None,
    factory: Callable[[], Any] | None = None,
) -> Any:
    """A dataclass field that is an option of a recipe. `check(value)` returns what would be right when the value is not."""
    metadata = {"help": help, "probe": probe, "check": check}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    if default is ...:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def at_least(low: float) -> Callable[[Any], str | None]:
    return lambda value: None if value is None or isinstance(value, str) or value >= low else f"at least {low}"


def between(low: float, high: float) -> Callable[[Any], str | None]:
    return lambda value: (
        None if value is None or isinstance(value, str) or low <= value <= high else f"between {low} and {high}"
    )


def above(low: float) -> Callable[[Any], str | None]:
    return lambda value: None if value is None or isinstance(value, str) or value > low else f"greater than {low}"
