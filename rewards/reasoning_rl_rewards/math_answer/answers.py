"""What an answer can be: a quantity, words, a list, a set, an interval, a matrix, a relation, a ratio, a time, a numeral.

Plain data, read by `reading`, compared by `equality`.
"""

from __future__ import annotations

from dataclasses import dataclass

from reasoning_rl_rewards.math_answer.tree import Node
from reasoning_rl_rewards.math_answer.units import Unit


@dataclass(frozen=True, slots=True)
class Quantity:
    """An expression. `places` and `digits` are decimals and significant digits of a plain decimal, else 0."""

    node: Node
    unit: Unit | None = None
    is_percent: bool = False
    places: int = 0
    digits: int = 0
    letters: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """Text, in lower case, without articles and punctuation."""

    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """Items between brackets: `(` tuple or open interval, `[`, `{` set, empty for a bare list."""

    opened: str
    closed: str
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class SetOperation:
    r"""`cup`, `cap` or `setminus` of sets; `builder` of the one condition of a set builder."""

    operator: str
    parts: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of a matrix or vector."""

    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """Two or more sides: an equation, an inequality, a chain of them. Operators: = < > <= >= !=."""

    operators: tuple[str, ...]
    sides: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Labelled:
    r"""`x = 5`, `f(x) = x^2`, `(p, q) = (3, 2)`, `k \in \{1, 2\}`."""

    label: str
    value: Value


@dataclass(frozen=True, slots=True)
class Ratio:
    """`2:3`, `1:2:3`."""

    parts: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day or a duration as it stands: `12:30`, `6:05:10`, with `am` or `pm`."""

    text: str
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Numeral:
    """Digits in a base that is written with them."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Congruence:
    r"""`x \equiv 3 \pmod 7`; `3 \pmod 7` has no left side, which is empty words."""

    left: Value
    right: Value
    modulus: Value

    @property
    def has_left(self) -> bool:
        return self.left != Words("")


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Known symbols in an order that no other kind covers; equal only to the same symbols."""

    text: str


Value = (
    Verbatim
    | Quantity
    | Words
    | Group
    | SetOperation
    | Matrix
    | Relation
    | Labelled
    | Ratio
    | Clock
    | Numeral
    | Congruence
)
