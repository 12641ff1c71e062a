"""A model drawn from its config alone: modules, shapes and types are there, no weight is read and no number is drawn.

Tensors lie on the meta device. `as_if_there` makes them look like tensors of a real device for a while, so that what backward
keeps can be read off autograd (models/cost.py): every kernel then computes shapes only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ModelError
from . import adapters, attention, heads, isolation, load, weights
from .layers import blocks, depth_of, kinds
from .quiet import quiet

if TYPE_CHECKING:
    import torch


PLAIN_INSIDE = attention.plain_inside


def has_weights(folder: Path) -> bool:
    """Whether a model's folder holds weights, of whatever format; a missing or broken shard is told when they are opened."""
    base = _base_folder(folder)
    return any(base.glob("*.safetensors*")) or bool(weights.pickles(base))


def draw(
    model: load.Model,
    *,
    head: Literal["lm", "classifier", "tagger"] = "lm",
    labels: list[str] | None = None,
    several: bool = False,
) -> torch.nn.Module:
    """What `load.open_model` would open, on the meta device, in the types in which the files hold it. An adapter is left out.

    Raises ModelError where config.json tells no model that transformers knows.
    """
    import torch

    folder = _base_folder(load.folder_of(model))
    config = load.config_of(model, folder, head, labels, several)
    config.__dict__.pop("quantization_config", None)  # how the files hold it is no matter of the modules
    auto: Any = load.auto_of(head)
    with quiet(), torch.device("meta"), torch.random.fork_rng(devices=[]):
        try:
            drawn = auto.from_config(
                config, dtype=_type_of(model, folder, config), trust_remote_code=model.trust_remote_code
            )
        except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError) as error:
            raise ModelError(load.why_not_opened(folder, head, config, error)) from None
    dtypes = load.types_to_save(model, folder, drawn)
    drawn.seektune_origin = load.Origin(str(folder), model.revision, str(folder), None, dtypes, _new_in(folder, drawn))
    return drawn.eval()


def tuned(drawn: torch.nn.Module, tuner: Any) -> torch.nn.Module:
    """The tuner applied; what it adds is drawn, too."""
    import torch

    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        applied: torch.nn.Module = tuner.apply(drawn)
    return applied


def _base_folder(folder: Path) -> Path:
    return load.folder_of(load.base_of(folder)) if adapters.is_adapter(folder) else folder


def _type_of(model: load.Model, folder: Path, config: Any) -> torch.dtype:
    """The recipe's, else that of the files, else the config's."""
    import torch

    stored = load.facts_of(folder).dtype if has_weights(folder) else ""
    found = getattr(torch, stored if model.dtype == "auto" else model.dtype, None) or config.dtype
    return found if isinstance(found, torch.dtype) and found.is_floating_point else torch.float32


def _new_in(folder: Path, drawn: torch.nn.Module) -> tuple[str, ...]:
    """Parameters of a pooler that the files lack: a classifier draws them anew (see `heads.head_modules`)."""
    stored = weights.tensors_of(folder)
    poolers = [name for name, _ in drawn.named_parameters() if ".pooler." in name]
    return tuple(n for n in poolers if stored and not any(s.endswith(n.partition(".")[2]) for s in stored))


def isolate(model: Any) -> isolation.Isolation:
    """What `isolation.isolate` will find, as far as a config tells; attention is set as it will be."""
    expected = isolation.expected(model)
    if expected.packed:
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        base.set_attn_implementation(attention.register())
    return expected


