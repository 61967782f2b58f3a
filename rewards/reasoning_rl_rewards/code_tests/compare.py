"""Compares what a program gave with what was expected. Both are plain data or bytes; nothing here runs a program.

Exact by default. Numbers may differ only where a tolerance is declared, and NaN equals nothing, itself included.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal

#: A decimal numeral in ASCII. Not `nan`, `inf`, `0x3`, `1_000` or digits of other scripts, which `float` would read.
_NUMERAL = re.compile(rb"[+-]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][+-]?\d{1,4})?")


def same_output(
    found: bytes, expected: str, compare: Literal["tokens", "exact"], float_tolerance: float | None = None
) -> bool:
    """Whether a program printed what it should.

    `tokens`: the same words in the same order, blanks and line ends aside; with a tolerance, words that are decimal
    numerals on both sides may differ by it. `exact`: the same bytes, one newline at the end aside.
    """
    wanted = expected.encode("utf-8", "surrogatepass")
    if compare == "exact":
        return found.removesuffix(b"\n") == wanted.removesuffix(b"\n")
    left, right = found.split(), wanted.split()
    if float_tolerance is None:
        return left == right
    return len(left) == len(right) and all(
        a == b or _close_numerals(a, b, float_tolerance) for a, b in zip(left, right, strict=True)
    )


def same_value(found: Any, expected: Any, *, float_tolerance: float | None = None, tuple_as_list: bool = False) -> bool:
    """Whether a returned value is the expected one: equal as Python's `==` has it, item by item.

    So `3 == 3.0` and `0.0 == -0.0`, while `3` is not `"3"` and, without `tuple_as_list`, `(1,)` is not `[1]`. With a
    tolerance, floats may differ by it (relative above 1, absolute below), but not inside of sets and dict keys.
    """
    if isinstance(expected, (float, int)) and isinstance(found, (float, int)):
        if found == expected:
            return True
        if float_tolerance is None or float not in (type(found), type(expected)):
            return False
        return _close(found, expected, float_tolerance)
    if isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)):
        if type(found) is not type(expected) and not tuple_as_list:
            return False
        return len(found) == len(expected) and all(
            same_value(a, b, float_tolerance=float_tolerance, tuple_as_list=tuple_as_list)
            for a, b in zip(found, expected, strict=True)
        )
    if isinstance(expected, dict) and isinstance(found, dict):
        return len(found) == len(expected) and all(
            key in found and same_value(found[key], item, float_tolerance=float_tolerance, tuple_as_list=tuple_as_list)
            for key, item in expected.items()
        )
    return found == expected


def _close_numerals(found: bytes, expected: bytes, tolerance: float) -> bool:
    if not (_NUMERAL.fullmatch(found) and _NUMERAL.fullmatch(expected)):
        return False
    return _close(float(found), float(expected), tolerance)


def _close(found: float, expected: float, tolerance: float) -> bool:
    try:
        a, b = float(found), float(expected)
    except OverflowError:
        return False
    return math.isfinite(a) and math.isfinite(b) and abs(a - b) <= tolerance * max(1.0, abs(b))
