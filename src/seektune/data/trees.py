"""Documents of one unit that begin alike form a tree: their common prefix stands in the row once, before what follows it in each.

The row of `data.pack.collate`: documents by themselves, then the prefixes of all trees, then the branches, tree by tree.
What a branch reads and where each document's tokens stand is told here, in numpy; attention over it is `models/trees.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..contracts import Document, Tree

SHORTEST = 24  # tokens of a prefix from which on a tree is faster than its documents apart


def common_prefix(documents: Sequence[Document]) -> int:
    """Tokens with which all of them begin; at least one token of each is left behind it."""
    shortest = min(map(len, documents)) - 1
    first, same = documents[0].ids[:shortest], np.ones(shortest, bool)
    for document in documents[1:]:
        same &= document.ids[:shortest] == first
    return shortest if same.all() else int(same.argmin())


def shared(documents: Sequence[Document]) -> int:
    """Tokens of the prefix that these documents share in a row; 0 where each is laid out by itself."""
    prefix = common_prefix(documents) if len(documents) > 1 else 0
    return prefix if prefix >= SHORTEST else 0


def row_tokens(documents: Sequence[Document], share: bool = True) -> int:
    """Tokens that a unit takes in a row."""
    repeated = (len(documents) - 1) * shared(documents) if share else 0
    return sum(map(len, documents)) - repeated


def plant(documents: Sequence[Document], unit: int) -> tuple[list[Document], tuple[Tree, ...]]:
    """(documents in the order of the row, trees of the last of them). Lengths rise, so that attention takes like ones together."""
    alone, grown = list[Document](), list[tuple[int, list[Document]]]()
    for start in range(0, len(documents), unit):
        members = sorted(documents[start : start + unit], key=len)
        if prefix := shared(members):
            grown.append((prefix, members))
        else:
            alone.extend(members)
    grown.sort(key=lambda one: one[0])
    trees = tuple(Tree(prefix, tuple(len(d) - prefix for d in members)) for prefix, members in grown)
    return [*sorted(alone, key=len), *(d for _, members in grown for d in members)], trees


def places(lengths: Sequence[int], trees: Sequence[Tree]) -> list[np.ndarray]:
    """Where in the row the tokens of each document stand, (its length,) each. `lengths`: of the documents, whole."""
    alone = lengths[: len(lengths) - sum(len(tree.branches) for tree in trees)]
    starts = np.cumsum([0, *alone, *(tree.prefix for tree in trees)]).tolist()
    found = [np.arange(start, start + length) for start, length in zip(starts, alone, strict=False)]
    end = starts[-1]
    for tree, start in zip(trees, starts[len(alone) :], strict=False):
        prefix = np.arange(start, start + tree.prefix)
        for length in tree.branches:
            found.append(np.concatenate([prefix, np.arange(end, end + length)]))
            end += length
    return found
