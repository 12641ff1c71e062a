"""What lies where in any Hugging Face model: the depth of each parameter, and the linear layers that an adapter may take.

Blocks are found by structure (the largest list of modules), not by a list of architectures. Names are resolved here and
not by PEFT, whose `all-linear` takes routers, leaves experts out, and makes adapters that never get a gradient.
"""

from __future__ import annotations

import contextlib
import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, nearest, problem
from . import heads

if TYPE_CHECKING:
    import torch

ALL_LINEAR = "all_linear"
ROUTERS = ("gate", "router", "shared_expert_gate")  # module names that choose experts
INDEXERS = ("indexer",)  # modules that choose tokens, outside of the gradient
ADAPTER_PARTS = {
    "lora_A",
    "lora_B",
    "lora_embedding_A",
    "lora_embedding_B",
    "lora_dropout",
    "lora_magnitude_vector",
    "modules_to_save",
}
WRAPPER_PARTS = {"base_layer", "original_module", "token_adapter"}
RENAMED = (
    "gate",
    "gate_proj",
    "up_proj",
    "down_proj",
    "w1",
    "w2",
    "w3",
)  # PEFT takes these for stacked experts, see `Targets`


@dataclass(frozen=True)
class Targets:
    """What an adapter changes. `adapted`: modules and `module.parameter` names in model order; `unadapted`: name -> why not.

    `modules` and `parameters` are the same names as PEFT must get them. Stacked experts are parameters; so are grouped
    linear layers and, in models with stacked experts, those named gate_proj, up_proj or down_proj (dense and shared MLPs):
    PEFT takes these names for the experts, whatever stands before them.
    """

    adapted: tuple[str, ...]
    unadapted: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()

    @property
    def modules(self) -> tuple[str, ...]:
        taken = set(self.parameters)
        return tuple(name for name in self.adapted if name not in taken and f"{name}.weight" not in taken)

    @property
    def suffixes(self) -> dict[str, int]:
        """Adapted names without layer numbers -> how many."""
        counted: dict[str, int] = {}
        for name in self.adapted:
            short = re.sub(r"^.*?\.\d+\.", "", name)
            counted[short] = counted.get(short, 0) + 1
        return counted


def blocks(model: torch.nn.Module) -> tuple[str, torch.nn.ModuleList]:
    """(name, list) of the model's layers: of all lists of modules the one with most parameters. ModelError where there is none."""
    from torch import nn

    lists = [
        (name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module)
    ]
    if not lists:
        raise ModelError(problem(type(model).__name__, "no list of layers found in this model"))
    return max(lists, key=lambda item: sum(p.numel() for p in item[1].parameters()))


def kinds(model: torch.nn.Module) -> list[tuple[Any, ...]]:
    """Of each layer: what the config's lists say of it, and its parameters by name, shape and type.

    Sorted: PEFT takes adapters of experts off and puts them on in each forward, so that names change their places.
    """
    config, held = heads.base_of(model).config.get_text_config(), blocks(model)[1]
    lists = [value for value in vars(config).values() if isinstance(value, list) and len(value) == len(held)]
    return [
        (
            *(str(values[i]) for values in lists),
            *sorted((n, p.shape, str(p.dtype)) for n, p in layer.named_parameters()),
        )
        for i, layer in enumerate(held)
    ]


@contextlib.contextmanager
def few(model: torch.nn.Module) -> Iterator[None]:
    """Of a streamed model, only its lowest layers inside: enough to have each kind of layer, and two of them. Others stay whole.

    For proofs that run a model some dozen times: each time all its weights would be read.
    """
    from torch import nn

    stream = getattr(heads.base_of(model), "seektune_stream", None)
    if stream is None:
        yield
        return
    name, held = blocks(model)
    found = kinds(model)
    count = min(len(held), max(2, 1 + max(found.index(kind) for kind in found)))
    above, _, last = name.rpartition(".")
    setattr(model.get_submodule(above), last, nn.ModuleList(list(held)[:count]))
    stream.depth, depth = count, stream.depth
    try:
        yield
    finally:
        setattr(model.get_submodule(above), last, held)
        stream.depth = depth


def checkpoints_activations(model: torch.nn.Module) -> bool:
    """Whether activations are recomputed in backward. Streamed layers always do that."""
    return hasattr(heads.base_of(model), "seektune_stream") or any(
        getattr(module, "gradient_checkpointing", False) for module in model.modules()
    )


def depth_of(model: torch.nn.Module) -> dict[str, int | None]:
    """Layer of every parameter: -1 for embeddings, 0 .. layers - 1, `layers` for all behind them (norm, head).

    None for what stands beside the layers (the vision tower of a multimodal model).
    """
    name, layers = blocks(model)
    embeddings, beside = _embeddings(model), _beside(model, name)
    depth: dict[str, int | None] = {}
    for parameter, _ in model.named_parameters():
        if parameter.startswith(f"{name}."):
            depth[parameter] = int(parameter[len(name) + 1 :].split(".", 1)[0])
        elif parameter.startswith(beside):
            depth[parameter] = None
        elif parameter.startswith(embeddings) or "embed" in parameter.rpartition(".")[0]:
            depth[parameter] = -1
        else:
            depth[parameter] = len(layers)
    return depth


