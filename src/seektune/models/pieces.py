"""The MLP of a block in pieces of a row: its widest activations exist for one piece at a time, in forward and in backward.

Which modules treat each token by itself is found by structure and then proved, piecewise against whole; a mixture of
experts is left alone, since its router counts over the tokens that it sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import heads, layers

if TYPE_CHECKING:
    import torch

NAMES = ("mlp", "feed_forward", "ffn")
TOKENS = 2048  # of a piece
PROBED = 24  # tokens of the proof


def chunk(model: torch.nn.Module, tokens: int | None) -> list[str]:
    """Let every token-wise MLP take at most so many tokens at a time (None: all, as before); returns the names of those that do."""
    for module in model.modules():
        if isinstance(taken := vars(module).get("forward"), Pieces):
            module.forward = taken.whole  # which may be a hand-written piece, see fuse.py
    found = list(token_wise(model)) if tokens is not None else []
    for _, module in found:
        module.forward = Pieces(module.forward, tokens or 0)
    return [name for name, _ in found]


class Pieces:
    """A forward of one tensor (…, time, hidden), piece by piece. What a piece computes inside is computed again in backward."""

    def __init__(self, whole: Any, tokens: int):
        self.whole, self.tokens = whole, tokens

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        import torch
        from torch.utils.checkpoint import checkpoint

        flat = hidden.reshape(1, -1, hidden.shape[-1])
        if flat.shape[1] <= self.tokens:
            return self.whole(hidden)
        pieces = flat.chunk(-(-flat.shape[1] // self.tokens), 1)
        if not torch.is_grad_enabled():
            return torch.cat([self.whole(piece) for piece in pieces], 1).view(hidden.shape)
        return torch.cat([checkpoint(self.whole, piece, use_reentrant=False) for piece in pieces], 1).view(hidden.shape)


def token_wise(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """(name, module) of the MLPs of the blocks that give each token what it gets alone."""
    start, blocks = layers.blocks(model)
    width = int(heads.base_of(model).config.get_text_config().hidden_size)
    for number, block in enumerate(blocks):
        for name, module in block.named_children():
            if name in NAMES and not _chooses(module) and _treats_tokens_alone(module, width):
                yield f"{start}.{number}.{name}", module


def _chooses(module: torch.nn.Module) -> bool:
    """Whether there are experts inside, or something that chooses among them."""
    words = {word for name, _ in module.named_modules() for word in name.split(".")}
    return bool(words & {*layers.ROUTERS, "experts", "expert"})


def _treats_tokens_alone(module: torch.nn.Module, width: int) -> bool:
    """Whether a row in pieces gives what the whole row gives; what takes or gives anything else than one tensor does not."""
    import torch

    some = next(module.parameters())
    random = torch.Generator().manual_seed(0)
    hidden = torch.randn(1, PROBED, width, generator=random).to(some.device, some.dtype)
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            whole = module(hidden)
            pieces = [module(piece) for piece in hidden.split([1, 6, PROBED - 7], 1)]
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return False
    finally:
        for part, mode in modes.items():
            part.training = mode
    if not isinstance(whole, torch.Tensor) or whole.shape != hidden.shape:
        return False
    if whole.is_meta:  # a drawn model has no numbers to compare
        return True
    error = (torch.cat(pieces, 1) - whole).abs().max() / whole.abs().max().clamp_min(1e-30)
    return bool(error <= {torch.float32: 1e-5}.get(some.dtype, 3e-2))


def kept(module: torch.nn.Module, width: int, autocast: Any) -> float:
    """Bytes per token that the MLP keeps for backward, its input left out: what pieces spare."""
    import torch

    own = {parameter.untyped_storage()._cdata for parameter in module.parameters()}
    some = next(module.parameters())
    hidden = torch.zeros(1, PROBED, width, device=some.device, dtype=some.dtype, requires_grad=True)
    held: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage()._cdata not in {*own, hidden.untyped_storage()._cdata}:
            held.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), autocast:
        module(hidden)
    casts = sum(
        t.nbytes for t in held.values() if PROBED not in t.shape
    )  # of trained weights: there once, however many tokens
    return (sum(t.untyped_storage().nbytes() for t in held.values()) - casts) / PROBED
