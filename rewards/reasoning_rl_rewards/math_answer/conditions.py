"""What the items of a list are to each other: conditions on one letter, systems, solutions with the same names, domains.

Decides how a list is read; reads nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from reasoning_rl_rewards.math_answer.answers import Group, Labelled, Relation, SetOperation, Value
from reasoning_rl_rewards.math_answer.realsets import variable
from reasoning_rl_rewards.math_answer.splitting import split
from reasoning_rl_rewards.math_answer.tokens import Token, spell

COMPARISONS = frozenset(("<", ">", "<=", ">=", "!="))
_NUMBER_SETS = frozenset(f"\\mathbb {letter}" for letter in ("Z", "N", "R", "Z ^ +", "N ^ *", "Z ^ { + }")) | {
    "Z",
    "N",
    "R",
}


def is_inequality(value: Value) -> bool:
    return (isinstance(value, Relation) and set(value.operators) <= COMPARISONS) or (
        isinstance(value, Labelled) and isinstance(value.value, (Group, SetOperation))
    )


def is_condition(value: Value) -> bool:
    """What may stand beside an inequality in one: another, an equation `x = 2`, an interval."""
    return (
        is_inequality(value) or isinstance(value, Labelled) or (isinstance(value, Group) and value.opened in ("(", "["))
    )


def excludes(items: list[Value]) -> bool:
    """`m < 1, m != 0`: all about one letter, with an exception, so that all of it must hold."""
    relations = [item for item in items if isinstance(item, Relation)]
    return (
        len(relations) == len(items)
        and any("!=" in item.operators for item in relations)
        and (
            len({variable(item) for item in items}) == 1
            and not all(set(item.operators) == {"!="} for item in relations)
        )
    )


def is_domain(tokens: Sequence[Token]) -> bool:
    """`k \\in \\mathbb Z`: says what a letter may be and nothing of the answer."""
    signs = [at for at, token in enumerate(tokens) if token.kind == "rel"]
    return len(signs) == 1 and tokens[signs[0]].text == "in" and spell(tokens[signs[0] + 1 :]) in _NUMBER_SETS


def systems(tokens: Sequence[Token]) -> tuple[list[Sequence[Token]], list[Token]]:
    """`x=1, y=2 and x=3, y=4`: lists of assignments between `and` or `or`; no separators where there are none."""
    parts, separators = split(tokens, lambda token: token.text in ("and", "or"))
    has_lists = all(
        any(token.text == "," for token in part[:-1]) and any(token.text == "=" for token in part) for part in parts
    )
    return (parts, separators) if has_lists else ([tokens], [])


def by_label(items: list[Value]) -> list[Value]:
    """`x=1, y=2, x=3, y=4` as two solutions: a list whose names repeat in the same order."""
    labels = [item.label for item in items if isinstance(item, Labelled)]
    if len(labels) < len(items) or len(set(labels)) < 2 or labels[0] not in labels[1:]:
        return items
    period = labels.index(labels[0], 1)
    if len(items) % period or any(label != labels[at % period] for at, label in enumerate(labels)):
        return items
    return [Group("", "", tuple(items[at : at + period])) for at in range(0, len(items), period)]
