"""What a text costs to read and to compare, told from the text alone, before any parser sees it.

Static and linear. The bounds are far beyond honest answers; what is over them can only equal the gold letter by letter.
"""

from __future__ import annotations

import re

#: Own grammar: linear, with bounded arithmetic.
MAX_CHARS = 1200
#: The engine: sympy's cost grows fast.
MAX_ENGINE_CHARS = 300
_MAX_ENGINE_DEPTH = 10
_MAX_ENGINE_TERMS = 30
_DIGITS = re.compile(r"\d+")
_POWER_TOWER = re.compile(r"\^\s*(?:\{[^{}]*\^|\\?[\w.]+\s*\^|\([^()]*\^)")
_LARGE_POWER = re.compile(r"\^\s*\{?\s*[-+(]*\s*\d{4,}")
_SCIENTIFIC = re.compile(r"\d[eE][-+]?\d{4,}")
_FACTORIAL = re.compile(r"!\s*!\s*!|\d{4,}\s*!|\)\s*!|\}\s*!")
_COSTLY = re.compile(r"\\(?:sum|prod|int|iint|iiint|oint|lim|binom|dbinom|tbinom|Gamma|zeta)\b")
_LARGE_BINOMIAL = re.compile(r"binom\D{0,3}\d{4,}")


def too_long(text: str) -> str | None:
    """Why the own grammar does not read a text; `None` if it does."""
    return f"more than {MAX_CHARS} characters" if len(text) > MAX_CHARS else None


def too_costly_for_engine(text: str) -> str | None:
    """Why the engine does not get a text; `None` if it does."""
    if len(text) > MAX_ENGINE_CHARS:
        return f"more than {MAX_ENGINE_CHARS} characters"
    if max(map(len, _DIGITS.findall(text)), default=0) > 30:
        return "a number of more than 30 digits"
    for pattern, reason in (
        (_POWER_TOWER, "a power in an exponent"),
        (_LARGE_POWER, "an exponent of more than three digits"),
        (_SCIENTIFIC, "an exponent of more than three digits"),
        (_FACTORIAL, "a large factorial"),
        (_LARGE_BINOMIAL, "a large binomial"),
    ):
        if pattern.search(text):
            return reason
    if len(_COSTLY.findall(text)) > 2:
        return "more than two sums, integrals or limits"
    if text.count("+") + text.count("-") + text.count(",") > _MAX_ENGINE_TERMS:
        return f"more than {_MAX_ENGINE_TERMS} terms"
    depth = deepest = 0
    for character in text:
        depth += (character in "({[") - (character in ")}]")
        deepest = max(deepest, depth)
    return f"nested more than {_MAX_ENGINE_DEPTH} deep" if deepest > _MAX_ENGINE_DEPTH else None
