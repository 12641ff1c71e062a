"""The frozen-prefix cache: what enters the lowest trained layer is computed once per document, and then read.

One canonical pass makes it: the document alone in a row, without gradient, in the arithmetic of training. So its bits do
not depend on the batch in which it came, and a run that reads, one that has to compute (the disk was full, a file was
damaged) and one that was resumed come to the same numbers. `decide` says whether it is right and whether it pays.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from .. import __version__, runtime
from ..console import size
from ..contracts import Batch, Document
from ..data import pack
from ..errors import RecipeError, problem
from ..models import boundary, cost, heads, layers
from ..models.boundary import Boundary, Proof, Unsuitable
from ..models.kernels import native
from . import prefix_store
from .precision import Precision
from .prefix_store import Store

if TYPE_CHECKING:
    from ..data.tokens import Tokens
    from .trainer import Layout

OPTION = "train.prefix_cache"
BEFORE_IT = {"on": False, "reason": "off: the run was begun without it"}  # of a plan.json that does not know it
TRIED = 256  # tokens of a document that is tried, at most


@dataclass
class PrefixCache:
    """Gives micro-batches the states that enter layer `layer`. `open` it before the first one, `close` it after the last."""

    layer: int
    below: tuple[torch.nn.Module, ...]
    proof: Proof
    rows: str
    pad_id: int
    precision: Precision
    bytes_needed: int
    store: Store | None = None
    off: str = ""  # why it is used no more
    _frozen: list[torch.nn.Parameter] = field(default_factory=list)
    _news: list[str] = field(default_factory=list)

    def open(self, model: torch.nn.Module) -> None:
        """Find what earlier runs have left. Reads all frozen weights once, as their bits are part of the key."""
        facts = key_facts(model, self.layer, self.precision, self.rows)
        self.store = Store.open(facts, self.bytes_needed)
        embedding: torch.nn.Module = model.get_input_embeddings()  # type: ignore[operator]
        self._frozen = [p for module in (embedding, *self.below) for p in module.parameters()]

    @property
    def documents(self) -> int:
        """Whose states are at hand, of these data or of others."""
        return self.store.documents if self.store is not None else 0

    def close(self) -> None:
        """Write what is not yet written. Never raises on a full disk."""
        if self.store is not None:
            self.store.close()

    def news(self) -> list[str]:
        """What has happened since it was last asked, in a line each."""
        told, self._news = self._news + (self.store.news if self.store else []), []
        if self.store:
            self.store.news = []
        return told

    def attach(self, model: torch.nn.Module, micro: Batch) -> None:
        """Put the states of the micro-batch's documents onto it; those that are nowhere are computed, and kept."""
        if self.off:
            return
        if any(parameter.requires_grad for parameter in self._frozen):
            self.off = "a layer below the boundary is trained from here on: all layers are run"
            self._news.append(self.off)
            return
        states = [self._states(model, document) for document in micro.documents]
        micro.boundary = Boundary(self.below, self._laid_out(micro, states), self.proof.form)

    def _states(self, model: torch.nn.Module, document: Document) -> np.ndarray:
        """(bytes,) of all tensors of a document, one after the other."""
        assert self.store is not None, "the cache is not open"
        key, length = prefix_store.digest(document.ids), len(document) * self.proof.bytes_per_token
        found = self.store.find(key, length)
        if found is None:
            found = self._computed(model, document)
            assert found.nbytes == length
            self.store.add(key, found)
        return found

    def _computed(self, model: torch.nn.Module, document: Document) -> np.ndarray:
        """The canonical pass."""
        device = next(model.parameters()).device
        alone = pack.collate([document], packed=self.rows == "packed", pad_id=self.pad_id, device=device)
        with self.precision.autocast():
            leaves, _ = boundary.record(model, alone, self.below)
        return np.concatenate([_bytes_of(leaf).reshape(-1) for leaf in leaves])

    def _laid_out(self, micro: Batch, states: Sequence[np.ndarray]) -> tuple[torch.Tensor, ...]:
        """Tensors as a layer would return them for this row, or these rows."""
        assert micro.ids is not None
        sources, made, first = _sources(micro), [], 0
        for dtype, shape in self.proof.kinds:
            width = dtype.itemsize * torch.Size(shape).numel()
            parts = [
                found[first * length : (first + width) * length].reshape(length, width)
                for length, found in zip(micro.lengths, states, strict=True)
            ]
            joined = np.concatenate(parts)
            whole = torch.from_numpy(joined if sources is None else joined[sources])
            made.append(whole.view(dtype).reshape(*micro.ids.shape, *shape).to(micro.ids.device))
            first += width
        return tuple(made)


