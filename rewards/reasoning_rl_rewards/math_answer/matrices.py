"""Sums and multiples of matrices, worked out entry by entry: `\\frac15 M`, `u + t v`. Products of matrices are not read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from reasoning_rl_rewards.math_answer.answers import Matrix, Quantity, Value
from reasoning_rl_rewards.math_answer.errors import UnreadableError
from reasoning_rl_rewards.math_answer.expression import parse_expression
from reasoning_rl_rewards.math_answer.splitting import matching
from reasoning_rl_rewards.math_answer.tokens import Token
from reasoning_rl_rewards.math_answer.tree import Node

MATRICES = frozenset(f"begin:{kind}" for kind in ("matrix", "pmatrix", "bmatrix", "Bmatrix", "array", "smallmatrix"))
_BRACKETS = frozenset("([")


def read_combination(tokens: Sequence[Token], read: Callable[[Sequence[Token]], Value | None]) -> Matrix | None:
    """The matrix that a sum of multiples of matrices is; `None` where there is nothing to work out.

    `read` reads what stands between two brackets, the brackets included.
    """
    terms: list[tuple[Node, Matrix]] = []
    start = 0
    while start < len(tokens):
        at = next((at for at in range(start, len(tokens)) if _opens(tokens, at)), -1)
        if at < 0:
            return None
        end = matching(tokens, at)
        matrix = read(tokens[at : end + 1])
        if not isinstance(matrix, Matrix):
            return None
        terms.append((_factor(tokens[start:at], is_first=not start), matrix))
        start = end + 1
    if not terms or (len(terms) == 1 and _opens(tokens, 0)):
        return None
    shapes = {(len(matrix.rows), len(matrix.rows[0])) for _, matrix in terms}
    if len(shapes) > 1:
        raise UnreadableError("a sum of matrices of different sizes")
    (height, width), *_ = shapes
    return Matrix(tuple(tuple(_entry(terms, row, column) for column in range(width)) for row in range(height)))


def _opens(tokens: Sequence[Token], at: int) -> bool:
    if tokens[at].text in MATRICES:
        return True
    return tokens[at].text in _BRACKETS and at + 1 < len(tokens) and tokens[at + 1].text in MATRICES


def _factor(tokens: Sequence[Token], *, is_first: bool) -> Node:
    """What stands before a matrix: a sign, a scalar, both; nothing before the first one is 1."""
    if not is_first and (not tokens or tokens[0].text not in "+-"):
        raise UnreadableError("a product of matrices")
    if tokens and tokens[-1].text == "*":
        tokens = tokens[:-1]
    if not tokens or (len(tokens) == 1 and tokens[0].text in "+-"):
        return ("n", Fraction(-1 if tokens and tokens[0].text == "-" else 1))
    return parse_expression(tokens)


def _entry(terms: Sequence[tuple[Node, Matrix]], row: int, column: int) -> Quantity:
    total: Node = ("n", Fraction(0))
    for factor, matrix in terms:
        entry = matrix.rows[row][column]
        if not isinstance(entry, Quantity) or entry.unit or entry.is_percent:
            raise UnreadableError("a sum or multiple of a matrix with other entries than numbers")
        total = ("+", total, ("*", factor, entry.node))
    return Quantity(total)
