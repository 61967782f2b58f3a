"""Whether two expressions are equal, or one is a multiple of the other: by their values at random points.

The points are fractions that depend on both expressions, so that no answer can be made to agree there only.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from reasoning_rl_rewards.math_answer.errors import UndefinedError
from reasoning_rl_rewards.math_answer.evaluate import evaluate
from reasoning_rl_rewards.math_answer.tree import Node, symbols, walk
from reasoning_rl_rewards.math_answer.values import DIGITS, both_exact, equal, finite, is_real, mp, real

#: Primes, so that no point is an integer, where factorials, tangents and quotients have their gaps.
_DENOMINATORS = (101, 103, 107, 109, 113, 127)
_LOGARITHMS = frozenset(("ln", "log", "lg"))
#: Functions of integers.
_OF_INTEGERS = frozenset(("gcd", "lcm", "mod"))
#: Functions that are compared at integers where every letter is one that stands for them.
_ROUNDING = frozenset(("floor", "ceil"))
_INTEGER_LETTERS = frozenset("nmk")
#: Equal at fewer valid points than this decides nothing.
_MIN_POINTS = 3


def same(left: Node, right: Node) -> bool:
    """Whether two trees have equal values wherever the left one is defined and real (or defined, if it never is).

    Raises:
        TooCostlyError: that takes too much work to tell.
    """
    if left == right or _agree(left, right):
        return True
    decimal = _with_decimal_logs(left), _with_decimal_logs(right)
    return decimal != (left, right) and _agree(*decimal)


def _agree(left: Node, right: Node) -> bool:
    compared = compare(left, right)
    return compared is not None and all(ratio == 1 for ratio in compared)


def _with_decimal_logs(node: Node) -> Node:
    r"""The tree with `\log` without a base, which is the natural one first, read as the decimal one."""
    if node[:2] == ("f", "log") and len(node) == 3:
        return ("f", "log", _with_decimal_logs(node[2]), ("n", Fraction(10)))
    return tuple(_with_decimal_logs(child) if isinstance(child, tuple) else child for child in node)


def proportional(left: Node, right: Node) -> Any:
    """The constant that `right` is of `left` at every point, `None` if there is none or it is 0."""
    ratios = compare(left, right)
    if not ratios or ratios[0] in (0, None):
        return None
    return ratios[0] if all(ratio is not None and equal(ratio, ratios[0]) for ratio in ratios) else None


def compare(left: Node, right: Node) -> list[Any] | None:
    """Right over left at random points, 1 where they are equal; `None` when too few points can be compared."""
    names = sorted(symbols(left) | symbols(right))
    if not names:
        try:
            a, b = evaluate(left, {}), evaluate(right, {})
        except UndefinedError:
            return None
        return [_ratio(a, b, left, right, {})]
    found: list[tuple[bool, Any]] = []
    for point in _points(names, left, right):
        try:
            a = evaluate(left, point)
        except UndefinedError:
            continue
        try:
            b = evaluate(right, point)
        except UndefinedError:
            found.append((is_real(a), None))
            continue
        ratio = _ratio(a, b, left, right, point)
        if ratio == 1 or not is_real(a) or (_stays_real(left, point) and _stays_real(right, point)):
            found.append((is_real(a), ratio))
    real = [ratio for is_real, ratio in found if is_real]
    if len(real) >= _MIN_POINTS:
        return real
    return [ratio for _, ratio in found] if len(found) >= _MIN_POINTS else None


def _ratio(a: Any, b: Any, left: Node, right: Node, point: Mapping[str, Any]) -> Any:
    if equal(a, b):
        return 1
    if _vanishes(a, left, point) and _vanishes(b, right, point):
        return 1
    if a == 0 or _vanishes(a, left, point):
        return None
    if _vanishes(b, right, point):
        return 0
    return b / a if both_exact(a, b) else finite(real(b) / real(a))


def _vanishes(value: Any, node: Node, point: Mapping[str, Any]) -> bool:
    """Whether a value is 0: exactly, or because it shrinks when it is computed with twice the digits."""
    if value == 0:
        return True
    context = mp()
    if isinstance(value, Fraction) or abs(value) > context.mpf(10) ** -(DIGITS // 2):
        return False
    context.dps = 2 * DIGITS
    try:
        again = evaluate(node, point)
    except UndefinedError:
        return False
    finally:
        context.dps = DIGITS
    return bool(abs(again) <= abs(value) * context.mpf(10) ** -(DIGITS // 3))


def _stays_real(node: Node, point: Mapping[str, Any]) -> bool:
    """Whether no root, power or logarithm inside is complex: \\sqrt a \\sqrt b is real for negative a and b, and not \\sqrt{ab}."""
    try:
        return all(
            is_real(evaluate(item, point))
            for item in walk(node)
            if item[0] in ("root", "^") or (item[0] == "f" and item[1] in _LOGARITHMS)
        )
    except UndefinedError:
        return False


def _points(names: list[str], left: Node, right: Node) -> list[dict[str, Fraction]]:
    """Points that depend on both expressions, so that no answer can be made to agree there only; both signs. Positive
    integers where a function of integers stands, or a rounded n, m or k."""
    chance = random.Random(zlib.crc32(f"{left}|{right}".encode()))
    functions = {item[1] for tree in (left, right) for item in walk(tree) if item[0] == "f"}
    if functions & _OF_INTEGERS or (functions & _ROUNDING and set(names) <= _INTEGER_LETTERS):
        return _integer_points(names, chance)
    points = []
    for index, denominator in enumerate(_DENOMINATORS):
        point = {}
        for name in names:
            size = chance.randrange(1, 4) + Fraction(chance.randrange(1, denominator), denominator)
            point[name] = -size if index % 2 and chance.random() < 0.75 else size
        points.append(point)
    return points + (_integer_points(names, chance) if functions & _ROUNDING else [])


def _integer_points(names: list[str], chance: random.Random) -> list[dict[str, Fraction]]:
    """Twelve points, at which each letter has every remainder of 12 once."""
    columns = {
        name: [Fraction(12 * chance.randrange(1, 9) + rest) for rest in chance.sample(range(12), 12)] for name in names
    }
    return [{name: column[index] for name, column in columns.items()} for index in range(12)]
