"""One answer against one gold text: the path from equal strings to the engine, and its name.

Pure: the result depends on the two texts and the policy. Whether a gold is usable never depends on an answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from reasoning_rl_rewards.math_answer import engine, guard, vetoes
from reasoning_rl_rewards.math_answer.amounts import MIN_DIGITS
from reasoning_rl_rewards.math_answer.answers import Quantity, Value, Verbatim
from reasoning_rl_rewards.math_answer.choice import chosen_letter, gold_letter, several_letters
from reasoning_rl_rewards.math_answer.equality import are_equal
from reasoning_rl_rewards.math_answer.errors import RefusedError, TooCostlyError, UndefinedError, UnreadableError
from reasoning_rl_rewards.math_answer.normalise import normalise
from reasoning_rl_rewards.math_answer.numbers import plain_number
from reasoning_rl_rewards.math_answer.policy import DEFAULT, Policy
from reasoning_rl_rewards.math_answer.reading import read
from reasoning_rl_rewards.math_answer.tree import symbols

#: A numeral and the letter of a unit without a blank: `12m`, `1.5m^2`. In a gold answer that may be a product.
_UNIT_LETTER = re.compile(r"([-+]?[\d.,]{1,40})([mgshlLKNJVW](?:\^\{?[23]\}?)?)\.?")
#: `\\frac{m}{s}` after a numeral.
_UNIT_QUOTIENT = re.compile(
    r"(?<=\d)\s*(?:\\[,;: ])?\s*\\[dt]?frac\{\s*(k?m|c?m\^\{?[23]\}?|mi|ft|k?g)\s*\}\{\s*(s|h|hr|s\^\{?2\}?|c?m\^\{?[23]\}?)\s*\}$"
)
_OPTION = re.compile(r"\s*(?:\\text\s*\{\s*)?(?:\(\s*[A-J]\s*\)|[A-J][.)])\s*\}?\s*(?=\S)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the answer is right, and the path that told: `exact`, `numeric`, `symbolic`, `veto:<name>`."""

    is_right: bool
    path: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """A normalised text; its number, if it is a plain one; its readings, empty with a fault if there is none."""

    text: str
    number: tuple[Fraction, int] | None
    values: tuple[Value, ...] = ()
    fault: str = ""
    is_costly: bool = False
    is_refused: bool = False


def judge(gold: str, answer: str, policy: Policy = DEFAULT) -> Outcome:
    """Compares, cheapest way first."""
    if gold == answer:
        return Outcome(True, "exact")
    left = parsed(gold)
    right = parsed(answer)
    if left.number and right.number:
        return Outcome(_same_numbers(left.number, right.number, policy), "numeric")
    if right.fault == "control characters":
        return Outcome(False, "veto:characters")
    if left.text == right.text:
        return Outcome(True, "exact")
    letter = gold_letter(left.text)
    if letter:
        return Outcome(chosen_letter(right.text) == letter, "exact")
    if (letters := several_letters(left.text)) and several_letters(right.text) == letters:
        return Outcome(True, "exact")
    if right.is_costly or left.is_costly:
        return Outcome(False, "veto:cost")
    if right.is_refused:
        return Outcome(False, "veto:refused")
    if policy.arithmetic == "refused" and left.number and vetoes.is_unevaluated(right.values):
        return Outcome(False, "veto:unevaluated")
    if left.values and right.values:
        outcome = _compared(left, right, policy)
        if outcome.is_right or not _needs_engine(left, right):
            return outcome if outcome.is_right else _read_otherwise(left, right, policy) or outcome
    if not left.values or not right.values:
        return _read_otherwise(left, right, policy) or Outcome(False, "veto:unreadable")
    return _read_otherwise(left, right, policy) or _by_engine(left, right)


def _read_otherwise(left: Parsed, right: Parsed, policy: Policy) -> Outcome | None:
    """`(B) 12` and `C. x = 42` where the gold is no letter, `12m` where it has none: the value alone, if it is right."""
    text = _OPTION.sub("", right.text, count=1)
    text = _UNIT_QUOTIENT.sub(r"\\ \\mathrm{\1/\2}", text, count=1)
    if (numeral := _UNIT_LETTER.fullmatch(text)) and all(map(_is_number, left.values)):
        text = f"{numeral[1]}\\ \\mathrm{{{numeral[2]}}}"
    if text == right.text or not left.values:
        return None
    outcome = _compared(left, parsed(text), policy)
    return outcome if outcome.is_right else None


