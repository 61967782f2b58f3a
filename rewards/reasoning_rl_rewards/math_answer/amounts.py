"""When two quantities are equal: units, percent signs, degrees, rounded decimals; times of day."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from reasoning_rl_rewards.math_answer.answers import Clock, Quantity, Value
from reasoning_rl_rewards.math_answer.evaluate import constant_value
from reasoning_rl_rewards.math_answer.identity import same
from reasoning_rl_rewards.math_answer.policy import Policy
from reasoning_rl_rewards.math_answer.tree import Node
from reasoning_rl_rewards.math_answer.values import mp

#: Significant digits from which a gold decimal is taken for a rounded value.
MIN_DIGITS = 4
_DEGREE = ("/", ("s", "\\pi"), ("n", Fraction(180)))


def is_within(exact: Any, decimal: Fraction, width: Fraction) -> bool:
    """Whether a real number lies within `width` of a decimal."""
    if isinstance(exact, Fraction):
        return abs(exact - decimal) <= width
    if getattr(exact, "imag", 0):
        return False
    context = mp()
    return bool(
        abs(exact - context.mpf(decimal.numerator) / decimal.denominator)
        <= context.mpf(width.numerator) / width.denominator
    )


def same_quantity(gold: Quantity, answer: Quantity, policy: Policy) -> bool:
    if policy.units == "required" and (gold.unit is not None) and answer.unit is None and gold.unit.dimensions:
        return False
    gold_node, answer_node = _scaled(gold), _scaled(answer)
    if gold.unit and answer.unit and policy.units != "ignored" and gold.unit.is_known and answer.unit.is_known:
        if dict(gold.unit.dimensions) != dict(answer.unit.dimensions):
            if gold.unit.dimensions and answer.unit.dimensions:
                return _degrees(gold, answer)
        elif gold.unit.factor != answer.unit.factor:
            gold_node = ("*", gold_node, ("n", gold.unit.factor))
            answer_node = ("*", answer_node, ("n", answer.unit.factor))
    if gold.is_percent != answer.is_percent:
        if any(side.unit is not None and side.unit.is_known and side.unit.dimensions for side in (gold, answer)):
            return False
        return _one_percent(gold, answer, policy)
    if _same_or_rounded(gold, gold_node, answer, answer_node, policy):
        return True
    if (gold.unit is None or answer.unit is None) and (gold_node, answer_node) != (gold.node, answer.node):
        return _same_or_rounded(gold, gold.node, answer, answer.node, policy)  # 5 where millions were asked for
    return _degrees(gold, answer)


def _scaled(quantity: Quantity) -> Node:
    """The number with the words that belong to it: 5 million."""
    if quantity.unit is None or quantity.unit.scale == 1:
        return quantity.node
    return ("*", quantity.node, ("n", quantity.unit.scale))


def _degrees(gold: Quantity, answer: Quantity) -> bool:
    """45° against π/4: only where the side without the sign is written with π."""
    for one, other in ((gold, answer), (answer, gold)):
        if one.unit and one.unit.is_angle_in_degrees and _is_plain_angle(other) and _mentions_pi(other.node):
            return same(("*", one.node, _DEGREE), other.node)
    return False


def _is_plain_angle(quantity: Quantity) -> bool:
    return quantity.unit is None or dict(quantity.unit.dimensions) == {"radian": 1}


def _mentions_pi(node: Node) -> bool:
    return "\\pi" in str(node)


def _one_percent(gold: Quantity, answer: Quantity, policy: Policy) -> bool:
    hundredth = ("n", Fraction(1, 100))
    gold_node, answer_node = gold.node, answer.node
    if policy.percent == "either" and _same_or_rounded(gold, gold_node, answer, answer_node, policy):
        return True
    if gold.is_percent:
        gold_node = ("*", gold_node, hundredth)
    else:
        answer_node = ("*", answer_node, hundredth)
    return same(gold_node, answer_node)


def _same_or_rounded(gold: Quantity, gold_node: Node, answer: Quantity, answer_node: Node, policy: Policy) -> bool:
    if same(gold_node, answer_node):
        return True
    if policy.decimals == "exact" or gold.digits < MIN_DIGITS or gold_node is not gold.node:
        return False
    if answer.places and answer.places < gold.places:
        return False
    exact, decimal = constant_value(answer_node), constant_value(gold_node)
    if exact is None or not isinstance(decimal, Fraction) or (isinstance(exact, Fraction) and exact.denominator == 1):
        return False
    return is_within(exact, decimal, Fraction(1, 2 * 10**gold.places))


def same_time(gold: Clock, answer: Clock) -> bool:
    """a.m. and p.m. must agree where both are given; 14:30 is 2:30 p.m."""
    if gold.suffix and answer.suffix:
        return _minutes(gold) == _minutes(answer)
    return _parts(gold) == _parts(answer) or (
        (bool(gold.suffix) or bool(answer.suffix)) and _minutes(gold) == _minutes(answer)
    )


def _parts(clock: Clock) -> list[int]:
    parts = [int(part) for part in clock.text.split(":") if part.isdigit()]
    return [*parts, 0, 0][:3]


def _minutes(clock: Clock) -> list[int]:
    hours, *rest = _parts(clock)
    if clock.suffix:
        hours = hours % 12 + (12 if clock.suffix == "pm" else 0)
    return [hours, *rest]


def same_duration(gold: Value, answer: Value) -> bool:
    """`2:30` against `2 hours 30 minutes`."""
    clock, other = (gold, answer) if isinstance(gold, Clock) else (answer, gold)
    if not isinstance(clock, Clock) or clock.suffix or not isinstance(other, Quantity) or not other.unit:
        return False
    hours, minutes, seconds = _parts(clock)
    if dict(other.unit.dimensions) != {"time": 1}:
        return False
    return constant_value(("*", other.node, ("n", other.unit.factor))) == 3600 * hours + 60 * minutes + seconds


def same_hour(gold: Value, answer: Value) -> bool:
    """`5 p.m.` against 5."""
    clock, other = (gold, answer) if isinstance(gold, Clock) else (answer, gold)
    if not isinstance(clock, Clock) or not clock.suffix or not isinstance(other, Quantity) or other.unit:
        return False
    hours, *rest = _parts(clock)
    return not any(rest) and constant_value(other.node) == hours
