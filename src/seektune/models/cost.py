"""What a model costs, whatever its architecture: parameters by part, FLOPs of a step, bytes of weights and of activations.

Weights are counted from the modules (so that adapters and experts are what they are). What backward keeps of the activations
is read off autograd on a few tokens: no formula knows every attention, expert and norm, and autograd always does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..contracts import Batch, Document
from ..data import pack
from . import attention, blueprint, forward, heads, streaming
from .kernels import cross_entropy, products
from .layers import ROUTERS, blocks, depth_of, plain_name

if TYPE_CHECKING:
    import torch

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
TOP_K = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k_experts", "moe_k")
LOGITS_LIVE = 3  # float32 copies of the logits at once: themselves, their log softmax, a gradient
CHUNK = 64  # tokens that linear attention takes together
REUSED = 3  # layers that recompute leave their holes to those that come after so many (measured with six)
TEMPORARY = 0.5  # of what a layer keeps: what its backward holds besides, for a moment (measured)


# Parameters


def parameters_by_part(model: Any) -> dict[str, int]:
    """Elements of embedding, attention, mlp, experts, router, norm, head, adapter and other; a tied head counts once, as embedding."""
    base, parts = heads.base_of(model), dict[str, int]()
    ends = {id(p): "head" for e in [base.get_output_embeddings()] if e is not None for p in e.parameters()}
    ends |= {id(p): "embedding" for p in base.get_input_embeddings().parameters()}
    depth, layers = depth_of(model), len(blocks(model)[1])
    for name, parameter in model.named_parameters():
        part = ends.get(id(parameter)) or _part(name, depth[name], layers)
        parts[part] = parts.get(part, 0) + parameter.numel()
    return parts


def _part(name: str, depth: int | None, layers: int) -> str:
    words = name.lower().split(".")
    if _adapts(name):
        return "adapter"
    if depth == -1:
        return "embedding"
    if any("norm" in word for word in words):
        return "norm"
    if depth == layers:
        return "head"
    if "experts" in words or any(word.startswith("shared_expert") for word in words):
        return "router" if words[-2] in ROUTERS else "experts"
    if any(word in ROUTERS for word in words):
        return "router"
    if any("attn" in word or "attention" in word for word in words):
        return "attention"
    return "mlp" if any(word in ("mlp", "feed_forward", "ffn", "intermediate", "output") for word in words) else "other"


def _adapts(name: str) -> bool:
    return any(word.startswith(("lora_", "trainable_tokens")) or word == "modules_to_save" for word in name.split("."))


@dataclass(frozen=True)
class Weights:
    """Elements and bytes of the weights as a run holds them: frozen in the type of the arithmetic, trained in float32."""

    parameters: int
    trained: int
    frozen_bytes: int
    trained_bytes: int
    cast_bytes: int  # copies of trained matrices in the type of the arithmetic, which autocast keeps for one forward
    layer_bytes: int = 0  # of the frozen bytes: those inside the layers
    linear_bytes: int = 0  # of these: matrices, each of `linear_rows` rows in all
    linear: int = 0  # elements of the matrices
    linear_rows: int = 0


def weights_of(model: Any, precision: str) -> Weights:
    """`precision`: float32, bfloat16 or float16. A tied tensor counts once."""
    total = trained = frozen_bytes = casts = layer_bytes = linear_bytes = linear = rows = 0
    inside = blocks(model)[0] + "."
    embedding = None if heads.tied(model) else heads.base_of(model).get_input_embeddings().weight
    for name, parameter in model.named_parameters():
        total += parameter.numel()
        if parameter.requires_grad:
            trained += parameter.numel()
            casts += parameter.numel() if parameter.ndim >= 2 and parameter is not embedding else 0
        else:
            width = BYTES[precision] if parameter.is_floating_point() else parameter.element_size()
            held_here = 0 if streaming.travels(parameter) else parameter.numel() * width
            frozen_bytes += held_here
            layer_bytes += held_here * name.startswith(inside)
            if name.startswith(inside) and parameter.ndim >= 2 and parameter.is_floating_point():
                linear, linear_bytes = linear + parameter.numel(), linear_bytes + held_here
                rows += parameter.numel() // parameter.shape[-1]
    frozen_bytes += streaming.held_bytes(model)
    cast_bytes = casts * BYTES[precision] if precision != "float32" else 0
    held = (layer_bytes, linear_bytes, linear, rows)
    return Weights(total, trained, frozen_bytes, 4 * trained, cast_bytes, *held)


def stored_bytes(model: Any) -> int:
    """Bytes of the model on disk, each weight in the type in which it was opened. Without adapters."""
    origin: Any = getattr(heads.base_of(model), "seektune_origin", None)
    dtypes = getattr(origin, "dtypes", {})
    bare = {plain_name(name): p for name, p in heads.base_of(model).named_parameters() if not _adapts(name)}
    return sum(p.numel() * dtypes.get(name, p.dtype).itemsize for name, p in bare.items())


# FLOPs


@dataclass(frozen=True)
class Work:
    """FLOPs (a multiply-add is two), forward and backward: per token, per pair of tokens of a document, per learnt token."""

    token: float
    pair: float
    learnt: float
    token_back: float
    pair_back: float
    learnt_back: float

    def forward(self, lengths: Sequence[int], learnt: float) -> float:
        """Documents of these lengths with so many learnt tokens in all."""
        return self.token * sum(lengths) + self.pair * sum(n * n for n in lengths) + self.learnt * learnt

    def training(self, lengths: Sequence[int], learnt: float, recompute: bool = False) -> float:
        """Forward and backward; `recompute`: activations are computed once more (activation checkpointing)."""
        back = self.token_back * sum(lengths) + self.pair_back * sum(n * n for n in lengths) + self.learnt_back * learnt
        again = self.forward(lengths, 0) if recompute else 0.0
        return self.forward(lengths, learnt) + back + again


def work_of(model: Any) -> Work:
    """From the modules: of experts only those count that a token meets. Attention counts every pair of a document, as if not causal."""
    base, config = heads.base_of(model), heads.base_of(model).config.get_text_config()
    depth = depth_of(model)
    trained_at = [d for name, p in model.named_parameters() if p.requires_grad and (d := depth[name]) is not None]
    lowest = min(trained_at, default=1 << 30)
    ahead = back = 0.0
    for name, elements, trained in _matrices(model, _top_k(config)):
        at = next((d for n, d in depth.items() if n.startswith(f"{name}.")), None)
        ahead += 2 * elements
        back += 2 * elements * (int(at is not None and at >= lowest) + int(trained))
    head = base.get_output_embeddings()
    learnt = 2.0 * head.weight.numel() if head is not None else 0.0
    learnt_back = learnt * (1 + int(head is not None and head.weight.requires_grad))
    kinds = list(getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers)
    pair, state = _pair(config), _state(config)
    for number, kind in enumerate(kinds):
        if kind == "linear_attention":
            ahead += state
            back += 2 * state * (number >= lowest)
    attending = [number for number, kind in enumerate(kinds) if kind != "linear_attention"]
    reached = sum(number >= lowest for number in attending)
    return Work(ahead, pair * len(attending), learnt, back, 2 * pair * reached, learnt_back)


def _matrices(model: Any, top_k: int) -> Iterator[tuple[str, float, bool]]:
    """(module name, elements that a token meets, trained) of every weight matrix inside the layers."""
    from torch import nn

    inside = blocks(model)[0] + "."
    stacks = {
        name: len(m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and name.endswith("experts")
    }
    for name, module in model.named_modules():
        if not name.startswith(inside) or ".original_module" in name:
            continue
        stack = next((count for prefix, count in stacks.items() if name.startswith(f"{prefix}.")), 0)
        share = min(1.0, top_k / stack) if stack else 1.0
        experts = getattr(module, "num_experts", None) or getattr(module, "num_local_experts", None)
        for parameter in module.parameters(recurse=False):
            if parameter.ndim == 3 and experts and parameter.shape[0] == experts:
                yield name, parameter.numel() * min(1.0, top_k / experts), parameter.requires_grad
            elif parameter.ndim >= 2 and not isinstance(module, nn.Embedding):
                yield name, parameter.numel() * share, parameter.requires_grad


def _top_k(config: Any) -> int:
    return int(next((value for key in TOP_K if (value := getattr(config, key, None))), 1))


def _pair(config: Any) -> float:
    """Forward FLOPs of one layer's attention for one pair of tokens."""
    key = _key_width(config)
    return 2.0 * config.num_attention_heads * (key + (getattr(config, "v_head_dim", None) or key))


