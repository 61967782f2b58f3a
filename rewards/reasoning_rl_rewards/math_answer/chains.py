r"""Several sides that must say the same: `1/2 = 0.5`, `\sqrt 2 \approx 1.41`. What is wrong in itself is refused."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from reasoning_rl_rewards.math_answer.amounts import is_within
from reasoning_rl_rewards.math_answer.answers import Group, Matrix, Quantity, SetOperation, Value
from reasoning_rl_rewards.math_answer.equality import are_equal
from reasoning_rl_rewards.math_answer.errors import RefusedError
from reasoning_rl_rewards.math_answer.evaluate import constant_value
from reasoning_rl_rewards.math_answer.tree import symbols


def last_of_chain(values: Sequence[Value]) -> Value:
    """The last of several values that must be equal: `1/2 = 0.5`; `6 = 7` is no answer."""
    for value in values[:-1]:
        if not are_equal(values[-1], value):
            raise RefusedError("a chain of different values")
    return values[-1]


def without_formulas(values: list[Value]) -> list[Value]:
    """`A = \\pi r^2 = 25\\pi`: a formula before the constant that it comes to is no second answer."""
    return [value for value in values[:-1] if is_constant(value) or not is_constant(values[-1])] + values[-1:]


def are_sets(values: list[Value]) -> bool:
    return all(isinstance(value, (Group, SetOperation, Matrix)) for value in values)


def is_constant(value: Value) -> bool:
    return not isinstance(value, Quantity) or not symbols(value.node)


def refuse_wrong_rounding(exact: Value, rounded: Value) -> None:
    """Raises RefusedError unless the second is the first with fewer decimals."""
    if not isinstance(exact, Quantity) or not isinstance(rounded, Quantity):
        raise RefusedError("an approximation of what is no number")
    value, decimal = constant_value(exact.node), constant_value(rounded.node)
    if value is None or not isinstance(decimal, Fraction) or not rounded.places:
        raise RefusedError("an approximation that is none")
    if not is_within(value, decimal, Fraction(1, 10**rounded.places)):
        raise RefusedError("an approximation that is wrong")