def _sources(micro: Batch) -> np.ndarray | None:
    """(rows, time): which token, of all documents end to end, stands where. None where they stand end to end in the row.

    Padding takes a document's last token; it has no gradient, and nothing looks at it.
    """
    assert micro.ids is not None and micro.segments is not None and micro.positions is not None
    ends = np.cumsum(micro.lengths)
    if micro.packed and micro.ids.shape[1] == ends[-1]:
        return None
    segments, positions = micro.segments.cpu().numpy(), micro.positions.cpu().numpy()
    padding = np.zeros(1, np.int64) if micro.packed else ends[:, None] - 1
    return np.where(segments < 0, padding, (ends - micro.lengths)[segments] + positions)


def _bytes_of(tensor: torch.Tensor) -> np.ndarray:
    """The same memory as bytes, (..., bytes of the last axis); a copy where the tensor is not on the CPU."""
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy()


# ---- whether it is used ----


@dataclass(frozen=True)
class Decision:
    """What `train.prefix_cache` came to. `cache` is None where it is off; `reason` says why, either way, in one line."""

    reason: str
    cache: PrefixCache | None = None

    @property
    def on(self) -> bool:
        return self.cache is not None

    @property
    def bytes(self) -> int:
        """That it will take on disk."""
        return min(self.cache.bytes_needed, prefix_store.limit_bytes()) if self.cache else 0

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"on": self.on, "reason": self.reason}
        return found | ({"layer": self.cache.layer} if self.cache else {})


def decide(
    asked: bool | Literal["auto"],
    model: torch.nn.Module,
    tokens: Tokens,
    layout: Layout,
    precision: str,
    epochs: float,
    decided: dict[str, Any] | None = None,
) -> Decision:
    """Whether lower layers are run once per document. `decided`: what an interrupted run had decided, which stands.

    Raises RecipeError where `asked` is True and it would be wrong. Leaves model and random states as they were.
    """
    if decided is not None and not decided["on"]:
        return Decision(decided["reason"])
    if asked is False:
        return Decision(f"off: {OPTION} is false")
    if layout.whole:
        return Decision("off: the layers' weights stay in their files (train.stream)")
    must = asked is True or decided is not None
    if not must and epochs <= 1:
        return Decision("off: the data are read once")
    try:
        cache = _proved(model, tokens, layout, precision)
    except Unsuitable as reason:
        if asked is True:
            raise RecipeError(problem(OPTION, f"it would be wrong here: {reason}", "auto or false")) from None
        return Decision(f"off: {reason}")
    limit = prefix_store.limit_bytes()
    if not must and cache.bytes_needed > limit:
        return Decision(f"off: it would need {size(cache.bytes_needed)}, and may take {size(limit)}")
    return Decision(_told(cache, len(layers.blocks(model)[1])), cache)


def bytes_needed(proof: Proof, tokens: Tokens) -> int:
    """On disk: the states of every token, and the index."""
    return int(tokens.lengths.sum()) * proof.bytes_per_token + len(tokens) * prefix_store.ENTRY.itemsize


def _told(cache: PrefixCache, total: int) -> str:
    kept = f"{size(cache.bytes_needed)} of states are kept ({cache.proof.bytes_per_token:,} bytes a token)"
    layers_run = {0: "what is behind the layers", 1: f"layer {total}"}
    run = layers_run.get(total - cache.layer, f"layers {cache.layer + 1} to {total}")
    return f"on: from the second time on, a document is run through {run} only; {kept}"