def _needs_engine(left: Parsed, right: Parsed) -> bool:
    return any(isinstance(value, Verbatim) for side in (left, right) for value in side.values)


def gold_fault(gold: str, policy: Policy = DEFAULT) -> str | None:
    """Why a gold answer is unusable; `None` if it is usable. It must be readable and equal to itself."""
    own = parsed(gold)
    if not own.text:
        return "it is empty"
    if own.number or own.is_costly or gold_letter(own.text):
        return None
    if own.values:
        return None if _equals_itself(own, policy) else "it does not equal itself"
    return f"it cannot be read: {own.fault}"


def _equals_itself(own: Parsed, policy: Policy) -> bool:
    try:
        return are_equal(own.values[0], own.values[0], policy)
    except (UnreadableError, UndefinedError):
        return False


@lru_cache(maxsize=8192)
def parsed(text: str) -> Parsed:
    """Reads a text; never raises."""
    number = plain_number(text)
    if number:
        return _plain(text, number)
    if len(text) > 100_000:
        return Parsed(text, None, fault="too long", is_costly=True)
    try:
        text = normalise(text)
    except UnreadableError as error:
        return Parsed(text, None, fault=str(error))
    number = plain_number(text)
    if number:
        return _plain(text, number)
    if reason := guard.too_long(text):
        return Parsed(text, None, fault=reason, is_costly=True)
    try:
        return Parsed(text, None, tuple(read(text)))
    except TooCostlyError as error:
        return Parsed(text, None, fault=str(error), is_costly=True)
    except RefusedError as error:
        return Parsed(text, None, fault=str(error), is_refused=True)
    except (UnreadableError, UndefinedError, RecursionError) as error:
        return Parsed(text, None, fault=str(error))


def _plain(text: str, number: tuple[Fraction, int]) -> Parsed:
    value, places = number
    return Parsed(text, number, (Quantity(("n", value), places=places, digits=_num_digits(number)),))


def _num_digits(number: tuple[Fraction, int]) -> int:
    """Significant digits of a decimal, 0 of an integer."""
    value, places = number
    return len(str(abs(value.numerator) * 10**places // value.denominator)) if places else 0


def _same_numbers(gold: tuple[Fraction, int], answer: tuple[Fraction, int], policy: Policy) -> bool:
    (value, places), (other, other_places) = gold, answer
    if value == other:
        return True
    if (
        policy.decimals == "exact"
        or _num_digits(gold) < MIN_DIGITS
        or 0 < other_places < places
        or other.denominator == 1
    ):
        return False
    return abs(value - other) <= Fraction(1, 2 * 10**places)


def _compared(gold: Parsed, answer: Parsed, policy: Policy) -> Outcome:
    path = "numeric" if all(map(_is_number, (*gold.values, *answer.values))) else "symbolic"
    for value in gold.values:
        for other in answer.values:
            try:
                if are_equal(value, other, policy):
                    return Outcome(True, path)
            except TooCostlyError:
                return Outcome(False, "veto:cost")
            except (UnreadableError, UndefinedError):
                continue
    return Outcome(False, path)


def _is_number(value: Value) -> bool:
    return isinstance(value, Quantity) and not symbols(value.node)


def _ends_in(gold: str, answer: str) -> bool:
    r"""`\sum_{k=1}^{10} k = 55`: the gold after a sum that has that value."""
    head, _, tail = answer.rpartition("=")
    return (
        bool(head)
        and not engine.is_unevaluated(tail)
        and judge(gold, tail.strip()).is_right
        and engine.same(tail, head)
    )


def _by_engine(gold: Parsed, answer: Parsed) -> Outcome:
    if engine.is_unevaluated(answer.text) and not engine.is_unevaluated(gold.text):
        is_right = _ends_in(gold.text, answer.text)
        return Outcome(is_right, "symbolic" if is_right else "veto:unevaluated")
    if not (engine.is_unevaluated(gold.text) or engine.is_unevaluated(answer.text)):
        return Outcome(False, "veto:unreadable")
    if guard.too_costly_for_engine(answer.text):
        return Outcome(False, "veto:cost")
    is_right = engine.same(gold.text, answer.text)
    return Outcome(is_right, "symbolic" if is_right or engine.readable(answer.text) else "veto:unreadable")
