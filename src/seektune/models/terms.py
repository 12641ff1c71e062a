"""Terms of a field as tokens of their own: one row each, which starts from the term's definition and from its old pieces.

A term that was several pieces becomes one; its row begins at weight x mean(rows of the definition's tokens) + (1 - weight) x
mean(rows of the pieces), and the row of an untied head alike, so that the model can use it before it has seen it once. Such
means are shorter than most rows; the first steps of training mend that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..data.options import Input
from ..data.readers import Unfit
from ..data.stream import Found, stream
from ..errors import DataError, nearest, problem
from . import heads

if TYPE_CHECKING:
    import torch

KEPT = "seektune_terms"  # where the config keeps the ids, so that LoRA trains these rows in whichever run


@dataclass
class Term:
    definition: str = ""
    id: int = -1
    pieces: int = 0  # tokens that it was before
    of_definition: int = 0  # tokens that its row starts from


@dataclass
class Extended:
    added: dict[str, Term] = field(default_factory=dict)
    known: list[str] = field(default_factory=list)  # one token already: left as they are

    def as_dict(self) -> dict[str, Any]:
        before = sum(term.pieces for term in self.added.values())
        return {
            "added": {name: vars(term) for name, term in self.added.items()},
            "known": self.known,
            "tokens_per_term_before": round(before / len(self.added), 3) if self.added else 0.0,
            "without_definition": sum(not term.of_definition for term in self.added.values()),
        }


def read_terms(path: str) -> dict[str, str]:
    """{term: definition} of a JSONL, CSV or TSV file with the columns `term` and `definition` (which may be empty).

    Raises DataError with every line that is unfit, and where a term stands twice.
    """
    found: dict[str, str] = {}
    places: dict[str, str] = {}
    wrong = []
    for place, row in stream([Input(path=path)], Found()):
        if isinstance(row, Unfit):
            wrong.append(row.line(place))
        elif (reason := _unfit(row)) is not None:
            wrong.append(problem(place, *reason))
        elif (term := row["term"].strip()) in found:
            wrong.append(problem(place, f"the term {term!r} stands here and at {places[term]}", "each term once"))
        else:
            found[term], places[term] = str(row.get("definition") or "").strip(), place
    if wrong:
        raise DataError(wrong)
    return found


def _unfit(row: dict[str, Any]) -> tuple[str, str, str] | None:
    if "term" not in row:
        return "no `term`", "the columns term and definition", nearest("term", row)
    if not isinstance(row["term"], str) or not row["term"].strip():
        return f"`term` is {row['term']!r}", "a word or a few", ""
    if not isinstance(row.get("definition", ""), str | None):
        return f"`definition` is {row['definition']!r}", "text", ""
    return None


def extend(model: Any, tokenizer: Any, terms: dict[str, str], weight: float = 0.5) -> Extended:
    """Tokenizer and model know the terms afterwards. Ids follow the vocabulary; rows grow where the spare ones are too few."""
    done, ids = Extended(), dict[str, tuple[list[int], list[int]]]()
    for term, definition in terms.items():
        pieces = tokenizer.encode(term, add_special_tokens=False)
        if len(pieces) == 1 or term in tokenizer.get_vocab():
            done.known.append(term)
            continue
        of_definition = tokenizer.encode(definition, add_special_tokens=False) if definition else []
        ids[term] = (pieces, of_definition)
        done.added[term] = Term(definition, -1, len(pieces), len(of_definition))
    tokenizer.add_tokens([_token(term) for term in ids])
    for term, one in done.added.items():
        one.id = int(tokenizer.convert_tokens_to_ids(term))
    heads.resize(model, max((term.id for term in done.added.values()), default=-1) + 1)
    for matrix in _ends(model):
        rows = {done.added[term].id: _row(matrix, *both, weight) for term, both in ids.items()}
        _write(matrix, rows)
    config = heads.base_of(model).config
    new = [term.id for term in done.added.values()]
    setattr(config, KEPT, sorted({*getattr(config, KEPT, []), *new}))
    return done


def _token(term: str) -> Any:
    """Found anywhere where it is Chinese or in capitals; other Latin terms as whole words only: `cap` is not in `capital`."""
    from tokenizers import AddedToken

    return AddedToken(term, single_word=bool(re.search(r"[a-z]", term)), normalized=False, special=False)


def _ends(model: Any) -> list[torch.Tensor]:
    base = heads.base_of(model)
    head, embedding = base.get_output_embeddings(), base.get_input_embeddings()
    return [embedding.weight] if head is None or heads.tied(model) else [embedding.weight, head.weight]


def _row(matrix: torch.Tensor, pieces: list[int], of_definition: list[int], weight: float) -> torch.Tensor:
    """(hidden,) float32."""
    old = matrix[pieces].detach().float().mean(0)
    if not of_definition:
        return old
    return weight * matrix[of_definition].detach().float().mean(0) + (1 - weight) * old


def _write(matrix: torch.Tensor, rows: dict[int, torch.Tensor]) -> None:
    import torch

    with torch.no_grad():
        for row, value in rows.items():
            matrix[row] = value.to(matrix.dtype)