def _proved(model: torch.nn.Module, tokens: Tokens, layout: Layout, precision: str) -> PrefixCache:
    """The cache of this model, where a trial on two documents shows that it is right. Raises Unsuitable."""
    if tokens.anew is not None:
        raise Unsuitable("the documents are made anew in each epoch")
    lowest = boundary.lowest_trained(model)
    if lowest <= 0:
        raise Unsuitable("the lowest layer is trained" if lowest == 0 else "the embeddings are trained")
    below = tuple(layers.blocks(model)[1][:lowest])
    device = next(model.parameters()).device
    arithmetic = Precision(precision, device.type)
    tried = [
        pack.collate([document], packed=layout.rows == "packed", pad_id=layout.pad_id, device=device)
        for document in _tried(tokens)
    ]
    try:
        with cost.untouched(model), arithmetic.autocast():
            proof = boundary.prove(model, tried, below)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise Unsuitable(f"its lower layers cannot be left out ({type(error).__name__})") from error
    needed = bytes_needed(proof, tokens)
    return PrefixCache(lowest, below, proof, layout.rows, layout.pad_id, arithmetic, needed)


def _tried(tokens: Tokens) -> list[Document]:
    """A short and a middling document, of unequal length where there are such, cut to `TRIED` tokens."""
    order = np.argsort(tokens.lengths, kind="stable")
    chosen = [tokens[int(order[0])], tokens[int(order[len(order) // 2])]]
    return [Document(d.ids[:TRIED], d.weights[:TRIED], d.record) for d in chosen]


# ---- the key ----


def key_facts(model: Any, layer: int, precision: Precision, rows: str) -> dict[str, Any]:
    """Everything beside the ids of a document that the bits of its states depend on."""
    import transformers

    base = heads.base_of(model)
    config = {
        key: value
        for key, value in base.config.to_dict().items()
        if key not in ("_name_or_path", "id2label", "label2id")
    }
    origin = getattr(base, "seektune_origin", None)
    device = next(model.parameters()).device
    return {
        "base": getattr(origin, "fingerprint", None),
        "weights": weights_digest(model, layer),
        "adapter": _adapter(model, layer),
        "config": config,
        "attention": base.config._attn_implementation,
        "layer": layer,
        "precision": precision.name,
        "rows": rows,
        "seektune": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": [runtime.cpu_name(), runtime.cpu_features(), torch.get_num_threads(), not native.why_not(device.type)],
    }  # fmt: skip


def weights_digest(model: Any, layer: int) -> str:
    """Of every frozen tensor that is not in layer `layer` or above: names, types, shapes, and the CRC-32 of all bytes."""
    made = hashlib.sha256()
    for key, tensor in sorted(_below(model, layer).items()):
        check = zlib.crc32(_bytes_of(tensor.reshape(-1)).data)
        made.update(f"{layers.plain_name(key)} {tensor.dtype} {list(tensor.shape)} {check:08x}\n".encode())
    return made.hexdigest()


def _below(model: Any, layer: int) -> dict[str, torch.Tensor]:
    """Frozen parameters and all buffers outside of the layers from `layer` on."""
    base = heads.base_of(model)
    above = tuple(f"{layers.blocks(base)[0]}.{number}." for number in range(layer, len(layers.blocks(base)[1])))
    tensors = {**dict(base.named_parameters()), **dict(base.named_buffers())}
    return {key: tensor for key, tensor in tensors.items() if not tensor.requires_grad and not key.startswith(above)}


def _adapter(model: Any, layer: int) -> Any:
    """The settings of an adapter that stands below the boundary; None where none does."""
    parts = {part for key in _below(model, layer) for part in key.split(".")}
    return str(model.peft_config) if parts & layers.ADAPTER_PARTS else None
