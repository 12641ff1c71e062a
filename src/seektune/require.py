"""`require: {exact_match: "> before + 0.05"}`: what must hold after a run for it to count as done.

A condition is a comparison with numbers, `before` (the same measure before training), + - * / and brackets; several are
joined with `and`. It is parsed into a small tree and computed here; nothing is ever given to `eval`.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from .errors import RecipeError, problem

COMPARISONS: dict[type, Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
}
ARITHMETIC: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
EXPECTED = "a comparison such as '> 0.9' or '>= before + 0.05'"


def parse(text: str) -> list[tuple[ast.cmpop, ast.expr]]:
    """(comparison, right-hand side) of each condition. Raises RecipeError."""
    return [_clause(clause) for clause in re.split(r"\band\b", text)]


def check_requirements(require: Mapping[str, str], before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A line for each requirement that is not met; [] when all are. Values are numbers, or scores that hold a `value`."""
    return [line for name, text in require.items() if (line := _unmet(name, text, before, after))]


def _unmet(name: str, text: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    where = f"require.{name}"
    reached, first = _number(after.get(name)), _number(before.get(name))
    if reached is None:
        return problem(where, "was not measured", text)
    for comparison, right in parse(text):
        if first is None and _uses_before(right):
            return problem(where, "was not measured before training", text)
        try:
            bar = _compute(right, first or 0.0)
        except ZeroDivisionError:
            return problem(where, f"{text!r} divides by zero, as before training it was {first:g}")
        if not COMPARISONS[type(comparison)](reached, bar):
            was = "" if first is None else f" (before training {first:.4g})"
            return problem(
                where, f"not met: {reached:.4g}{was}", f"{text} = {bar:.4g}" if _uses_before(right) else text
            )
    return ""


def _number(score: Any) -> float | None:
    value = score.get("value") if isinstance(score, Mapping) else score
    return float(value) if isinstance(value, int | float) and not math.isnan(value) else None


def _clause(text: str) -> tuple[ast.cmpop, ast.expr]:
    try:
        tree = ast.parse(f"after {text.strip()}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1 or type(tree.ops[0]) not in COMPARISONS:
        raise RecipeError(problem("require", f"found {text.strip()!r}", EXPECTED))
    if not isinstance(tree.left, ast.Name) or not _allowed(tree.comparators[0]):
        raise RecipeError(problem("require", f"found {text.strip()!r}", EXPECTED))
    return tree.ops[0], tree.comparators[0]


def _allowed(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return type(node.op) in ARITHMETIC and _allowed(node.left) and _allowed(node.right)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub | ast.UAdd) and _allowed(node.operand)
    if isinstance(node, ast.Name):
        return node.id == "before"
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _uses_before(node: ast.expr) -> bool:
    return any(isinstance(n, ast.Name) for n in ast.walk(node))


def _compute(node: ast.expr, before: float) -> float:
    if isinstance(node, ast.BinOp):
        return ARITHMETIC[type(node.op)](_compute(node.left, before), _compute(node.right, before))
    if isinstance(node, ast.UnaryOp):
        value = _compute(node.operand, before)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]  # `_allowed` has seen that it is a number
    return before
