"""When two equations, inequalities or chains of them are equal: up to a constant factor, link by link.

Works on what `reading` made. Relations that describe a set of real numbers are `realsets`.
"""

from __future__ import annotations

from fractions import Fraction

from reasoning_rl_rewards.math_answer.answers import Labelled, Quantity, Relation, Value
from reasoning_rl_rewards.math_answer.evaluate import has_plus_minus
from reasoning_rl_rewards.math_answer.identity import proportional, same
from reasoning_rl_rewards.math_answer.tree import Node, symbols

_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!=", "=": "="}


def same_relation(gold: Relation, answer: Relation) -> bool:
    """Equations and inequalities whose difference of sides is a constant multiple; chains link by link."""
    if len(gold.operators) != len(answer.operators):
        return False
    if len(gold.operators) > 1:
        flipped = Relation(tuple(_FLIPPED[o] for o in reversed(answer.operators)), tuple(reversed(answer.sides)))
        return any(_same_chain(gold, other) for other in (answer, flipped))
    left, right = _difference(gold), _difference(answer)
    if left is None or right is None:
        return gold == answer
    factor = proportional(left, right)
    if factor is None or (not isinstance(factor, (int, Fraction)) and getattr(factor, "imag", 0)):
        return False
    flips = factor < 0
    return gold.operators == tuple(_FLIPPED[operator] if flips else operator for operator in answer.operators)


def _same_chain(gold: Relation, answer: Relation) -> bool:
    return gold.operators == answer.operators and all(
        isinstance(a, Quantity) and isinstance(b, Quantity) and same(a.node, b.node)
        for a, b in zip(gold.sides, answer.sides, strict=True)
    )


def _difference(relation: Relation) -> Node | None:
    left, right = relation.sides
    if not isinstance(left, Quantity) or not isinstance(right, Quantity) or left.unit or right.unit:
        return None
    if has_plus_minus(left.node) or has_plus_minus(right.node):
        return None
    return ("-", left.node, right.node)


def same_equation(labelled: Labelled, other: Value) -> bool:
    """`y = 2x` against `2x - y = 0`: an equation with letters on both sides, not one that is still to be solved."""
    if not isinstance(other, Relation) or not isinstance(labelled.value, Quantity) or not symbols(labelled.value.node):
        return False
    return same_relation(Relation(("=",), (Quantity(("s", labelled.label)), labelled.value)), other)