def _state(config: Any) -> float:
    """Forward FLOPs of one linear attention layer for one token: products inside its chunk, and with the state."""
    count = getattr(config, "linear_num_value_heads", None) or config.num_attention_heads
    key, value = (getattr(config, f"linear_{end}_head_dim", None) or _key_width(config) for end in ("key", "value"))
    return float(count * (CHUNK * (4 * key + 2 * value) + 6 * key * value))


def _key_width(config: Any) -> int:
    """Of one head; multi-head latent attention has a part without and a part with positions."""
    if getattr(config, "kv_lora_rank", None) and getattr(config, "qk_nope_head_dim", None):
        return int(config.qk_nope_head_dim + config.qk_rope_head_dim)
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


# Activations


@dataclass(frozen=True)
class Footprint:
    """Bytes of activations that backward needs: per token of a row, and per pair of tokens of a document."""

    token: float  # of all layers together
    border: float  # per token: what goes from layer to layer, all that activation checkpointing keeps; of all layers
    by_layer: tuple[float, ...]  # per token
    attending: int  # layers that look at pairs of tokens
    pair: float  # of the layers that see whole documents
    pair_near: float  # of the layers with a window, where the window does not bind
    pair_bound: float  # of the same where it binds; then all pairs of a packed row count, under one dense mask
    short: int | None  # pairs are kept of documents up to this length only; None: of all
    window: int | None
    width: int  # bytes of a number in the arithmetic
    packed: bool
    freed: float = 0.0  # per token: what the forward asks for and gives back at once; it leaves holes in a heap

    def tokens(self, lengths: Sequence[int]) -> int:
        """Tokens of one micro-batch, padding counted."""
        return sum(lengths) if self.packed else len(lengths) * max(lengths, default=0)

    def pairs(self, lengths: Sequence[int]) -> float:
        """Bytes that attention keeps per pair of tokens, of one micro-batch of documents of these lengths."""
        rows = list(lengths) if self.packed else [max(lengths, default=0)] * len(lengths)
        if self.short is not None and not self.packed and len(set(lengths)) > 1:  # fused, under a mask for the padding
            return float(self.attending * self.width * sum(n * n for n in rows))
        squares = sum(n * n for n in rows if self.short is None or n <= self.short)
        if self.window is None or max(rows, default=0) <= self.window:
            return (self.pair + self.pair_near) * squares
        masked = sum(rows) ** 2 if self.packed else sum(n * n for n in rows)
        return self.pair * squares + self.pair_bound * masked

    def kept(self, lengths: Sequence[int], checkpointing: bool = False) -> float:
        """Bytes held when the forward of one micro-batch ends."""
        tokens = self.tokens(lengths)
        return self.border * tokens if checkpointing else self.token * tokens + self.pairs(lengths)

    def passing(self, lengths: Sequence[int], checkpointing: bool = False) -> float:
        """Bytes that backward needs for a moment beside what is kept, in the layer where that is most."""
        tokens, pairs = self.tokens(lengths), self.pairs(lengths) / self.layers
        if checkpointing:
            return (1 + TEMPORARY / 2) * max(self.by_layer) * tokens + 1.5 * pairs
        most, freed = 0.0, 0.0
        for layer in reversed(self.by_layer):  # what later layers kept is free by then
            most, freed = max(most, TEMPORARY * layer - freed), freed + layer
        return most * tokens + pairs

    def given_back(self, lengths: Sequence[int], checkpointing: bool = False) -> float:
        """Bytes that the forward asks for and frees again, between what is kept; layers that recompute free what they make."""
        freed = self.freed * self.tokens(lengths)
        return freed + self.kept(lengths) * min(1.0, REUSED / self.layers) if checkpointing else freed

    @property
    def layers(self) -> int:
        return len(self.by_layer)


