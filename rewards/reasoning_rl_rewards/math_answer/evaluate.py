"""Values of expression trees: exact fractions as long as they last, then 60 digits. Equality of trees by value.

Every operation is bounded, so that no tree costs more than milliseconds; what would cost more is refused. Knows nothing of
lists, sets, intervals or units. mpmath is imported when the first irrational number is met.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from reasoning_rl_rewards.math_answer.errors import TooCostly, Undefined, Unreadable
from reasoning_rl_rewards.math_answer.expression import Node, symbols, walk

DIGITS = 60
#: Relative difference under which values of 60 digits are equal: 25 digits are left for cancellation.
_TOLERANCE_DIGITS = 35
_MAX_BITS = 1 << 17
_MAX_EXPONENT = 1 << 21
_MAX_FACTORIAL = 3000
_NUM_POINTS = 6
#: Equal at fewer valid points than this decides nothing.
_MIN_POINTS = 3

_TRIG = {"sin", "cos", "tan", "cot", "sec", "csc"}
_MP_FUNCTIONS = {
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "arcsin": "asin",
    "arccos": "acos", "arctan": "atan", "arccot": "acot", "arcsec": "asec", "arccsc": "acsc", "sinh": "sinh",
    "cosh": "cosh", "tanh": "tanh", "coth": "coth", "sech": "sech", "csch": "csch", "arcsinh": "asinh",
    "arccosh": "acosh", "arctanh": "atanh", "ln": "log", "exp": "exp",
}  # fmt: skip

_context: list[Any] = []


def mp() -> Any:
    """An mpmath context of our own, so that nobody's precision changes."""
    if not _context:
        import mpmath

        context = mpmath.MPContext()
        context.dps = DIGITS
        _context.append(context)
    return _context[0]


def evaluate(node: Node, point: Mapping[str, Any]) -> Any:
    """The value: `Fraction`, or a real or complex number of 60 digits, or an infinity.

    Raises:
        Undefined: there is none. TooCostly: it is too large.
    """
    operator = node[0]
    if operator == "n":
        return node[1]
    if operator == "s":
        return _constant(node[1]) if node[1] not in point else point[node[1]]
    if operator == "f":
        return _function(node[1], [evaluate(child, point) for child in node[2:]])
    values = [evaluate(child, point) for child in node[1:]]
    if operator == "neg":
        return -values[0]
    left, right = values
    if operator == "root":
        return _root(left, right)
    if operator == "^":
        return _power(left, right)
    if operator == "/":
        if right == 0:
            raise Undefined("division by zero")
        return _finite(_bounded(left / right) if _both_exact(left, right) else _real(left) / _real(right))
    if operator in ("+", "-"):
        if operator == "-":
            right = -right
        if not _both_exact(left, right):
            left, right = _real(left), _real(right)
            if _is_huge(left) or _is_huge(right):
                raise TooCostly("a sum with a number of more than 130,000 bits")
        return _finite(_bounded(left + right))
    if operator == "*":
        return _finite(_bounded(left * right) if _both_exact(left, right) else _real(left) * _real(right))
    raise Unreadable(f"{operator} has no single value")


def constant_value(node: Node) -> Any:
    """The value of a tree without letters, `None` when it has letters or no value."""
    if symbols(node):
        return None
    try:
        return evaluate(node, {})
    except Undefined:
        return None


def same(left: Node, right: Node) -> bool:
    """Whether two trees have equal values wherever the left one is defined and real (or defined, if it never is).

    Raises:
        TooCostly: that takes too much work to tell.
    """
    if left == right:
        return True
    compared = compare(left, right)
    return compared is not None and all(ratio == 1 for ratio in compared)


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
        except Undefined:
            return None
        return [_ratio(a, b, left, right, {})]
    found: list[tuple[bool, Any]] = []
    for point in _points(names, f"{left}|{right}"):
        try:
            a = evaluate(left, point)
        except Undefined:
            continue
        try:
            b = evaluate(right, point)
        except Undefined:
            found.append((_is_real(a), None))
            continue
        found.append((_is_real(a), _ratio(a, b, left, right, point)))
    real = [ratio for is_real, ratio in found if is_real]
    if len(real) >= _MIN_POINTS:
        return real
    return [ratio for _, ratio in found] if len(found) >= _MIN_POINTS else None


def equal(left: Any, right: Any) -> bool:
    """Whether two values agree: exactly, or to 35 digits when one of them is irrational."""
    if _both_exact(left, right):
        return left == right
    context = mp()
    left, right = _real(left), _real(right)
    if left == right:
        return True
    size = max(abs(left), abs(right))
    if context.isinf(size) or context.isnan(size):
        return False
    return bool(abs(left - right) <= size * context.mpf(10) ** -_TOLERANCE_DIGITS)


def less(left: Any, right: Any) -> bool:
    """Whether one real number is smaller than another, infinities included."""
    if _both_exact(left, right):
        return left < right
    return bool(_real(left) < _real(right)) and not equal(left, right)


