"""math-verify and sympy, for what the own grammar cannot read: sums, integrals, limits, set builders.

Only behind the guard, and only in a grading process: it has no limit of time of its own, the process is killed from outside.
"""

from __future__ import annotations

import logging
import os
import re
from functools import lru_cache
from typing import Any

from reasoning_rl_rewards.math_answer.guard import too_costly_for_engine

#: Commands whose reading by the engine is trusted. It skips what it does not know and reads the number beside it.
_KNOWN = frozenset([
    "frac", "dfrac", "tfrac", "sqrt", "sum", "prod", "int", "lim", "infty", "to", "rightarrow", "cdot", "times",
    "pi", "left", "right", "sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "exp", "arcsin", "arccos",
    "arctan", "sinh", "cosh", "tanh", "binom", "dbinom", "tbinom", "alpha", "beta", "theta", "lambda", "mu",
    "n", "mid", "in", "mathbb", "cup", "cap", "setminus", "begin", "end", "pmatrix", "bmatrix", "vmatrix",
    "det", "le", "ge", "leq", "geq", "lt", "gt", "ne", "neq", "pm", "lfloor", "rfloor", "lceil", "rceil",
    "partial", "limits", "displaystyle", "quad", "qquad", ",", ";", "!", ":", "{", "}", "|", "max", "min",
    "gcd", "lcm", "operatorname", "mathrm", "phi", "omega", "epsilon", "delta"
])  # fmt: skip
_COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)
_WORD = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{4,}")
_UNEVALUATED = re.compile(r"\\(?:sum|prod|int|iint|iiint|oint|lim|det|begin\s*\{vmatrix\})")
#: Digits that must agree; math-verify's default of 6 decimals makes all small numbers equal.
_DIGITS = 12
#: Its alarms work in the main thread only and take no fraction of a second; the process is killed from outside.
_NO_ALARM: dict[str, Any] = {"parsing_timeout": None}


def load() -> None:
    """Imports sympy and math-verify."""
    os.environ.setdefault("SYMPY_GROUND_TYPES", "python")  # gmpy2 holds the interpreter for minutes, or aborts it
    import latex2sympy2_extended  # noqa: F401
    import math_verify  # noqa: F401

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    logging.getLogger("latex2sympy2_extended").setLevel(logging.CRITICAL)


def readable(text: str) -> bool:
    """Whether the engine reads a text as a whole."""
    return bool(_parsed(text))


def is_unevaluated(text: str) -> bool:
    """Whether a text leaves the work of the question to the grader: a sum, an integral, a limit, a determinant."""
    return bool(_UNEVALUATED.search(text))


def same(gold: str, answer: str) -> bool:
    """Whether two texts are equal to the engine."""
    left, right = _parsed(gold), _parsed(answer)
    if not left or not right:
        return False
    from math_verify import verify

    try:
        return bool(verify(list(left), list(right), float_rounding=_DIGITS, numeric_precision=30, timeout_seconds=None))
    except (RecursionError, ValueError, TypeError, ArithmeticError, AttributeError):
        return False


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[Any, ...]:
    """What math-verify makes of a text; empty when it would read only a part of it."""
    if too_costly_for_engine(text) or _WORD.search(text) or not set(_COMMAND.findall(text)) <= _KNOWN:
        return ()
    load()
    from math_verify import LatexExtractionConfig, parse

    config = LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)
    try:
        found = parse(f"\\boxed{{{text}}}", [config], fallback_mode="no_fallback", **_NO_ALARM)
    except (RecursionError, ValueError, TypeError, ArithmeticError, AttributeError):
        return ()
    return tuple(found)