@dataclass(frozen=True)
class Logits:
    """Bytes of the logits of a learnt token while its loss is differentiated, and of how many tokens they are there at once."""

    each: int = 0
    rows: int | None = None  # None: of all

    def held(self, learnt: float) -> float:
        return self.each * (learnt if self.rows is None else min(learnt, self.rows))


def logits_of(model: Any, precision: Any, kind: str = "cpu") -> Logits:
    """Of a classifier none; behind a plain head those of a chunk (kernels/cross_entropy.py). A drawn head passes for plain.

    `precision`: train.precision.Precision, in whose autocast the head is tried; `kind` of the device that it will run on.
    """
    from torch import nn

    head = heads.base_of(model).get_output_embeddings()
    if head is None:
        return Logits()
    vocabulary = head.weight.shape[0]
    with precision.autocast():
        plain = isinstance(head, nn.Linear) if head.weight.is_meta else heads.tail_of(model) is not None
    if plain:
        softcap = getattr(heads.base_of(model).config.get_text_config(), "final_logit_softcapping", None)
        in_place = cross_entropy.is_in_place(kind, precision.dtype, softcap)
        rows, each = cross_entropy.chunk_of(vocabulary, precision.dtype, in_place, kind)
        return Logits(each, rows)
    return Logits(4 * LOGITS_LIVE * vocabulary)


