"""Numbers: exact fractions as long as they last, then 60 digits. Equality, order, and bounds on their size.

mpmath is imported when the first irrational number is met.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from reasoning_rl_rewards.math_answer.errors import TooCostlyError, UndefinedError

DIGITS = 60
#: Relative difference under which values of 60 digits are equal: 25 digits are left for cancellation.
_TOLERANCE_DIGITS = 35
MAX_BITS = 1 << 17
_context: list[Any] = []


def mp() -> Any:
    """An mpmath context of our own, so that nobody's precision changes."""
    if not _context:
        import mpmath

        context = mpmath.MPContext()
        context.dps = DIGITS
        _context.append(context)
    return _context[0]


def equal(left: Any, right: Any) -> bool:
    """Whether two values agree: exactly, or to 35 digits when one of them is irrational."""
    if both_exact(left, right):
        return left == right
    context = mp()
    left, right = real(left), real(right)
    if left == right:
        return True
    size = max(abs(left), abs(right))
    if context.isinf(size) or context.isnan(size):
        return False
    return bool(abs(left - right) <= size * context.mpf(10) ** -_TOLERANCE_DIGITS)


def less(left: Any, right: Any) -> bool:
    """Whether one real number is smaller than another, infinities included."""
    if both_exact(left, right):
        return left < right
    return bool(real(left) < real(right)) and not equal(left, right)


def both_exact(left: Any, right: Any) -> bool:
    return isinstance(left, Fraction) and isinstance(right, Fraction)


def real(value: Any) -> Any:
    """As a number of mpmath."""
    if not isinstance(value, Fraction):
        return value
    context = mp()
    return context.mpf(value.numerator) / value.denominator


def is_real(value: Any) -> bool:
    return isinstance(value, Fraction) or not getattr(value, "imag", 0)


def bounded(value: Any) -> Any:
    if isinstance(value, Fraction) and value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise TooCostlyError("a fraction of more than 130,000 bits")
    return value


def is_huge(value: Any) -> bool:
    context = mp()
    return not context.isinf(value) and context.mag(value) > MAX_BITS


def finite(value: Any) -> Any:
    """Refuses what is no number; complex numbers without imaginary part are real."""
    if isinstance(value, Fraction):
        return value
    context = mp()
    if context.isnan(value):
        raise UndefinedError("no number")
    if isinstance(value, context.mpc):
        if abs(value.imag) <= abs(value) * context.mpf(10) ** -(DIGITS - 10):
            return value.real
        if abs(value.real) <= abs(value) * context.mpf(10) ** -(DIGITS - 10):
            return context.mpc(0, value.imag)
    return value
