"""Gives the modules of an open model our hand-written pieces (kernels/): a `forward` of their own, on the objects, not on classes.

Names, parameters and files stay as they are. A piece is taken only where a trial on random input shows the outputs and
gradients that the module gives by itself, so no list of architectures is kept; what differs is left alone.
"""

from __future__ import annotations

import contextlib
import copy
import types
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch

from .kernels import native, rotary
from .kernels.experts import experts
from .kernels.int8 import Int8Linear
from .kernels.lora import Update, lora_linear
from .kernels.mlp import Act, gated, lora_mlp
from .kernels.norm import rms_norm
from .streaming import travels

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 5e-3}  # relative, of output and gradient
TOKENS = 5  # of a trial
LARGE = 1e3  # hidden states that are tried as well: DeepSeek V4 cuts its gates off where they are large


def fuse(model: torch.nn.Module) -> dict[str, int]:
    """How many modules of which class took a piece. Safe to call again. The model's mode and random state stay."""
    taken: Counter[str] = Counter()
    verdicts: dict[Any, bool] = {}
    rotating: dict[Any, Callable[..., Any] | None] = {}
    device = next((p.device for p in model.parameters() if not travels(p)), torch.device("cpu"))
    for module in model.modules():
        if "forward" not in vars(module) and _rotates(module):
            if type(module) not in rotating:
                rotating[type(module)] = _rotary_forward(type(module), _dtype(module), device)
            if made := rotating[type(module)]:
                module.forward = types.MethodType(made, module)
                taken[type(module).__name__] += 1
        piece = _piece_for(module)
        if piece is None or "forward" in vars(module):
            continue
        key = (type(module), piece, _shapes(module))
        if key not in verdicts:
            verdicts[key] = _same(_filled(module, device), piece)
        if verdicts[key]:
            module.forward = types.MethodType(piece, module)
            taken[type(module).__name__] += 1
    return dict(taken)


def _piece_for(module: Any) -> Callable[..., torch.Tensor] | None:
    if _is_lora(module):
        return lora_forward
    if all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")) and _act(module):
        return mlp_forward
    if _is_stacked(module) and _act(module):
        return experts_forward
    if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
        return norm_forward
    return None


def _shapes(module: torch.nn.Module) -> tuple[Any, ...]:
    return tuple((name, tuple(p.shape), p.dtype) for name, p in module.named_parameters())


# The pieces, as forwards of the modules that they stand for