def _embeddings(model: Any) -> tuple[str, ...]:
    from torch import nn

    return tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, nn.Embedding))


def _beside(model: torch.nn.Module, main: str) -> tuple[str, ...]:
    """Beginnings of the names of everything that has layers of its own beside the main list."""
    from torch import nn

    parts, found = main.split("."), []
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not f"{name}.".startswith(f"{main}.") and len(module) > 1:
            other = name.split(".")
            shared = next(i for i, (a, b) in enumerate(zip([*parts, ""], [*other, ""], strict=False)) if a != b)
            found.append(".".join(other[: shared + 1]) + ".")
    return tuple(found)


def linear_targets(model: torch.nn.Module, target_modules: str | list[str] = ALL_LINEAR) -> Targets:
    """The names that `target_modules` means in this model, and every other weight matrix with the reason why it is not taken.

    `all_linear`: all linear layers and stacked experts inside the layers, no router, sparse indexer, head or embedding.
    A name: all modules whose dotted name ends with it; a glob; a regular expression over the whole name.
    Raises ModelError for a name that matches nothing, or that cannot be adapted.
    """
    candidates = _matrices(model)
    names = [target_modules] if isinstance(target_modules, str) else list(target_modules)
    chosen: set[str] = set()
    problems: list[str] = []
    for name in names:
        if name == ALL_LINEAR:
            chosen |= {key for key, reason in candidates.items() if reason is None}
            continue
        found = _matching(name, candidates)
        if not found:
            known = {part for key in candidates for part in (key, key.rpartition(".")[2])}
            problems.append(
                problem("target_modules", f"{name!r} matches nothing in this model", fix=nearest(name, _short(known)))
            )
        problems += [
            problem("target_modules", f"{name!r}: {key} {reason}")
            for key in found
            if (reason := _impossible(model, key))
        ]
        chosen |= set(found)
    if not chosen and not problems:
        problems.append(problem("target_modules", "empty", f"{ALL_LINEAR} or names"))
    if problems:
        raise ModelError(problems)
    adapted = tuple(key for key in candidates if key in chosen)
    unadapted = {key: reason or "not named" for key, reason in candidates.items() if key not in chosen}
    return Targets(adapted, unadapted, _as_parameters(model, adapted))


def _short(names: set[str]) -> set[str]:
    """Names without layer numbers, so that a list of what exists stays readable."""
    return {re.sub(r"^.*?\.\d+\.", "", name) for name in names} - {"weight"}


def _matching(name: str, candidates: Mapping[str, str | None]) -> list[str]:
    """Keys that a name means: by suffix, else by glob, else by regular expression. A module's name stands for its parameters."""

    def ends(key: str) -> bool:
        return f".{key}".endswith(f".{name}") or ("." in key and f".{key.rpartition('.')[0]}".endswith(f".{name}"))

    found = [key for key in candidates if ends(key)]
    if found:
        return found
    found = [key for key in candidates if fnmatch.fnmatchcase(key, name)]
    if found:
        return found
    try:
        pattern = re.compile(name)
    except re.error:
        return []
    return [key for key in candidates if pattern.fullmatch(key)]


def _matrices(model: torch.nn.Module) -> dict[str, str | None]:
    """Every weight matrix that could be adapted, in model order: name -> why `all_linear` leaves it out, None where it takes it.

    A linear layer has its module's name, any other matrix `module.parameter`.
    """
    inside = blocks(heads.base_of(model))[0] + "."
    found: dict[str, str | None] = {}
    for name, module in plain_modules(model).items():
        if is_matrix(module):
            found[name] = _left_out(name, module, inside)
            continue
        for parameter, value in module.named_parameters(recurse=False):
            if value.ndim in (2, 3):
                found[f"{name}.{parameter}"] = _left_out(name, module, inside, parameter)
    return found


