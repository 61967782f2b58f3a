"""One quantity from tokens: an expression with a unit, a currency or a percent sign around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from reasoning_rl_rewards.math_answer.answers import Quantity
from reasoning_rl_rewards.math_answer.commands import FUNCTIONS
from reasoning_rl_rewards.math_answer.expression import parse_expression
from reasoning_rl_rewards.math_answer.tokens import Token
from reasoning_rl_rewards.math_answer.units import Unit, is_unit_letters, is_unit_word, read_unit

_CURRENCIES = frozenset(("\\$", "\\pounds", "\\euro", "\\yen", "\\rupee", "\\cent"))
_IN_UNITS = frozenset(("^", "{", "}", "/", "*", "\\circ", "-", "(", ")", ".")) | _CURRENCIES
_PERCENT_WORDS = frozenset(("percent", "per cent", "percents", "pct", "percentage"))


def read_quantity(tokens: Sequence[Token]) -> Quantity:
    """The quantity of all tokens.

    Raises:
        UnreadableError: they are none.
    """
    tokens = list(tokens)
    currency, tokens = _leading_currency(tokens)
    core, is_percent = _without_percent(tokens)
    if not is_percent and currency is None:
        compound = _compound(core)
        if compound:
            return compound
        core, currency = _without_unit(core)
    node = parse_expression(core)
    places, digits = _decimals(core)
    letters = core[0].text if len(core) == 1 and core[0].kind in ("letters", "sym") else ""
    return Quantity(node, currency, is_percent, places, digits, letters)


def _decimals(tokens: Sequence[Token]) -> tuple[int, int]:
    """Decimals and significant digits of a plain decimal with or without a sign."""
    numerals = [token for token in tokens if token.text not in ("-", "+")]
    if len(numerals) != 1 or len(tokens) > 2 or numerals[0].kind != "num" or numerals[0].places < 1:
        return 0, 0
    digits = numerals[0].text.lower().partition("e")[0].replace(".", "").lstrip("0")
    return numerals[0].places, len(digits)


def _leading_currency(tokens: list[Token]) -> tuple[Unit | None, list[Token]]:
    at = 1 if len(tokens) > 2 and tokens[0].text in ("-", "+") else 0
    if len(tokens) > at + 1 and tokens[at].text in _CURRENCIES:
        rest = tokens[:at] + tokens[at + 1 :]
        unit = read_unit(tokens[at].text)
        if rest[-1].text == tokens[at].text:
            rest = rest[:-1]
        last = rest[-1]
        if unit and last.kind in ("word", "text", "letters") and (word := read_unit(last.text)) is not None:
            rest = rest[:-1]  # \$5 dollars, \$5 million
            unit = replace(unit, scale=word.scale)
        return unit, rest
    if len(tokens) > 1 and tokens[0].text.rstrip(".") in ("Rs", "USD", "EUR", "GBP", "INR", "CNY", "JPY", "RMB"):
        rest = tokens[2:] if tokens[1].text == "." else tokens[1:]
        return read_unit(tokens[0].text), rest
    return None, tokens


def _without_percent(tokens: list[Token]) -> tuple[list[Token], bool]:
    if len(tokens) > 1 and (tokens[-1].text == "\\%" or tokens[-1].text.lower() in _PERCENT_WORDS):
        return tokens[:-1], True
    return tokens, False


def _without_unit(tokens: list[Token]) -> tuple[list[Token], Unit | None]:
    """What stands before the longest tail that is a unit."""
    depth = 0
    for position, token in enumerate(tokens):
        if position and not depth and _starts_unit(tokens, position) and all(_in_unit(t) for t in tokens[position:]):
            core = tokens[:position]
            if core[-1].text == "*":
                core = core[:-1]
            plain = token.kind in ("letters", "sym")
            unit = read_unit(" ".join(t.text for t in tokens[position:]).removeprefix("^"))
            if token.text in ("^", "\\circ") and any(t.text[1:] in FUNCTIONS - {"sqrt"} for t in core):
                unit = None  # the degrees belong to the argument of a function
            if unit is not None and core and not (plain and _has_letters(core)):
                return core, unit
        depth += {"open": 1, "close": -1}.get(token.kind, 0)
    return tokens, None


def _has_letters(core: Sequence[Token]) -> bool:
    return any(token.kind in ("sym", "letters") and token.text not in ("\\pi", "e") for token in core)


def _starts_unit(tokens: Sequence[Token], position: int) -> bool:
    token = tokens[position]
    if token.kind == "text" or (token.kind == "word" and token.text[0].isalpha()):
        return True
    if token.kind in ("letters", "sym"):
        return is_unit_letters(token.text, token.spaced)
    if token.text == "^":
        return any(t.text == "\\circ" for t in tokens[position + 1 : position + 3])
    return token.text in _CURRENCIES or token.text == "\\circ"


def _in_unit(token: Token) -> bool:
    if token.kind in ("text", "word"):
        return True
    if token.kind in ("letters", "sym"):
        return is_unit_letters(token.text, True) or is_unit_word(token.text) or token.text in "CF"
    if token.kind == "num":
        return token.text in "123"
    return token.text in _IN_UNITS


def _compound(tokens: list[Token]) -> Quantity | None:
    """`3 hours 20 minutes`: numerals with units of one dimension, from large to small."""
    total, dimensions, factor = Fraction(0), None, Fraction(0)
    position = pairs = 0
    while position + 1 < len(tokens):
        numeral, name = tokens[position], tokens[position + 1]
        if numeral.kind != "num" or numeral.value is None or name.kind not in ("text", "word", "letters", "sym"):
            return None
        unit = read_unit(name.text) if name.kind != "sym" or is_unit_letters(name.text, True) else None
        if unit is None or (dimensions is not None and (dict(unit.dimensions) != dimensions or unit.factor >= factor)):
            return None
        dimensions, factor = dict(unit.dimensions), unit.factor
        total += numeral.value * unit.factor
        pairs += 1
        position += 2
    if position != len(tokens) or pairs < 2 or dimensions is None:
        return None
    return Quantity(("n", total), Unit(dimensions, Fraction(1)))