def lora_forward(self: Any, x: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:
    """Of PEFT's LoRA layer around a linear layer."""
    update = None if more or named else update_of(self)
    return lora_linear(x, update) if update is not None else type(self).forward(self, x, *more, **named)


def mlp_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Of gated feed-forward layers."""
    act = _act(self)
    assert act is not None
    gate, up, down = (update_of(layer) for layer in (self.gate_proj, self.up_proj, self.down_proj))
    if gate is not None and up is not None and down is not None:
        return lora_mlp(x, gate, up, down, act)
    found: torch.Tensor = self.down_proj(gated(self.gate_proj(x), self.up_proj(x), act))
    return found


def experts_forward(
    self: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """Of stacked experts, gates first."""
    act = _act(self)
    assert act is not None
    return experts(hidden_states, self.gate_up_proj, self.down_proj, top_k_index, top_k_weights, act)


def norm_forward(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    return rms_norm(hidden_states, self.weight, self.variance_epsilon)


def update_of(module: Any) -> Update | None:
    """The one low-rank update of a LoRA layer as it is now; None where its own forward has more to do."""
    if not _is_lora(module) or module.disable_adapters or module.merged or len(module.active_adapters) != 1:
        return None
    name = module.active_adapters[0]
    if name not in module.lora_A or module.lora_variant or module.lora_bias[name]:
        return None
    dropout = module.lora_dropout[name]
    if isinstance(dropout, torch.nn.Dropout) and dropout.p and dropout.training:
        return None
    base = module.base_layer
    weight = base.matrix if isinstance(base, Int8Linear) else base.weight
    a, b = module.lora_A[name].weight, module.lora_B[name].weight
    return Update(weight, base.bias, a, b, float(module.scaling[name]))


def _is_lora(module: Any) -> bool:
    """PEFT's own layer around a frozen linear one."""
    if type(module).__module__ != "peft.tuners.lora.layer" or type(module).__name__ != "Linear":
        return False
    base = module.base_layer
    return isinstance(base, Int8Linear) or (type(base) is torch.nn.Linear and not base.weight.requires_grad)


def _is_stacked(module: Any) -> bool:
    """Experts in two parameters, (experts, …, …) each."""
    return all(getattr(getattr(module, name, None), "ndim", 0) == 3 for name in ("gate_up_proj", "down_proj"))


def _act(module: Any) -> Act | None:
    name = type(getattr(module, "act_fn", None)).__name__
    if isinstance(getattr(module, "act_fn", None), torch.nn.SiLU) or name == "SiLUActivation":
        return "silu"
    return "gelu_pytorch_tanh" if name == "GELUTanh" else None


# Rotary embedding: a function of the model's file, called by its attention

ROTARY = "apply_rotary_pos_emb"


def _rotates(module: torch.nn.Module) -> bool:
    """Whether its own forward, with no decorator around it, calls that function."""
    forward = type(module).forward
    return isinstance(forward, types.FunctionType) and ROTARY in forward.__code__.co_names and not forward.__closure__


def _rotary_forward(kind: type[torch.nn.Module], dtype: torch.dtype, device: torch.device) -> Callable[..., Any] | None:
    """The forward of these modules with our rotary embedding for theirs; None where a trial shows another result.

    The function is the same code with another name table: the model's file stays as it is, for this model and all others.
    """
    forward: Any = kind.forward
    own = forward.__globals__.get(ROTARY)
    device = torch.device("cpu") if device.type == "meta" else device  # a drawn model is looked at as if it lay there
    if own is None or not native.takes(device.type, dtype) or not _rotates_alike(own, dtype, device):
        return None
    table = forward.__globals__ | {ROTARY: rotary.instead_of(own)}
    made = types.FunctionType(forward.__code__, table, forward.__name__, forward.__defaults__)
    made.__kwdefaults__ = forward.__kwdefaults__
    return made


def _rotates_alike(own: Callable[..., Any], dtype: torch.dtype, device: torch.device) -> bool:
    """Queries, keys and their gradients, with angles that are alike in no two places."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, TOKENS, 4, 16), (1, TOKENS, 2, 16), (1, TOKENS, 16), (1, TOKENS, 16))
    q, k, cos, sin = (torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes)
    try:
        with torch.enable_grad(), torch.autocast(device.type, enabled=False):
            found = [_rotated(way, q, k, cos, sin) for way in (rotary.instead_of(own), own)]
    except (RuntimeError, TypeError, ValueError):
        return False
    return all(_near(one, other, TOLERANCE.get(dtype, 1e-5)) for one, other in zip(*found, strict=True))


def _rotated(way: Callable[..., Any], *given: torch.Tensor) -> list[torch.Tensor]:
    """Queries and keys as `way` rotates them, and the gradients of both."""
    q, k = (x.clone().requires_grad_() for x in given[:2])
    pair = way(q.transpose(1, 2), k.transpose(1, 2), *given[2:])
    total = sum((y * torch.linspace(-1, 1, y.numel(), device=y.device).view(y.shape)).sum() for y in pair)
    return [*(y.detach() for y in pair), *torch.autograd.grad(total, (q, k))]


# The trial


def _filled(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """The module, or of one whose weights come and go a copy with random ones: between visits they are not there."""
    away = [p for p in module.parameters() if travels(p)]
    if not away:
        return module
    generator = torch.Generator().manual_seed(0)
    made = [torch.empty(p.shape, dtype=p.dtype).uniform_(-1, 1, generator=generator).to(device) for p in away]
    stand_ins = [torch.nn.Parameter(value * p.shape[-1] ** -0.5, False) for p, value in zip(away, made, strict=True)]
    return copy.deepcopy(module, {id(p): new for p, new in zip(away, stand_ins, strict=True)})


def _same(module: Any, piece: Callable[..., torch.Tensor]) -> bool:
    """Whether the piece gives what the module gives, forward and backward; a drawn module (blueprint.py) is taken at its word."""
    parameter = next(module.parameters())
    if parameter.is_meta:
        return True
    return _same_at(1.0, module, piece, parameter.device) and _same_at(LARGE, module, piece, parameter.device)


def _same_at(scale: float, module: Any, piece: Callable[..., torch.Tensor], device: torch.device) -> bool:
    """At one size of the hidden states. Of `LARGE` ones outputs alone: nearly all gates are shut or open then, and what is left of
    their gradients is rounding, in which 16 bits differ from themselves.
    """
    hidden, *rest = _inputs(module, device)
    given = [hidden * scale, *rest]
    try:
        with torch.enable_grad(), torch.autocast(device.type, enabled=False), _resting(module):
            own, ours = (_tried(forward, module, given) for forward in (type(module).forward, piece))
    except (RuntimeError, TypeError, ValueError, AttributeError, KeyError):
        return False
    if scale == LARGE:
        own, ours = own[:1], ours[:1]
    bar = TOLERANCE.get(hidden.dtype, 1e-5)
    return all(_near(found, expected, bar) for found, expected in zip(ours, own, strict=True))


def _inputs(module: Any, device: torch.device) -> list[torch.Tensor]:
    """Random ones: hidden states; for experts also who is chosen, with which weights."""
    generator = torch.Generator().manual_seed(0)
    width = module.in_features if hasattr(module, "in_features") else _width(module)
    x = torch.randn(1, TOKENS, width, generator=generator).to(device, _dtype(module))
    if not _is_stacked(module):
        return [x]
    count = len(module.gate_up_proj)
    chosen = torch.rand(TOKENS, count, generator=generator).topk(min(2, count)).indices.to(device)
    return [x[0], chosen, torch.rand(chosen.shape, generator=generator).to(device)]


def _width(module: Any) -> int:
    if _is_stacked(module):
        return int(module.down_proj.shape[1])
    inner = getattr(module, "gate_proj", None)
    return int(inner.in_features if inner is not None else module.weight.shape[-1])


def _dtype(module: torch.nn.Module) -> torch.dtype:
    """Of frozen weights, where there are any: the type of the arithmetic. Those in int8 round too coarsely for float32's bar."""
    if any(isinstance(inner, Int8Linear) for inner in module.modules()):
        return torch.bfloat16
    frozen = [p.dtype for p in module.parameters() if not p.requires_grad and p.is_floating_point()]
    return frozen[0] if frozen else next(module.parameters()).dtype


def _tried(forward: Callable[..., torch.Tensor], module: Any, given: list[torch.Tensor]) -> list[torch.Tensor]:
    """Output, and gradients of the input and of what is trained."""
    inputs = [x.clone().requires_grad_(x.is_floating_point()) for x in given]
    learnt = [p for p in module.parameters() if p.requires_grad] + [x for x in inputs if x.requires_grad]
    y = forward(module, *inputs)
    weights = torch.linspace(-1, 1, y.numel(), device=y.device).view(y.shape).to(y.dtype)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), learnt)]


def _near(found: torch.Tensor, expected: torch.Tensor, bar: float) -> bool:
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return False
    return float((found.float() - expected.float()).norm()) <= bar * max(float(expected.float().norm()), 1e-6)


@contextlib.contextmanager
def _resting(module: Any) -> Iterator[None]:
    """Evaluation mode inside, and B of LoRA away from zero, so that a gradient of A can be seen."""
    training = [m for m in module.modules() if m.training]
    held = [(p, p.detach().clone()) for n, p in module.named_parameters() if "lora_B" in n]
    module.eval()
    try:
        with torch.no_grad():
            for p, _ in held:
                p.copy_(torch.linspace(-0.1, 0.1, p.numel(), device=p.device).view(p.shape))
        yield
    finally:
        with torch.no_grad():
            for p, value in held:
                p.copy_(value)
        for m in training:
            m.training = True