def plain_modules(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The modules of a model by name, as if no adapter were attached to it."""
    found: dict[str, torch.nn.Module] = {}
    for name, module in heads.base_of(model).named_modules():
        if not set(name.split(".")) & ADAPTER_PARTS:
            found[plain_name(name)] = module  # a wrapper comes first, what it wraps replaces it
    return found


def plain_name(name: str) -> str:
    """A module's name without the levels that PEFT's wrappers add."""
    return ".".join(part for part in name.split(".") if part not in WRAPPER_PARTS)


def is_matrix(module: Any) -> bool:
    """A linear layer or an embedding: what an adapter takes as a module, not as a parameter."""
    from torch import nn

    return isinstance(module, nn.Linear | nn.Embedding) or type(module).__name__ == "Conv1D"


def _has_own_forward(module: Any) -> bool:
    """A linear layer that uses its weight in another way (grouped, quantised)."""
    from torch import nn

    own = type(module).forward is not nn.Linear.forward
    return isinstance(module, nn.Linear) and own and type(module).__name__ != "Int8Linear"  # ours, of the same meaning


def _left_out(name: str, module: Any, inside: str, parameter: str = "") -> str | None:
    """Why `all_linear` does not take this matrix; None where it does."""
    from torch import nn

    parts = set(name.split("."))
    if parts & set(INDEXERS) or "Indexer" in type(module).__name__:
        return "sparse indexer, outside of the gradient"
    if name.split(".")[-1] in ROUTERS or "Router" in type(module).__name__:
        return "router"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if not name.startswith(inside):
        return "outside of the layers"
    if _has_own_forward(module) and not module.weight.is_floating_point():
        return f"computes in a way of its own ({type(module).__name__})"
    if parameter and not _is_experts(module, getattr(module, parameter)):
        return "no linear layer"
    return None


def _is_experts(module: Any, value: Any) -> bool:
    """Stacked experts: (experts, in, out) or (experts, out, in)."""
    count = getattr(module, "num_experts", None) or getattr(module, "num_local_experts", None)
    return value.ndim == 3 and count is not None and value.shape[0] == count


def _impossible(model: Any, key: str) -> str | None:
    """Why a named matrix can never be adapted."""
    module: Any = plain_modules(model).get(key)
    if module is not None and _has_own_forward(module) and not module.weight.is_floating_point():
        return f"cannot be adapted, it computes in a way of its own ({type(module).__name__})"
    ends = {plain_name(name) for name in end_names(model)}
    if key in ends and heads.tied(model):
        return "is one tensor for embedding and head, which no adapter can change on one side; name it under also_train"
    if module is None and "conv" in key.lower():
        return "is a convolution, which this adapter does not know"
    return None


def end_names(model: Any) -> list[str]:
    """Names of the input embedding and of the language model head."""
    base = heads.base_of(model)
    ends = [base.get_input_embeddings(), base.get_output_embeddings()]
    return [name for name, module in base.named_modules() if any(module is end for end in ends if end is not None)]


def _as_parameters(model: torch.nn.Module, adapted: tuple[str, ...]) -> tuple[str, ...]:
    modules = plain_modules(model)
    stacked = any(_is_experts(m, v) for m in modules.values() for v in m.parameters(recurse=False))
    names = []
    for key in adapted:
        if key not in modules:
            names.append(key)
        elif _has_own_forward(modules[key]) or (stacked and key.rpartition(".")[2] in RENAMED):
            names.append(f"{key}.weight")
    return tuple(names)


def named_modules(model: torch.nn.Module, names: list[str], where: str) -> list[str]:
    """Full names of the modules that `names` means (endings or globs). ModelError for a name that matches none."""
    known = [name for name, module in plain_modules(model).items() if name and any(True for _ in module.parameters())]
    found: list[str] = []
    problems: list[str] = []
    for name in names:
        hits = [key for key in known if f".{key}".endswith(f".{name}") or fnmatch.fnmatchcase(key, name)]
        if not hits:
            problems.append(
                problem(where, f"{name!r} matches no module of this model", fix=nearest(name, _short(set(known))))
            )
        found += [key for key in hits if key not in found]
    if problems:
        raise ModelError(problems)
    return found


def dead_modules(model: torch.nn.Module) -> list[str]:
    """Modules with trainable parameters that got no gradient in the backward pass that has just run.

    Of a LoRA pair only B counts: A's gradient is 0 while B is 0, as it is at the start.
    """
    alive: dict[str, bool] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        module, _, last = name.rpartition(".")
        if match := re.search(r"\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B)\b", name):
            if match[1] in ("lora_A", "lora_embedding_A"):
                continue
            module = name[: match.start()]
        got = parameter.grad is not None and bool(parameter.grad.count_nonzero() > 0)
        alive[module or last] = alive.get(module or last, False) or got
    return [name for name, got in alive.items() if not got]


def trainable_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All trainable parameters by name, detached and not copied: what a checkpoint must hold."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def load_trainable_state(model: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Put back what `trainable_state` gave. ModelError naming every parameter that is missing, unknown or of another shape."""
    import torch

    ours = trainable_state(model)
    lines = [problem("checkpoint", f"{name} is missing") for name in ours.keys() - state.keys()]
    lines += [problem("checkpoint", f"{name} is not trained by this recipe") for name in state.keys() - ours.keys()]
    lines += [
        problem(f"checkpoint: {name}", f"shape {list(state[name].shape)}", f"{list(ours[name].shape)}")
        for name in ours.keys() & state.keys()
        if state[name].shape != ours[name].shape
    ]
    if lines:
        raise ModelError(sorted(lines))
    with torch.no_grad():
        for name, value in ours.items():
            value.copy_(state[name])
