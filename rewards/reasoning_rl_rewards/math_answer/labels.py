"""The left side of an assignment: what may stand before `=` without being part of the value."""

from __future__ import annotations

from collections.abc import Sequence

from reasoning_rl_rewards.math_answer.tokens import Token, spell
from reasoning_rl_rewards.math_answer.words import NEGATIONS

_OPERATORS = frozenset("_':|^")
_WORKED_OUT = frozenset(("\\lim", "\\sum", "\\prod", "\\int"))
_COMMANDS = frozenset(("\\angle", "\\triangle", "\\max", "\\min", "\\gcd", "\\lcm", "\\sin", "\\cos", "\\tan", "\\det"))


def is_label(tokens: Sequence[Token]) -> bool:
    """A letter with indices, a function of letters, a tuple of letters, a few words; no sum, no product with numbers."""
    if not tokens or (len(tokens) == 1 and tokens[0].text in ("i", "\\pi", "\\infty")):
        return False
    depth = 0
    has_name = False
    opened: list[bool] = []  # whether numbers may stand in each open bracket: arguments and indices, not fractions
    for position, token in enumerate(tokens):
        depth += {"open": 1, "close": -1}.get(token.kind, 0)
        if token.kind == "open":
            opened.append(token.text != "{" or (position > 0 and tokens[position - 1].text in ("_", "^")))
        elif token.kind == "close":
            opened.pop()
        if token.kind in ("sym", "letters"):
            has_name = True
        elif token.kind in ("text", "word"):
            if set(token.text.lower().split()) & NEGATIONS:
                return False
            has_name = True
        elif token.kind in ("open", "close") or token.text in _COMMANDS:
            continue
        elif token.kind == "num":
            after_index = position and tokens[position - 1].text == "_"
            if not all(opened) or (not depth and not after_index):
                return False
        elif token.text == "^":
            following = "".join(t.text for t in tokens[position + 1 : position + 5])
            if not following.startswith(("{-1}", "'", "{'")):
                return False
        elif token.text == "-" and position and tokens[position - 1].text == "{":
            continue
        elif (
            (token.kind == "op" and token.text not in _OPERATORS and not depth)
            or (token.kind == "sep" and not depth and token.text != ",")
            or (token.kind == "rel" and not depth)
        ):
            return False
    return has_name and not _is_bare_sum(tokens) and not _is_worked_out(tokens)


def _is_worked_out(tokens: Sequence[Token]) -> bool:
    r"""A limit or sum of something that has a value of its own, `\lim_{x \to 0} x`; that of `f(x)` or `a_n` is a name."""
    if not any(token.text in _WORKED_OUT for token in tokens):
        return False
    depth = 0
    for position, token in enumerate(tokens):
        depth += {"open": 1, "close": -1}.get(token.kind, 0)
        follows = tokens[position + 1].text if position + 1 < len(tokens) else ""
        if not depth and token.kind == "sym" and follows in ("(", "_"):
            return False
    return True


def _is_bare_sum(tokens: Sequence[Token]) -> bool:
    """`(x+1)`, `(x+1)(x-2)`: brackets that group, not those of arguments."""
    return tokens[0].kind == "open" and any(token.text in ("+", "-", "*", "/") for token in tokens)


def label_text(tokens: Sequence[Token]) -> str:
    """The label in one spelling, without braces."""
    return spell([token for token in tokens if token.text not in ("{", "}")])
