"""Values of expression trees at a point. Knows nothing of lists, sets, intervals or units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reasoning_rl_rewards.math_answer.errors import TooCostlyError, UndefinedError, UnreadableError
from reasoning_rl_rewards.math_answer.functions import call, power_of, root_of
from reasoning_rl_rewards.math_answer.tree import Node, symbols, walk
from reasoning_rl_rewards.math_answer.values import both_exact, bounded, finite, is_huge, mp, real


def evaluate(node: Node, point: Mapping[str, Any]) -> Any:
    """The value: `Fraction`, or a real or complex number of 60 digits, or an infinity.

    Raises:
        UndefinedError: there is none. TooCostlyError: it is too large.
    """
    operator = node[0]
    if operator == "n":
        return node[1]
    if operator == "s":
        return _constant(node[1]) if node[1] not in point else point[node[1]]
    if operator == "f":
        return call(node[1], [evaluate(child, point) for child in node[2:]])
    values = [evaluate(child, point) for child in node[1:]]
    if operator == "neg":
        return -values[0]
    left, right = values
    if operator == "root":
        return root_of(left, right)
    if operator == "^":
        return power_of(left, right)
    if operator == "/":
        if right == 0:
            raise UndefinedError("division by zero")
        return finite(bounded(left / right) if both_exact(left, right) else real(left) / real(right))
    if operator in ("+", "-"):
        if operator == "-":
            right = -right
        if not both_exact(left, right):
            left, right = real(left), real(right)
            if is_huge(left) or is_huge(right):
                raise TooCostlyError("a sum with a number of more than 130,000 bits")
        return finite(bounded(left + right))
    if operator == "*":
        return finite(bounded(left * right) if both_exact(left, right) else real(left) * real(right))
    raise UnreadableError(f"{operator} has no single value")


def constant_value(node: Node) -> Any:
    """The value of a tree without letters, `None` when it has letters or no value."""
    if symbols(node):
        return None
    try:
        return evaluate(node, {})
    except UndefinedError:
        return None


def has_plus_minus(node: Node) -> bool:
    """Whether a tree stands for two values."""
    return any(item[0] in ("pm", "mp") for item in walk(node))


def branch(node: Node, upper: bool) -> Node:
    r"""The tree with every \pm read as its upper (\mp as its lower) or as its other sign."""
    if node[0] in ("n", "s"):
        return node
    if node[0] in ("pm", "mp"):
        sign = "+" if (node[0] == "pm") == upper else "-"
        return (sign, branch(node[1], upper), branch(node[2], upper))
    return tuple(branch(child, upper) if isinstance(child, tuple) else child for child in node)


def _constant(name: str) -> Any:
    context = mp()
    if name == "\\pi":
        return +context.pi
    if name == "e":
        return +context.e
    if name == "i":
        return context.mpc(0, 1)
    if name == "\\infty":
        return context.inf
    raise UnreadableError(f"no value for {name}")