def footprint_of(model: Any, precision: Any, packed: bool, fused: bool = False) -> Footprint:
    """Read off autograd in three forwards over one document of L, 2 L and 3 L random tokens, in training mode (L: 21 or 64).

    `precision`: train.precision.Precision (its autocast is used); `fused`: attention of every length goes through a fused kernel,
    as on a GPU. A drawn model (models/blueprint.py) gives the same numbers. Leaves random states, modes and gradients as they were.
    """
    config = heads.base_of(model).config.get_text_config()
    kinds = list(getattr(config, "layer_types", None) or ())
    # no length that narrow layers fill up (kernels/products.py): what they add is no token's share
    length = CHUNK if "linear_attention" in kinds else products.FILL // 3
    with (
        _attention_that_is(fused),
        blueprint.thinned(model) as stands_for,
        blueprint.as_if_there(model, precision.device),
        untouched(model),
        _without_checkpointing(model),
        streaming.measured(model),
    ):
        one, two, three = (_kept(model, precision, length * times, packed).of(stands_for) for times in (1, 2, 3))
    # bytes = constant + token · n + pair · n²: the second difference is 2 L² pair, the first L token + 3 L² pair
    quadratic = [
        max(0.0, (c - 2 * b + a) / (2 * length**2))
        for a, b, c in zip(one.layers, two.layers, three.layers, strict=True)
    ]
    linear = [(b - a) / length - 3 * length * q for a, b, q in zip(one.layers, two.layers, quadratic, strict=True)]
    outside = (two.total - one.total - sum(two.layers) + sum(one.layers)) / length
    window = _window(config)
    near = [window is not None and (not kinds or "full" not in kinds[i]) for i in range(len(linear))]
    pair_near = sum(q for q, n in zip(quadratic, near, strict=True) if n)
    plain = _plain(model, config)
    return Footprint(
        token=sum(linear) + max(outside, 0.0),
        border=sum(two.borders) / (2 * length),
        by_layer=tuple(linear),
        attending=len(linear) - kinds.count("linear_attention"),
        pair=sum(quadratic) - pair_near,
        pair_near=pair_near,
        pair_bound=float(sum(near) * BYTES[precision.name]) if plain else pair_near,
        short=(0 if fused else attention.SHORT) if plain else None,
        window=window,
        width=BYTES[precision.name],
        packed=packed,
        freed=max(0.0, (two.asked - one.asked) / length - (two.total - one.total) / length),
    )


@dataclass
class Kept:
    """What autograd holds at the end of a forward, in bytes: in all, of each layer, and what goes into each."""

    total: int = 0
    layers: list[int] = field(default_factory=list)
    borders: list[int] = field(default_factory=list)
    asked: int = 0  # bytes of all tensors that were made on the way
    asked_by: list[int] = field(default_factory=list)  # of each layer

    def of(self, stands_for: Sequence[int]) -> Kept:
        """Of the whole model, where layers were left out: `stands_for` names for each layer the one that was run."""
        layers = [self.layers[index] for index in stands_for]
        total = self.total + sum(layers) - sum(self.layers)
        asked_by = [self.asked_by[index] for index in stands_for]
        asked = self.asked + sum(asked_by) - sum(self.asked_by)
        return Kept(total, layers, [self.borders[index] for index in stands_for], asked, asked_by)


