"""Powers, roots and named functions of numbers. Every call is bounded: what would take more than milliseconds is refused."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from reasoning_rl_rewards.math_answer.errors import TooCostlyError, UndefinedError, UnreadableError
from reasoning_rl_rewards.math_answer.values import MAX_BITS, finite, is_real, mp, real

_MAX_EXPONENT = 1 << 21
_MAX_FACTORIAL = 3000
_TRIG = {"sin", "cos", "tan", "cot", "sec", "csc"}
_MP_FUNCTIONS = {
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "arcsin": "asin",
    "arccos": "acos", "arctan": "atan", "arccot": "acot", "arcsec": "asec", "arccsc": "acsc", "sinh": "sinh",
    "cosh": "cosh", "tanh": "tanh", "coth": "coth", "sech": "sech", "csch": "csch", "arcsinh": "asinh",
    "arccosh": "acosh", "arctanh": "atanh", "ln": "log", "exp": "exp",
}  # fmt: skip


def power_of(base: Any, exponent: Any) -> Any:
    context = mp()
    if base == 0:
        if exponent == 0 or not is_real(exponent):
            raise UndefinedError("0 to the power of 0")
        if exponent < 0:
            raise UndefinedError("division by zero")
        return Fraction(0)
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        number = exponent.numerator
        if isinstance(base, Fraction):
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if base in (1, -1) or bits * abs(number) <= MAX_BITS:
                return base ** (number if base not in (1, -1) else number % 2)
        _check_exponent(base, exponent)
        return finite(real(base) ** number)
    if isinstance(exponent, Fraction) and isinstance(base, Fraction) and exponent.denominator < 100:
        return power_of(root_of(base, Fraction(exponent.denominator)), Fraction(exponent.numerator))
    if isinstance(exponent, Fraction) and is_real(base) and base < 0 and exponent.denominator % 2:
        return power_of(-((-base) ** (context.mpf(1) / exponent.denominator)), Fraction(exponent.numerator))
    _check_exponent(base, exponent)
    return finite(context.power(real(base), real(exponent)))


def _check_exponent(base: Any, exponent: Any) -> None:
    """Refuses a power whose logarithm is out of all proportion."""
    context = mp()
    size = abs(real(exponent))
    if context.isinf(size) or context.isinf(abs(real(base))):
        return
    if size > _MAX_EXPONENT or size * (abs(context.mag(real(base))) + 1) > 4 * _MAX_EXPONENT:
        raise TooCostlyError("a power of more than 8,000,000 bits")


def root_of(value: Any, index: Any) -> Any:
    context = mp()
    if not isinstance(index, Fraction) or index.denominator != 1 or not 1 <= index <= 1000:
        if index == 0:
            raise UndefinedError("the root of index 0")
        return power_of(value, 1 / index if isinstance(index, Fraction) else 1 / real(index))
    order = int(index)
    if isinstance(value, Fraction):
        top, bottom = _integer_root(abs(value.numerator), order), _integer_root(value.denominator, order)
        if top is not None and bottom is not None and (value >= 0 or order % 2):
            return Fraction(top if value >= 0 else -top, bottom)
    number = real(value)
    if is_real(number) and number < 0 and order % 2:
        return -context.root(-number, order)
    return finite(context.root(number, order))


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


def call(name: str, values: list[Any]) -> Any:
    context = mp()
    if any(isinstance(value, (context.mpf, context.mpc)) and context.isinf(value) for value in values):
        raise UndefinedError(f"{name} of infinity")
    exact = all(isinstance(value, Fraction) for value in values)
    if name == "abs":
        return abs(values[0])
    if name in ("floor", "ceil"):
        return _rounded(values[0], name)
    if name in ("max", "min"):
        if not all(map(is_real, values)):
            raise UndefinedError("the order of complex numbers")
        return (max if name == "max" else min)(values, key=real)
    if name in ("gcd", "lcm"):
        return Fraction((math.gcd if name == "gcd" else math.lcm)(*_integers(values)))
    if name == "mod":
        if not exact or values[1] == 0:
            raise UndefinedError("a remainder of what is no rational number")
        return values[0] % values[1]
    if name in ("factorial", "factorial2", "binom", "Gamma"):
        return _combinatorial(name, values)
    if name == "log":
        return _logarithm(values[0], values[1] if len(values) > 1 else None)
    if name == "lg":
        return _logarithm(values[0], Fraction(10))
    if name not in _MP_FUNCTIONS:
        raise UnreadableError(f"the function {name}")
    number = real(values[0])
    if name in _TRIG or name == "exp":
        if abs(number) > _MAX_EXPONENT:
            raise TooCostlyError(f"{name} of a number of more than 2,000,000")
        if exact and number == 0 and name in ("sin", "tan"):
            return Fraction(0)
    elif name == "ln" and number == 0:
        raise UndefinedError("the logarithm of 0")
    try:
        return finite(getattr(context, _MP_FUNCTIONS[name])(number))
    except (ZeroDivisionError, ValueError, OverflowError) as error:
        raise UndefinedError(f"{name} has no value there") from error


def _rounded(value: Any, name: str) -> Fraction:
    if isinstance(value, Fraction):
        return Fraction(math.floor(value) if name == "floor" else math.ceil(value))
    context = mp()
    if not is_real(value) or context.mag(value) > 150:
        raise UndefinedError(f"the {name} of a number of more than 150 bits, or a complex one")
    return Fraction(int(context.floor(value) if name == "floor" else context.ceil(value)))


def _integers(values: list[Any]) -> list[int]:
    if not all(isinstance(value, Fraction) and value.denominator == 1 for value in values):
        raise UndefinedError("a divisor of what is no integer")
    return [int(value) for value in values]


def _combinatorial(name: str, values: list[Any]) -> Any:
    context = mp()
    if any(abs(real(value)) > _MAX_FACTORIAL for value in values):
        raise TooCostlyError(f"the {name} of more than {_MAX_FACTORIAL}")
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
        return finite(getattr(context, call)(*map(real, values)))
    except (ZeroDivisionError, ValueError, OverflowError) as error:
        raise UndefinedError(f"{name} has no value there") from error


def _logarithm(value: Any, base: Any) -> Any:
    context = mp()
    if value == 0 or base == 0 or base == 1:
        raise UndefinedError("a logarithm without value")
    if base is None:
        return finite(context.log(real(value)))
    if isinstance(value, Fraction) and isinstance(base, Fraction) and value > 0 and base > 0:
        power = round(float(context.log(real(value)) / context.log(real(base))))
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(power) < 2000 and abs(power) * bits < 50_000 and base**power == value:
            return Fraction(power)
    return finite(context.log(real(value)) / context.log(real(base)))
