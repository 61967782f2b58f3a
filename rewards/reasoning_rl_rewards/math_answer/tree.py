"""The tree of an expression.

Plain tuples whose first item is the operator: `("n", Fraction)`, `("s", name)`, `("+", a, b)`, `("f", name, a)`.
"""

from __future__ import annotations

from typing import Any

Node = tuple[Any, ...]

#: Letters that stand for a number.
CONSTANTS = frozenset({"\\pi", "e", "i", "\\infty"})


def walk(node: Node) -> list[Node]:
    """The node and all below it."""
    found, stack = [], [node]
    while stack:
        item = stack.pop()
        found.append(item)
        stack += [child for child in item[1:] if isinstance(child, tuple)]
    return found


def symbols(node: Node) -> set[str]:
    """Names of the letters in a tree, constants left out."""
    return {item[1] for item in walk(node) if item[0] == "s" and item[1] not in CONSTANTS}
