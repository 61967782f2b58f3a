"""When two answers are equal: kind by kind, the gold first. No parser and no sympy; works on what `reading` made.

What cannot be decided here raises, and is left to the engine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from reasoning_rl_rewards.math_answer.amounts import same_duration, same_hour, same_quantity, same_time
from reasoning_rl_rewards.math_answer.answers import (
    Clock,
    Congruence,
    Group,
    Labelled,
    Matrix,
    Numeral,
    Quantity,
    Ratio,
    Relation,
    SetOperation,
    Value,
    Words,
)
from reasoning_rl_rewards.math_answer.errors import UndefinedError
from reasoning_rl_rewards.math_answer.evaluate import branch, constant_value, evaluate, has_plus_minus
from reasoning_rl_rewards.math_answer.identity import same
from reasoning_rl_rewards.math_answer.policy import DEFAULT, Policy
from reasoning_rl_rewards.math_answer.realsets import is_set_like, real_set, real_set_named, same_set, variable
from reasoning_rl_rewards.math_answer.relations import same_equation, same_relation
from reasoning_rl_rewards.math_answer.tree import symbols
from reasoning_rl_rewards.math_answer.values import equal, mp
from reasoning_rl_rewards.math_answer.words import number_word, said_of_it, same_names

#: A label that says something of a letter, `|x|`, `sin x`, and is no name.
_OF_A_LETTER = re.compile(r"\| \w \||\\(?:sin|cos|tan)")
_FUNCTION = re.compile(r"(\w) \( ")
_INFINITY = ("s", "\\infty")
_INFINITIES = {"infinity": _INFINITY, "positive infinity": _INFINITY, "negative infinity": ("neg", _INFINITY)}


def are_equal(gold: Value, answer: Value, policy: Policy = DEFAULT) -> bool:
    """Whether the answer is the gold one.

    Raises:
        TooCostlyError: that takes too much work to tell.
    """
    gold, answer = _expanded(gold), _expanded(answer)
    if gold == answer:
        return True
    if isinstance(gold, Labelled) or isinstance(answer, Labelled):
        return _labelled(gold, answer, policy)
    if isinstance(gold, Words) or isinstance(answer, Words):
        return _words(gold, answer)
    if is_set_like(gold) or is_set_like(answer):
        return _sets(gold, answer, policy)
    if isinstance(gold, Quantity) and isinstance(answer, Quantity):
        return same_quantity(gold, answer, policy)
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return same_relation(gold, answer)
    if isinstance(gold, Matrix) or isinstance(answer, Matrix):
        return _matrices(gold, answer, policy)
    if isinstance(gold, Ratio) or isinstance(answer, Ratio):
        return _ratios(gold, answer, policy)
    if isinstance(gold, Group) or isinstance(answer, Group):
        return _groups(gold, answer, policy)
    if isinstance(gold, Congruence) and isinstance(answer, Quantity):
        return are_equal(gold.right, answer, policy)
    if isinstance(gold, Quantity) and isinstance(answer, Congruence):
        return not answer.has_left and are_equal(gold, answer.right, policy)
    if isinstance(gold, Congruence) and isinstance(answer, Congruence):
        return _congruences(gold, answer, policy)
    if isinstance(gold, Clock) and isinstance(answer, Clock):
        return same_time(gold, answer)
    if isinstance(gold, Clock) or isinstance(answer, Clock):
        return same_duration(gold, answer) or same_hour(gold, answer)
    if isinstance(gold, Numeral) and isinstance(answer, Numeral):
        return gold.base == answer.base and int(gold.digits, gold.base) == int(answer.digits, answer.base)
    return False


def _expanded(value: Value) -> Value:
    r"""\pm as the list of both values; a list within a list stays what it is."""
    if isinstance(value, Quantity) and has_plus_minus(value.node):
        return Group("", "", tuple(_branches(value)))
    if isinstance(value, Group) and value.opened == "(" and (pair := _both_tuples(value)):
        return Group("", "", pair)
    if isinstance(value, Group) and value.opened in ("", "{"):
        items: list[Value] = []
        for item in value.items:
            if isinstance(item, Group) and item.opened == "(" and (pair := _both_tuples(item)):
                items += pair
                continue
            inner = item.value if isinstance(item, Labelled) else item
            if isinstance(inner, Quantity) and has_plus_minus(inner.node):
                both = _branches(inner)
                items += [Labelled(item.label, one) for one in both] if isinstance(item, Labelled) else both
            else:
                items.append(item)
        return Group(value.opened, value.closed, tuple(items))
    return value


def _both_tuples(value: Group) -> tuple[Value, ...]:
    r"""`(\pm 1, 0)` as two tuples; with several signs both would have to be told apart, so nothing."""
    at = [i for i, item in enumerate(value.items) if isinstance(item, Quantity) and has_plus_minus(item.node)]
    if len(at) != 1:
        return ()
    item = value.items[at[0]]
    assert isinstance(item, Quantity)
    before, after = value.items[: at[0]], value.items[at[0] + 1 :]
    return tuple(Group(value.opened, value.closed, (*before, one, *after)) for one in _branches(item))


def _branches(value: Quantity) -> list[Quantity]:
    return [Quantity(branch(value.node, upper), value.unit, value.is_percent) for upper in (True, False)]


def _labelled(gold: Value, answer: Value, policy: Policy) -> bool:
    """A name before the value is not compared with none; two plain letters must be the same."""
    if isinstance(gold, Labelled) and isinstance(answer, Labelled):
        if gold.label != answer.label and not _same_role(gold, answer):
            return False
        return are_equal(gold.value, answer.value, policy)
    if isinstance(gold, Labelled):
        if isinstance(answer, Relation) and set(answer.operators) == {"="}:
            return same_equation(gold, answer)
        if is_set_like(answer) and variable(answer) not in (None, gold.label):
            return False
        return are_equal(gold.value, answer, policy)
    assert isinstance(answer, Labelled)
    if is_set_like(gold) and variable(gold) not in (None, answer.label):
        return False
    if isinstance(gold, Relation) and "=" in gold.operators:
        return same_equation(answer, gold)
    return are_equal(gold, answer.value, policy)


def _same_role(gold: Labelled, answer: Labelled) -> bool:
    """Two letters name two things, as `x` and `|x|` or `f(x)` and `g(x)` do; `y = x^2` and `f(x) = x^2` do not, nor do a letter and words."""
    if bool(_OF_A_LETTER.search(gold.label)) != bool(_OF_A_LETTER.search(answer.label)):
        return False
    if _is_letter(gold.label) and _is_letter(answer.label):
        return "y" in (gold.label, answer.label) and is_set_like(gold) and is_set_like(answer)
    names = [_FUNCTION.match(label) for label in (gold.label, answer.label)]
    return not (names[0] and names[1] and names[0][1].casefold() != names[1][1].casefold())


def _is_letter(label: str) -> bool:
    return len(label.split()) == 1 or "_" in label


def _words(gold: Value, answer: Value) -> bool:
    if isinstance(gold, Words) and isinstance(answer, Words):
        return gold.text == answer.text or (
            (len(gold.text) > 4 and gold.text.removesuffix("s") == answer.text.removesuffix("s"))
            or same_names(gold.text, answer.text)
            or said_of_it(answer.text) == gold.text
        )
    words, other = (gold, answer) if isinstance(gold, Words) else (answer, gold)
    assert isinstance(words, Words)
    if (named := real_set_named(words.text)) and (described := real_set(other)) is not None:
        return same_set(named, described)
    if isinstance(other, Group) and not other.items:
        return words.text in ("no solution", "empty set", "no real solution")
    if not isinstance(other, Quantity):
        return False
    if words.text in _INFINITIES:
        return other.node == _INFINITIES[words.text]
    number = number_word(words.text)
    if number is not None:
        return constant_value(other.node) == number
    return bool(other.letters) and other.letters.casefold() == words.text


def _sets(gold: Value, answer: Value, policy: Policy) -> bool:
    left, right = variable(gold), variable(answer)
    if left and right and left != right:
        return False
    gold_set, answer_set = real_set(gold), real_set(answer)
    if gold_set is not None and answer_set is not None:
        return same_set(gold_set, answer_set)
    if isinstance(gold, SetOperation) and isinstance(answer, SetOperation):
        if gold.operator != answer.operator:
            return False
        if gold.operator == "setminus":
            return _in_order(gold.parts, answer.parts, policy)
        return _any_order(gold.parts, answer.parts, policy)
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return same_relation(gold, answer)
    if isinstance(gold, Group) and isinstance(answer, Group):
        return _groups(gold, answer, policy)
    return _half_open(gold, answer, policy) or _half_open(answer, gold, policy)


def _half_open(relation: Value, group: Value, policy: Policy) -> bool:
    """`a < x <= b` with letters as ends against `(a, b]`."""
    if not isinstance(relation, Relation) or not isinstance(group, Group) or len(relation.sides) != 3:
        return False
    if group.opened not in ("(", "[") or len(group.items) != 2:
        return False
    brackets = ("<=" if group.opened == "[" else "<", "<=" if group.closed == "]" else "<")
    ends = (relation.sides[0], relation.sides[2])
    return relation.operators == brackets and _in_order(ends, group.items, policy)


def _matrices(gold: Value, answer: Value, policy: Policy) -> bool:
    gold, answer = _as_matrix(gold), _as_matrix(answer)
    for one, other in ((gold, answer), (answer, gold)):
        if isinstance(one, Quantity) and isinstance(other, Matrix):
            return constant_value(one.node) == 0 and all(_is_zero(item) for row in other.rows for item in row)
    if not isinstance(gold, Matrix) or not isinstance(answer, Matrix):
        return False
    shapes = (len(gold.rows), len(gold.rows[0])), (len(answer.rows), len(answer.rows[0]))
    if shapes[0] != shapes[1] and not (1 in shapes[0] and 1 in shapes[1]):
        return False
    entries = [item for row in gold.rows for item in row], [item for row in answer.rows for item in row]
    return _in_order(*entries, policy)


def _is_zero(value: Value) -> bool:
    return isinstance(value, Quantity) and constant_value(value.node) == 0


def _as_matrix(value: Value) -> Value:
    """A tuple as a column, nested brackets as rows."""
    if not isinstance(value, Group) or value.opened not in ("(", "[") or not value.items:
        return value
    if all(isinstance(item, Group) and item.opened == "[" for item in value.items):
        rows = tuple(item.items for item in value.items if isinstance(item, Group))
        return Matrix(rows) if len({len(row) for row in rows}) == 1 and rows[0] else value
    return Matrix(tuple((item,) for item in value.items)) if value.opened + value.closed in ("()", "[]") else value


def _ratios(gold: Value, answer: Value, policy: Policy) -> bool:
    if isinstance(gold, Ratio) and isinstance(answer, Ratio):
        if len(gold.parts) != len(answer.parts):
            return False
        try:
            values = [[_value(part) for part in ratio.parts] for ratio in (gold, answer)]
        except UndefinedError:
            return _in_order(gold.parts, answer.parts, policy)
        (first, *others), (other_first, *other_others) = values
        return all(equal(_times(first, b), _times(a, other_first)) for a, b in zip(others, other_others, strict=True))
    ratio, other = (gold, answer) if isinstance(gold, Ratio) else (answer, gold)
    if not isinstance(ratio, Ratio) or not isinstance(other, Quantity) or len(ratio.parts) != 2:
        return False
    left, right = ratio.parts
    if not isinstance(left, Quantity) or not isinstance(right, Quantity) or other.unit:
        return False
    return same(("/", left.node, right.node), other.node)


def _value(part: Value) -> Any:
    if not isinstance(part, Quantity) or symbols(part.node):
        raise UndefinedError("no number")
    value = evaluate(part.node, {})
    if value == 0:
        raise UndefinedError("a part of 0")
    return value


def _times(left: Any, right: Any) -> Any:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left * right
    context = mp()
    numbers = [context.mpf(x.numerator) / x.denominator if isinstance(x, Fraction) else x for x in (left, right)]
    return numbers[0] * numbers[1]


def _groups(gold: Value, answer: Value, policy: Policy) -> bool:
    if not isinstance(gold, Group) or not isinstance(answer, Group):
        group, other = (gold, answer) if isinstance(gold, Group) else (answer, gold)
        assert isinstance(group, Group)
        items = _distinct(group.items, policy) if group.opened in ("", "{") else ()
        return len(items) == 1 and are_equal(*((items[0], other) if group is gold else (other, items[0])), policy)
    loose = ("", "{")
    if gold.opened in loose and answer.opened in loose:
        if policy.lists == "in_order" and not gold.opened and not answer.opened:
            return _in_order(gold.items, answer.items, policy)
        gold_items, answer_items = _same_names(gold.items, answer.items)
        return _any_order(_distinct(gold_items, policy), _distinct(answer_items, policy), policy)
    if "{" in (gold.opened, answer.opened):
        return False
    if len(gold.items) != len(answer.items):
        return False
    brackets = {gold.opened + gold.closed, answer.opened + answer.closed}
    if len(brackets) > 1 and len(gold.items) == 2 and "" not in brackets:
        return False
    if brackets == {"", "[]"} and len(gold.items) == 2:
        return False
    return _in_order(gold.items, answer.items, policy)


def _same_names(gold: Sequence[Value], answer: Sequence[Value]) -> tuple[Sequence[Value], Sequence[Value]]:
    """`x_1 = 2, x_2 = 3` and `x = 2, x = 3` without the names: one letter, with indices on one side only."""
    names = [{item.label for item in side if isinstance(item, Labelled)} for side in (gold, answer)]
    if any(not isinstance(item, Labelled) for item in (*gold, *answer)):
        return gold, answer
    plain = next((side for side in names if len(side) == 1), set())
    letter = next(iter(plain), "")
    others = names[1] if plain is names[0] else names[0]
    if len(letter) != 1 or not all(name.startswith(f"{letter} _ ") for name in others):
        return gold, answer
    return [item.value for item in gold if isinstance(item, Labelled)], [
        item.value for item in answer if isinstance(item, Labelled)
    ]


def _distinct(items: Sequence[Value], policy: Policy) -> list[Value]:
    found: list[Value] = []
    for item in items:
        if not any(are_equal(other, item, policy) for other in found):
            found.append(item)
    return found


def _in_order(gold: Sequence[Value], answer: Sequence[Value], policy: Policy) -> bool:
    return len(gold) == len(answer) and all(are_equal(a, b, policy) for a, b in zip(gold, answer, strict=True))


def _any_order(gold: Sequence[Value], answer: Sequence[Value], policy: Policy) -> bool:
    """Whether every item has its own partner; equality of items is (nearly) transitive, so that the first may be taken."""
    if len(gold) != len(answer):
        return False
    left = list(answer)
    for item in gold:
        partner = next((at for at, other in enumerate(left) if are_equal(item, other, policy)), None)
        if partner is None:
            return False
        del left[partner]
    return True


def _congruences(gold: Congruence, answer: Congruence, policy: Policy) -> bool:
    has_both = gold.has_left and answer.has_left
    if (has_both and not are_equal(gold.left, answer.left, policy)) or not are_equal(
        gold.modulus, answer.modulus, policy
    ):
        return False
    values = [
        constant_value(side.node) for side in (gold.right, answer.right, gold.modulus) if isinstance(side, Quantity)
    ]
    if len(values) == 3 and all(isinstance(value, Fraction) for value in values) and values[2]:
        return (values[0] - values[1]) % values[2] == 0
    return are_equal(gold.right, answer.right, policy)
