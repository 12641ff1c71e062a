"""Attention over a row whose documents share prefixes: a branch sees its own prefix and itself, and a prefix sees itself.

Documents by themselves and prefixes are computed as ever (`attention.document_attention`); here follow the branches, and
the dense mask for models whose own mask is more than causal (windows count positions, not places in the row).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..contracts import Batch
from . import attention

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]  # query, key, value, mask


@dataclass(frozen=True)
class Trees:
    """How the trees of a row lie in it, for attention."""

    roots: tuple[int, ...]  # lengths of the documents by themselves and of the prefixes: the row begins with these
    prefixes: tuple[int, ...]  # tokens of each tree's prefix
    branches: tuple[int, ...]  # tokens of all its branches
    groups: tuple[attention.Groups, ...]  # its branches of like length
    longest: int  # tokens of the longest document
    positions: torch.Tensor  # (time,)
    piece: torch.Tensor  # (time,) number of the root or branch that a token belongs to
    root: torch.Tensor  # (time,) number of the root that it may look into as well

    @classmethod
    def of(cls, batch: Batch) -> Trees | None:
        """None where nothing is shared."""
        if not batch.trees:
            return None
        assert batch.positions is not None
        device = batch.positions.device
        branches = [length for tree in batch.trees for length in tree.branches]
        alone, prefixes = batch.lengths[: len(batch.lengths) - len(branches)], tuple(t.prefix for t in batch.trees)
        roots = (*alone, *prefixes)
        owners = [len(alone) + i for i, tree in enumerate(batch.trees) for _ in tree.branches]
        sizes = torch.tensor([*roots, *branches])
        piece = torch.arange(len(sizes)).repeat_interleave(sizes).to(device)
        root = torch.tensor([*range(len(roots)), *owners]).repeat_interleave(sizes).to(device)
        groups = tuple(attention.Groups.of(tree.branches, device) for tree in batch.trees)
        behind = tuple(sum(tree.branches) for tree in batch.trees)
        return cls(roots, prefixes, behind, groups, max(batch.lengths), batch.positions[0], piece, root)

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attend: Attend
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """query, key, value (1, heads, time, dim) -> those of the roots, and what all branches get (time, heads, dim)."""
        (q, qs), (k, ks), (v, vs) = (x.split([sum(self.roots), sum(self.branches)], 2) for x in (query, key, value))
        alone = sum(self.roots) - sum(self.prefixes)
        before = [x.split([alone, *self.prefixes], 2)[1:] for x in (k, v)]
        behind = [x.split(self.branches, 2) for x in (qs, ks, vs)]
        each = zip(self.groups, zip(*before, strict=True), zip(*behind, strict=True), strict=True)
        parts = [_branches(groups, prefix, branches, attend) for groups, prefix, branches in each]
        return q, k, v, torch.cat(parts)

    def mask(self, mask_function: Callable, **arguments: Any) -> torch.Tensor:
        """The model's own mask, asked for positions, where a token may look at all: bool (1, 1, query, key)."""
        from transformers.masking_utils import sdpa_mask

        def of_positions(batch: Any, head: Any, query: Any, key: Any) -> Any:
            return mask_function(batch, head, self.positions[query], self.positions[key])

        dense, piece = sdpa_mask(mask_function=of_positions, **arguments), self.piece[None, :]
        seen = (self.piece[:, None] == piece) | (self.root[:, None] == piece)
        return seen[None, None] if dense is None else dense & seen


def _branches(
    groups: attention.Groups, prefix: Sequence[torch.Tensor], branches: Sequence[torch.Tensor], attend: Attend
) -> torch.Tensor:
    """What the branches of one tree get (time, heads, dim): one call for those of like length.

    `prefix`: its key and value; `branches`: their query, key and value, end to end; all (1, heads, time, dim).
    """
    before = prefix[0].shape[2]
    if groups.spread is not None and groups.compact is not None:
        branches = [attention.Spread.apply(x, groups.spread, groups.compact) for x in branches]
    sizes, parts = [count * length for count, length in groups.shapes], []
    for (count, length), *qkv in zip(groups.shapes, *(x.split(sizes, 2) for x in branches), strict=True):
        q, *own = (x[0].unflatten(1, (count, length)).transpose(0, 1) for x in qkv)
        k, v = (torch.cat([p.expand(count, -1, -1, -1), x], 2) for p, x in zip(prefix, own, strict=True))
        mask = torch.ones(length, before + length, dtype=torch.bool, device=q.device).tril(before)
        parts.append(attend(q, k, v, mask).transpose(1, 2).flatten(0, 1))
    whole = torch.cat(parts)
    return whole if groups.compact is None else attention.Compact.apply(whole, groups.compact)
