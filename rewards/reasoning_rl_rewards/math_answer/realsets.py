"""Subsets of the real line: unions of intervals with constant ends, from intervals, sets and inequalities."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from reasoning_rl_rewards.math_answer.answers import Group, Labelled, Quantity, Relation, SetOperation, Value
from reasoning_rl_rewards.math_answer.errors import UndefinedError, UnreadableError
from reasoning_rl_rewards.math_answer.evaluate import evaluate
from reasoning_rl_rewards.math_answer.tree import CONSTANTS, Node, symbols
from reasoning_rl_rewards.math_answer.values import equal, less, mp

_REALS = "\\mathbb R"
_NAMED = re.compile(r"(?:all )?(?:(positive|negative|non ?negative|non ?positive|non ?zero) )?real(?: number)?s?")
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}


@dataclass(frozen=True, slots=True)
class _Piece:
    low: Any
    has_low: bool
    high: Any
    has_high: bool


RealSet = list[_Piece]


def real_set(value: Value) -> RealSet | None:
    """The set that an answer describes, as disjoint pieces in order; `None` when it is no such set."""
    try:
        return _normal(_pieces(value))
    except (UnreadableError, UndefinedError):
        return None


def real_set_named(words: str) -> RealSet | None:
    """The set that words such as "all positive real numbers" name."""
    match = _NAMED.fullmatch(words)
    if not match:
        return None
    zero, infinity, kind = Fraction(0), mp().inf, (match[1] or "").replace(" ", "")
    below = _interval(-infinity, False, zero, kind == "nonpositive")
    above = _interval(zero, kind == "nonnegative", infinity, False)
    if kind in ("", "nonzero"):
        return below + above if kind else _interval(-infinity, False, infinity, False)
    return above if kind in ("positive", "nonnegative") else below


def same_set(left: RealSet, right: RealSet) -> bool:
    """Whether two sets have the same points."""
    return len(left) == len(right) and all(
        equal(a.low, b.low) and equal(a.high, b.high) and (a.has_low, a.has_high) == (b.has_low, b.has_high)
        for a, b in zip(left, right, strict=True)
    )


def is_set_like(value: Value) -> bool:
    """Whether an answer can only be read as a set of real numbers: an operation, an inequality, a mixed bracket."""
    if isinstance(value, Labelled):
        return is_set_like(value.value) or isinstance(value.value, Group)
    if isinstance(value, Relation):
        return set(value.operators) != {"="}
    if isinstance(value, Group):
        return value.opened + value.closed in ("[)", "(]")
    return isinstance(value, SetOperation) or is_reals(value)


def is_reals(value: Value) -> bool:
    """Whether an answer is the sign for all real numbers."""
    return isinstance(value, Quantity) and value.node == ("s", _REALS)


def half_line(decoration: str) -> Group | None:
    r"""The interval that `\mathbb R` with a sign is: `^+`, `_{>0}`, `^-`; `None` for any other decoration."""
    sign = decoration.translate(str.maketrans("", "", "{} ")).lstrip("^_")
    zero, infinity = Quantity(("n", Fraction(0))), Quantity(("s", "\\infty"))
    if sign in ("+", ">0", ">=0"):
        return Group("[" if sign == ">=0" else "(", ")", (zero, infinity))
    if sign in ("-", "<0", "<=0"):
        return Group("(", "]" if sign == "<=0" else ")", (Quantity(("neg", infinity.node)), zero))
    return None


def variable(value: Value) -> str | None:
    """The letter that a label or an inequality speaks of."""
    if isinstance(value, Labelled):
        return value.label
    if isinstance(value, Relation):
        names = {side.node[1] for side in value.sides if isinstance(side, Quantity) and _is_letter(side.node)}
        names |= {side.node[2][1] for side in value.sides if isinstance(side, Quantity) and _is_size(side.node)}
        return names.pop() if len(names) == 1 else None
    if isinstance(value, SetOperation):
        if value.operator == "builder":
            return None
        return next((name for part in value.parts if (name := variable(part))), None)
    return None


def _pieces(value: Value) -> RealSet:
    if isinstance(value, Labelled):
        if isinstance(value.value, Quantity) and not is_reals(value.value):
            return [_Piece(end := _end(value.value), True, end, True)]
        return _pieces(value.value)
    if isinstance(value, Quantity):
        if value.node == ("s", _REALS):
            return [_Piece(-mp().inf, False, mp().inf, False)]
        raise UnreadableError("no set")
    if isinstance(value, SetOperation):
        return _operation(value)
    if isinstance(value, Relation):
        return _inequality(value)
    if isinstance(value, Group) and value.opened == "{":
        return [_Piece(end, True, end, True) for end in map(_end, value.items)]
    if isinstance(value, Group) and value.opened in ("(", "[") and len(value.items) == 2:
        low, high = map(_end, value.items)
        return _interval(low, value.opened == "[", high, value.closed == "]")
    raise UnreadableError("no set of real numbers")


def _end(value: Value) -> Any:
    if not isinstance(value, Quantity) or symbols(value.node):
        raise UnreadableError("an end that is no number")
    end = evaluate(value.node, {})
    if getattr(end, "imag", 0):
        raise UnreadableError("a complex end")
    return end


def _interval(low: Any, has_low: bool, high: Any, has_high: bool) -> RealSet:
    infinity = mp().inf
    has_low, has_high = has_low and low != -infinity, has_high and high != infinity
    if equal(low, high):
        return [_Piece(low, True, high, True)] if has_low and has_high else []
    return [_Piece(low, has_low, high, has_high)] if less(low, high) else []


def _inequality(value: Relation) -> RealSet:
    """`x < 3`, `1 < x <= 2`, `x != 0`: a lone letter against constants."""
    nodes = [side.node if isinstance(side, Quantity) else ("",) for side in value.sides]
    at = [position for position, node in enumerate(nodes) if _is_letter(node) or _is_size(node)]
    if len(at) != 1 or set(value.operators) == {"="} or "=" in value.operators:
        raise UnreadableError("no inequality of one letter")
    infinity = mp().inf
    pieces: RealSet = [_Piece(-infinity, False, infinity, False)]
    for position, operator in enumerate(value.operators):
        if position not in (at[0], at[0] - 1):
            raise UnreadableError("a chain that is too long")
        if position == at[0] - 1:
            operator = _FLIPPED[operator]
        end = _end(value.sides[position if position != at[0] else position + 1])
        if operator == "!=":
            allowed = [_Piece(-infinity, False, end, False), _Piece(end, False, infinity, False)]
        elif operator in ("<", "<="):
            allowed = _interval(-infinity, False, end, operator == "<=")
        else:
            allowed = _interval(end, operator == ">=", infinity, False)
        pieces = _intersection(pieces, allowed)
    return _both_signs(pieces) if _is_size(nodes[at[0]]) else pieces


def _is_letter(node: Node) -> bool:
    return node[0] == "s" and node[1] not in CONSTANTS


def _is_size(node: Node) -> bool:
    """`|x|` of a lone letter."""
    return node[:2] == ("f", "abs") and _is_letter(node[2])


def _both_signs(sizes: RealSet) -> RealSet:
    """The numbers whose absolute value is in a set."""
    zero = Fraction(0)
    positive = _intersection(_normal(sizes), _interval(zero, True, mp().inf, False))
    return _normal(positive + [_Piece(-piece.high, piece.has_high, -piece.low, piece.has_low) for piece in positive])


def _operation(value: SetOperation) -> RealSet:
    if value.operator == "builder":
        return _pieces(value.parts[0])
    first, *rest = (_pieces(part) for part in value.parts)
    for other in rest:
        if value.operator == "cup":
            first = first + other
        elif value.operator == "cap":
            first = _intersection(first, other)
        else:
            first = _intersection(_normal(first), _complement(_normal(other)))
    return first


def _intersection(left: RealSet, right: RealSet) -> RealSet:
    found: RealSet = []
    for a in left:
        for b in right:
            low, has_low = _tighter(a.low, a.has_low, b.low, b.has_low, upper=False)
            high, has_high = _tighter(a.high, a.has_high, b.high, b.has_high, upper=True)
            found += _interval(low, has_low, high, has_high)
    return found


def _tighter(a: Any, has_a: bool, b: Any, has_b: bool, *, upper: bool) -> tuple[Any, bool]:
    if equal(a, b):
        return a, has_a and has_b
    return (a, has_a) if less(a, b) == upper else (b, has_b)


def _complement(pieces: RealSet) -> RealSet:
    infinity = mp().inf
    found: RealSet = []
    low, has_low = -infinity, False
    for piece in pieces:
        found += _interval(low, has_low, piece.low, not piece.has_low)
        low, has_low = piece.high, not piece.has_high
    return found + (_interval(low, has_low, infinity, False) if low != infinity else [])


def _normal(pieces: RealSet) -> RealSet:
    """In order, with pieces that touch joined."""
    found: RealSet = []
    for piece in sorted(pieces, key=lambda item: (_key(item.low), not item.has_low)):
        last = found[-1] if found else None
        meets = last and (
            (equal(last.high, piece.low) and (last.has_high or piece.has_low)) or less(piece.low, last.high)
        )
        if last and meets:
            if equal(last.high, piece.high):
                high, has_high = last.high, last.has_high or piece.has_high
            else:
                longer = last if less(piece.high, last.high) else piece
                high, has_high = longer.high, longer.has_high
            same_low = equal(last.low, piece.low)
            found[-1] = _Piece(last.low, last.has_low or (same_low and piece.has_low), high, has_high)
        else:
            found.append(piece)
    return found


def _key(value: Any) -> Any:
    return mp().mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value
