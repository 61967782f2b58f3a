"""The options that decide what counts as equal; see docs/math-answer.md for every kind of answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Units = Literal["if_given", "required", "ignored"]
Percent = Literal["either", "strict"]
Lists = Literal["any_order", "in_order"]
Arithmetic = Literal["allowed", "refused"]
Decimals = Literal["gold_rounded", "exact"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts as equal.

    Attributes:
        units: `if_given`: an answer without a unit is right where the gold has one and the reverse, two units must agree
            (converted: 1 m is 100 cm). `required`: as the gold, a unit must be there. `ignored`: units are not read.
        percent: `either`: where only one side has a percent sign, 28 % is 28 and 0.28. `strict`: it is 0.28.
        lists: whether the items of a bare list may come in any order.
        decimals: `gold_rounded`: an exact answer, or a longer decimal, equals a gold decimal of four or more significant
            digits when it rounds to it. `exact`: never.
        arithmetic: `refused`: where the gold is a plain number, the answer must be a numeral, not `2+3`.
    """

    units: Units = "if_given"
    percent: Percent = "either"
    lists: Lists = "any_order"
    decimals: Decimals = "gold_rounded"
    arithmetic: Arithmetic = "allowed"


DEFAULT = Policy()