def _kept(model: Any, precision: Any, length: int, packed: bool) -> Kept:
    """Of one document of random tokens, a row by itself, without the head."""
    import torch

    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())} | streaming.storages(model)
    found, seen, alive = Kept(), set(own), list[torch.Tensor]()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            alive.append(tensor)  # while it lives, no other tensor gets its address
            found.total += storage.nbytes()
        return tensor

    def enter(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        found.layers.append(-found.total)
        found.asked_by.append(-made.total)
        hidden = arguments[0] if arguments else named.get("hidden_states")
        found.borders.append(hidden.nbytes if isinstance(hidden, torch.Tensor) else 0)

    def leave(module: Any, arguments: Any, result: Any) -> None:
        found.layers[-1] += found.total
        found.asked_by[-1] += made.total

    batch, made = _random_row(model, length, packed), _counting()
    made.seen |= dict.fromkeys(own)
    handles = [layer.register_forward_pre_hook(enter, with_kwargs=True) for layer in blocks(model)[1]]
    handles += [layer.register_forward_hook(leave) for layer in blocks(model)[1]]
    try:
        kept = torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t)
        with torch.enable_grad(), kept, precision.autocast(), made:
            forward.run(forward.backbone(model), batch)
    finally:
        for handle in handles:
            handle.remove()
    found.asked = made.total
    return found


def _counting() -> Any:
    """A mode that adds up the bytes of every new tensor: `total`."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Counting(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.total, self.seen = 0, dict[int, Any]()  # storage -> a tensor that keeps it: no other gets its place

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for tensor in tree_leaves(result):
                if hasattr(tensor, "untyped_storage") and tensor.untyped_storage()._cdata not in self.seen:
                    self.seen[tensor.untyped_storage()._cdata] = tensor
                    self.total += tensor.untyped_storage().nbytes()
            return result

    return Counting()


def _random_row(model: Any, length: int, packed: bool) -> Batch:
    import numpy as np

    rows = heads.embedding_rows(model)
    ids = np.random.default_rng(length).integers(min(10, rows // 2), rows, length).astype(np.int32)
    document = Document(ids, np.zeros(length, np.float32))
    return pack.collate([document], packed=packed, device=next(model.parameters()).device)


@contextlib.contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Inside, the model trains (dropout and all); afterwards modes, gradients, buffers and torch's random states are as before."""
    import torch

    modes = {module: module.training for module in model.modules()}
    gradients = {parameter: parameter.grad for parameter in model.parameters()}
    buffers = {buffer: buffer.detach().clone() for buffer in model.buffers()}
    for parameter in gradients:
        parameter.grad = None
    model.train()
    devices = [next(model.parameters()).device] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=[d for d in devices if d.type == "cuda"]):
            yield
    finally:
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, value in buffers.items():
                buffer.copy_(value)
        for module, training in modes.items():
            module.training = training
        attention.clear()


@contextlib.contextmanager
def _attention_that_is(fused: bool) -> Iterator[None]:
    """Inside, `attention` takes batched products for no document, where `fused`."""
    short = attention.SHORT
    attention.SHORT = 0 if fused else short
    try:
        yield
    finally:
        attention.SHORT = short


@contextlib.contextmanager
def _without_checkpointing(model: Any) -> Iterator[None]:
    """Activation checkpointing is off inside, where it was on."""
    on = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]
    for module in on:
        module.gradient_checkpointing = False
    try:
        yield
    finally:
        for module in on:
            module.gradient_checkpointing = True


def _window(config: Any) -> int | None:
    """The reach of layers that do not see the whole document; None where all see it."""
    kinds = getattr(config, "layer_types", None)
    reach = getattr(config, "sliding_window", None) or getattr(config, "local_attention", None)
    return int(reach) if reach and (kinds is None or any("full" not in kind for kind in kinds)) else None


def _plain(model: Any, config: Any) -> bool:
    """Whether long documents reach a fused kernel, which keeps no pairs: no soft cap, no sinks, keys as wide as values, no dropout."""
    fused = getattr(heads.base_of(model).config, "_attn_implementation", "") in (attention.NAME, "sdpa")
    sinks = any(name.endswith("sinks") for name, _ in model.named_parameters())
    narrow = getattr(config, "v_head_dim", None) not in (None, _key_width(config))
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    dropped = any(getattr(config, key, 0) for key in ("attention_dropout", "attention_probs_dropout_prob"))
    return fused and not (sinks or narrow or capped or dropped)
