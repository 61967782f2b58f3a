r"""Numerals as they are written: `007.50`, `2.5e3`, `0.1\overline{6}`, `0.(3)`. Exact values within bounds."""

from __future__ import annotations

import re
from fractions import Fraction

from reasoning_rl_rewards.math_answer.errors import TooCostlyError

#: Canonical spelling, value, and number of decimals: -1 if they do not end.
Written = tuple[str, Fraction, int]

#: An exponent of ten with more digits than this is a bomb or a slip.
_MAX_EXPONENT_DIGITS = 4
_MAX_CHARS = 300


def plain(numeral: str) -> Written:
    """Digits with or without a point.

    Raises:
        TooCostlyError: more than 300 characters, here and below.
    """
    _refuse_long(numeral)
    whole, _, decimals = numeral.partition(".")
    value = Fraction(int((whole + decimals) or "0"), 10 ** len(decimals))
    return (whole.lstrip("0") or "0") + ("." + decimals if decimals else ""), value, len(decimals)


def scientific(numeral: str) -> Written:
    """`2.5e-3`.

    Raises:
        TooCostlyError: an exponent of more than four digits.
    """
    mantissa, _, exponent = numeral.lower().partition("e")
    _refuse_long(mantissa)
    if len(exponent.lstrip("+-0")) > _MAX_EXPONENT_DIGITS:
        raise TooCostlyError("an exponent of more than four digits")
    decimals = len(mantissa.partition(".")[2])
    value = Fraction(mantissa.rstrip(".")) * Fraction(10) ** int(exponent)
    return numeral.lower(), value, max(0, decimals - int(exponent))


def repeating(numeral: str) -> Written:
    r"""Decimals that repeat: under a line, under dots, or in brackets."""
    _refuse_long(numeral)
    marked = re.sub(r"\\(?:overline|bar)|\s", "", numeral)
    if "\\dot" in marked:
        first = marked.index("\\dot")
        marked = marked[:first] + "{" + re.sub(r"\\dot|[{}]", "", marked[first:]) + "}"
    match = re.fullmatch(r"(\d*)\.(\d*)[({]?(\d+)[)}]?", marked)
    assert match
    whole, fixed, cycle = match.groups()
    value = Fraction(int((whole + fixed) or "0")) + Fraction(int(cycle), 10 ** len(cycle) - 1)
    return f"{whole or 0}.{fixed}({cycle})", value / 10 ** len(fixed), -1


def _refuse_long(numeral: str) -> None:
    if len(numeral) > _MAX_CHARS:
        raise TooCostlyError("a numeral of more than 300 characters")