def _ratio(a: Any, b: Any, left: Node, right: Node, point: Mapping[str, Any]) -> Any:
    if equal(a, b):
        return 1
    if _vanishes(a, left, point) and _vanishes(b, right, point):
        return 1
    if a == 0 or _vanishes(a, left, point):
        return None
    if _vanishes(b, right, point):
        return 0
    return b / a if _both_exact(a, b) else _finite(_real(b) / _real(a))


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
    except Undefined:
        return False
    finally:
        context.dps = DIGITS
    return bool(abs(again) <= abs(value) * context.mpf(10) ** -(DIGITS // 3))


def _points(names: list[str], text: str) -> list[dict[str, Fraction]]:
    """Points that depend on both expressions, so that no answer can be made to agree there only; both signs, and
    one of positive integers."""
    chance = random.Random(zlib.crc32(text.encode()))
    points = []
    for index in range(_NUM_POINTS):
        point = {}
        for name in names:
            size = Fraction(chance.randrange(101, 400), 101 + 2 * index)
            point[name] = -size if index % 2 and chance.random() < 0.75 else size
        points.append(point)
    return points


def _constant(name: str) -> Any:
    context = mp()
    if name == "\\pi":
        return +context.pi
    if name == "e":
        return +context.e
    if name == "i":
        return context.mpc(0, 1)
    if name == "\\infty":
        return context.inf
    raise Unreadable(f"no value for {name}")


def _both_exact(left: Any, right: Any) -> bool:
    return isinstance(left, Fraction) and isinstance(right, Fraction)


def _real(value: Any) -> Any:
    """As a number of mpmath."""
    if not isinstance(value, Fraction):
        return value
    context = mp()
    return context.mpf(value.numerator) / value.denominator


def _is_real(value: Any) -> bool:
    return isinstance(value, Fraction) or not getattr(value, "imag", 0)


def _bounded(value: Any) -> Any:
    if isinstance(value, Fraction) and value.numerator.bit_length() + value.denominator.bit_length() > _MAX_BITS:
        raise TooCostly("a fraction of more than 130,000 bits")
    return value


def _is_huge(value: Any) -> bool:
    context = mp()
    return not context.isinf(value) and context.mag(value) > _MAX_BITS


def _finite(value: Any) -> Any:
    """Refuses what is no number; complex numbers without imaginary part are real."""
    if isinstance(value, Fraction):
        return value
    context = mp()
    if context.isnan(value):
        raise Undefined("no number")
    if isinstance(value, context.mpc):
        if abs(value.imag) <= abs(value) * context.mpf(10) ** -(DIGITS - 10):
            return value.real
        if abs(value.real) <= abs(value) * context.mpf(10) ** -(DIGITS - 10):
            return context.mpc(0, value.imag)
    return value


def _power(base: Any, exponent: Any) -> Any:
    context = mp()
    if base == 0:
        if exponent == 0 or not _is_real(exponent):
            raise Undefined("0 to the power of 0")
        if exponent < 0:
            raise Undefined("division by zero")
        return Fraction(0)
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        number = exponent.numerator
        if isinstance(base, Fraction):
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if base in (1, -1) or bits * abs(number) <= _MAX_BITS:
                return base ** (number if base not in (1, -1) else number % 2)
        _check_exponent(base, exponent)
        return _finite(_real(base) ** number)
    if isinstance(exponent, Fraction) and isinstance(base, Fraction) and exponent.denominator < 100:
        return _power(_root(base, Fraction(exponent.denominator)), Fraction(exponent.numerator))
    if isinstance(exponent, Fraction) and _is_real(base) and base < 0 and exponent.denominator % 2:
        return _power(-((-base) ** (context.mpf(1) / exponent.denominator)), Fraction(exponent.numerator))
    _check_exponent(base, exponent)
    return _finite(context.power(_real(base), _real(exponent)))


def _check_exponent(base: Any, exponent: Any) -> None:
    """Refuses a power whose logarithm is out of all proportion."""
    context = mp()
    size = abs(_real(exponent))
    if context.isinf(size) or context.isinf(abs(_real(base))):
        return
    if size > _MAX_EXPONENT or size * (abs(context.mag(_real(base))) + 1) > 4 * _MAX_EXPONENT:
        raise TooCostly("a power of more than 8,000,000 bits")


def _root(value: Any, index: Any) -> Any:
    context = mp()
    if not isinstance(index, Fraction) or index.denominator != 1 or not 1 <= index <= 1000:
        if index == 0:
            raise Undefined("the root of index 0")
        return _power(value, 1 / index if isinstance(index, Fraction) else 1 / _real(index))
    order = int(index)
    if isinstance(value, Fraction):
        top, bottom = _integer_root(abs(value.numerator), order), _integer_root(value.denominator, order)
        if top is not None and bottom is not None and (value >= 0 or order % 2):
            return Fraction(top if value >= 0 else -top, bottom)
    number = _real(value)
    if _is_real(number) and number < 0 and order % 2:
        return -context.root(-number, order)
    return _finite(context.root(number, order))


def _integer_root(value: int, order: int) -> int | None:
    """The exact root of a natural number, `None` if it is irrational."""
    if value < 2 or order == 1:
        return value
    if order == 2:
        root = math.isqrt(value)
        return root if root * root == value else None
    if value.bit_length() > 4000:
        return None
    root = round(value ** (1 / order)) if value.bit_length() < 900 else 0
    if not root:
        return None
    return next((near for near in (root - 1, root, root + 1) if near > 0 and near**order == value), None)


def _function(name: str, values: list[Any]) -> Any:
    context = mp()
    if any(isinstance(value, (context.mpf, context.mpc)) and context.isinf(value) for value in values):
        raise Undefined(f"{name} of infinity")
    exact = all(isinstance(value, Fraction) for value in values)
    if name == "abs":
        return abs(values[0])
    if name in ("floor", "ceil"):
        return _rounded(values[0], name)
    if name in ("max", "min"):
        if not all(map(_is_real, values)):
            raise Undefined("the order of complex numbers")
        return (max if name == "max" else min)(values, key=_real)
    if name in ("gcd", "lcm"):
        return Fraction((math.gcd if name == "gcd" else math.lcm)(*_integers(values)))
    if name == "mod":
        if not exact or values[1] == 0:
            raise Undefined("a remainder of what is no rational number")
        return values[0] % values[1]
    if name in ("factorial", "factorial2", "binom", "Gamma"):
        return _combinatorial(name, values)
    if name == "log":
        return _logarithm(values[0], values[1] if len(values) > 1 else None)
    if name == "lg":
        return _logarithm(values[0], Fraction(10))
    if name not in _MP_FUNCTIONS:
        raise Unreadable(f"the function {name}")
    number = _real(values[0])
    if name in _TRIG or name == "exp":
        if abs(number) > _MAX_EXPONENT:
            raise TooCostly(f"{name} of a number of more than 2,000,000")
        if exact and number == 0 and name in ("sin", "tan"):
            return Fraction(0)
    elif name == "ln" and number == 0:
        raise Undefined("the logarithm of 0")
    try:
        return _finite(getattr(context, _MP_FUNCTIONS[name])(number))
    except (ZeroDivisionError, ValueError, OverflowError) as error:
        raise Undefined(f"{name} has no value there") from error


def _rounded(value: Any, name: str) -> Fraction:
    if isinstance(value, Fraction):
        return Fraction(math.floor(value) if name == "floor" else math.ceil(value))
    context = mp()
    if not _is_real(value) or context.mag(value) > 150:
        raise Undefined(f"the {name} of a number of more than 150 bits, or a complex one")
    return Fraction(int(context.floor(value) if name == "floor" else context.ceil(value)))


def _integers(values: list[Any]) -> list[int]:
    if not all(isinstance(value, Fraction) and value.denominator == 1 for value in values):
        raise Undefined("a divisor of what is no integer")
    return [int(value) for value in values]


def _combinatorial(name: str, values: list[Any]) -> Any:
    context = mp()
    if any(abs(_real(value)) > _MAX_FACTORIAL for value in values):
        raise TooCostly(f"the {name} of more than {_MAX_FACTORIAL}")
    if all(isinstance(value, Fraction) and value.denominator == 1 and value >= 0 for value in values):
        numbers = [int(value) for value in values]
        if name == "factorial":
            return Fraction(math.factorial(numbers[0]))
        if name == "factorial2":
            return Fraction(math.prod(range(numbers[0], 0, -2)))
        if name == "binom":
            return Fraction(math.comb(*numbers))
        if numbers[0] > 0:
            return Fraction(math.factorial(numbers[0] - 1))
    call = {"factorial": "factorial", "factorial2": "fac2", "binom": "binomial", "Gamma": "gamma"}[name]
    try:
        return _finite(getattr(context, call)(*map(_real, values)))
    except (ZeroDivisionError, ValueError, OverflowError) as error:
        raise Undefined(f"{name} has no value there") from error


def _logarithm(value: Any, base: Any) -> Any:
    context = mp()
    if value == 0 or base == 0 or base == 1:
        raise Undefined("a logarithm without value")
    if base is None:
        return _finite(context.log(_real(value)))
    if isinstance(value, Fraction) and isinstance(base, Fraction) and value > 0 and base > 0:
        power = round(float(context.log(_real(value)) / context.log(_real(base))))
        if abs(power) < 2000 and abs(power) * max(base.numerator.bit_length(), base.denominator.bit_length()) < 50_000:
            if base**power == value:
                return Fraction(power)
    return _finite(context.log(_real(value)) / context.log(_real(base)))


def has_plus_minus(node: Node) -> bool:
    """Whether a tree stands for two values."""
    return any(item[0] in ("pm", "mp") for item in walk(node))


def branch(node: Node, upper: bool) -> Node:
    r"""The tree with every \pm read as its upper (\mp as its lower) or as its other sign."""
    if node[0] in ("n", "s"):
        return node
    if node[0] in ("pm", "mp"):
        sign = "+" if (node[0] == "pm") == upper else "-"
        return (sign, branch(node[1], upper), branch(node[2], upper))
    return tuple(branch(child, upper) if isinstance(child, tuple) else child for child in node)