@contextlib.contextmanager
def as_if_there(model: Any, device: str) -> Iterator[None]:
    """Inside, the parameters of a model on the meta device pass for tensors of `device` (a real model is left alone), and
    transformers takes every row for one document without asking its values."""
    import torch
    from transformers import masking_utils

    mode = _mode() if next(model.parameters()).is_meta else contextlib.nullcontext()
    places = [place for module in model.modules() for place in (module._parameters, module._buffers)]
    held = [(place, dict(place)) for place in places if not isinstance(mode, contextlib.nullcontext)]
    asks_values, masking_utils.find_packed_sequence_indices = masking_utils.find_packed_sequence_indices, _one_document
    tries, attention.plain_inside = attention.plain_inside, _with_numbers
    try:
        with mode:
            _replace(held, mode, torch.device(device))
            yield
    finally:
        masking_utils.find_packed_sequence_indices, attention.plain_inside = asks_values, tries
        for place, tensors in held:
            place.update(tensors)


@contextlib.contextmanager
def thinned(model: Any) -> Iterator[list[int]]:
    """Inside, a drawn model holds two layers of each kind; yields for every layer the index of the one that stands for it.

    Two, because the first of a kind may keep what the others share (masks, rotary angles). Real models are left whole.
    """
    layers = blocks(model)[1]
    found_kinds = _layer_kinds(model)
    places: dict[Any, list[int]] = {}
    for index, kind in enumerate(found_kinds):
        places.setdefault(kind, []).append(index)
    kept = sorted(index for found in places.values() for index in found[:2])
    if not next(model.parameters()).is_meta or len(kept) == len(layers):
        yield list(range(len(layers)))
        return
    config, held = heads.base_of(model).config.get_text_config(), dict(layers._modules)
    lists = {k: v for k, v in vars(config).items() if isinstance(v, list) and len(v) == len(layers)}
    try:
        layers._modules = {str(new): held[str(old)] for new, old in enumerate(kept)}
        vars(config).update({k: [v[i] for i in kept] for k, v in lists.items()}, num_hidden_layers=len(kept))
        yield [kept.index(i if i in kept else places[kind][1]) for i, kind in enumerate(found_kinds)]
    finally:
        layers._modules = held
        vars(config).update(lists, num_hidden_layers=len(held))


def _layer_kinds(model: Any) -> list[tuple[Any, ...]]:
    """Layers of equal kind keep the same: parameters alike, the same kind of attention, and something below that learns or not."""
    depth = depth_of(model)
    lowest = min(
        (at for n, p in model.named_parameters() if p.requires_grad and (at := depth[n]) is not None), default=0
    )
    learns = [frozenset(n for n, p in layer.named_parameters() if p.requires_grad) for layer in blocks(model)[1]]
    return [(index > lowest, learns[index], *kind) for index, kind in enumerate(kinds(model))]


def _one_document(position_ids: Any) -> None:
    """What transformers' function of this use finds in a row of one document; a tensor without values cannot be asked."""


def _with_numbers(mask_function: Any, lengths: tuple[int, ...], device: Any) -> bool:
    """`attention.plain_inside` on real positions: a mask that is written as a function of them can be tried anywhere."""
    import torch
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    with unset_fake_temporarily():
        return PLAIN_INSIDE(mask_function, lengths, torch.device("cpu"))


def _replace(held: list[tuple[dict[str, Any], dict[str, Any]]], mode: Any, device: torch.device) -> None:
    """Every tensor by one that passes for a real one; tensors that modules share stay shared."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensor

    known: dict[int, Any] = {}
    for place, tensors in held:
        for name, tensor in tensors.items():
            if tensor is None:
                continue
            if id(tensor) not in known:
                fake = FakeTensor(mode, tensor.detach().to("meta"), device)
                learns = isinstance(tensor, torch.nn.Parameter)
                known[id(tensor)] = torch.nn.Parameter(fake, tensor.requires_grad) if learns else fake
            place[name] = known[id(tensor)]


def _mode() -> Any:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    class ShapesOnly(FakeTensorMode):
        def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten._grouped_mm.default:  # torch's own knows bfloat16 only, the CPU's kernel more
                return args[0].new_empty(args[0].shape[0], args[1].shape[-1])
            return super().dispatch(func, types, args, kwargs)

    return ShapesOnly(allow_non_fake_inputs=True)
