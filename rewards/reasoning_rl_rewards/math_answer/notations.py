"""Ratios, times of day and numerals with a base: notations of their own, without lists or sets inside."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reasoning_rl_rewards.math_answer.answers import Clock, Numeral, Ratio, Value
from reasoning_rl_rewards.math_answer.errors import UnreadableError
from reasoning_rl_rewards.math_answer.quantities import read_quantity
from reasoning_rl_rewards.math_answer.tokens import Token


def read_ratio(tokens: Sequence[Token], parts: list[Sequence[Token]]) -> Value:
    suffix = ""
    while tokens and (tokens[-1].kind in ("text", "letters", "word", "sym") or tokens[-1].text == "."):
        suffix = tokens[-1].text.lower().replace(".", "").replace(" ", "") + suffix
        tokens = tokens[:-1]
    text = "".join(token.text for token in tokens)
    digits = [token.text for token in tokens if token.kind == "num"]
    if suffix in ("", "am", "pm", "hours", "h", "oclock", "noon") and _looks_like_clock(text, digits, suffix):
        return Clock(text, suffix if suffix in ("am", "pm") else "")
    if suffix and not all(part and part[-1].kind in ("sym", "letters") for part in parts):
        raise UnreadableError("a ratio with words")
    if not all(parts) or len(parts) > 8:
        raise UnreadableError("a ratio without one of its parts")
    return Ratio(tuple(read_quantity(part) for part in parts))


def _looks_like_clock(text: str, digits: list[str], suffix: str) -> bool:
    if suffix in ("am", "pm"):
        return True
    pieces = text.split(":")
    return (
        len(pieces) in (2, 3)
        and all(piece.isdigit() for piece in pieces)
        and (pieces[1] == "0" or len(pieces[1]) == 2)
        and int(pieces[0]) < 25
        and int(pieces[1]) < 60
        and (len(pieces) == 2 or len(pieces[2]) == 2)
    )


def _base(index: str) -> int | None:
    """The base that an index names: `2`, `two`, `base 2`."""
    index = index.lower().removeprefix("base").strip()
    if index.isascii() and index.isdigit():
        return int(index) if len(index) < 3 else None
    return {"two": 2, "three": 3, "five": 5, "eight": 8, "ten": 10, "sixteen": 16}.get(index)


def read_numeral(tokens: Sequence[Token]) -> Numeral | None:
    """Digits and a base as index: `1011_2`, `2A_{16}`."""
    at = next((position for position, token in enumerate(tokens) if token.text == "_"), 0)
    if not at:
        return None
    base = _base("".join(token.text for token in tokens[at + 1 :] if token.text not in "{}()"))
    if at > 2 and tokens[0].text == "(" and tokens[at - 1].text == ")":
        tokens, at = tokens[1 : at - 1], at - 2
    if base is None:
        return None
    if not all(token.kind in ("num", "sym", "letters", "text", "word") for token in tokens[:at]):
        return None
    digits = "".join(token.text for token in tokens[:at]).upper()
    if not 2 <= base <= 36 or not re.fullmatch(r"[0-9A-Z]+", digits) or len(digits) > 100:
        return None
    if not digits[0].isdigit() and not all(token.kind in ("text", "letters", "num") for token in tokens[:at]):
        return None
    if any(int(digit, 36) >= base for digit in digits):
        return None
    return Numeral(digits, base)
