"""In which order tests run: shuffled for each row, and a second time backwards.

A program that counts its calls and answers from a list gets the tests of one order right, but not those of both. The order
hangs on the row alone, so that all completions of a prompt are asked the same. Test code is ours and may be parsed; only
asserts that stand side by side and use nothing but the program, builtins and modules are moved.
"""

from __future__ import annotations

import ast
import builtins
import random
from collections.abc import Sequence
from functools import lru_cache

from reasoning_rl_rewards.code_tests.cases import CallCase, CodeCase

#: Longer test code keeps its order; taking it apart would take longer than running it.
_MAX_CHARS = 200_000


def call_orders(cases: Sequence[CallCase], seed: str) -> tuple[tuple[int, ...], ...]:
    """Positions of calls in the order of each run: shuffled, then backwards; as they are where a test says `ordered`."""
    positions = list(range(len(cases)))
    if len(cases) < 2 or any(case.is_ordered for case in cases):
        return (tuple(positions),)
    random.Random(seed).shuffle(positions)
    return tuple(positions), tuple(reversed(positions))


@lru_cache(maxsize=512)
def code_orders(case: CodeCase, seed: str) -> tuple[str, ...]:
    """Test code for each run: with its asserts shuffled, then those backwards; or as it is, once."""
    if case.is_ordered or case.kind == "unittest" or len(case.code) > _MAX_CHARS:
        return (case.code,)
    tree = ast.parse(case.code)
    body, free = tree.body, {*case.names, *dir(builtins), *_modules(tree)}
    if case.kind == "check":
        check = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check")
        body, free = check.body, free | {argument.arg for argument in check.args.args[:1]}
    chance = random.Random(seed)
    orders = [(start, chance.sample(range(start, end), end - start)) for start, end in _stretches(body, free)]
    if not orders:
        return (case.code,)
    original = list(body)
    versions = []
    for step in (1, -1):
        for start, order in orders:
            body[start : start + len(order)] = [original[position] for position in order[::step]]
        versions.append(ast.unparse(tree))
    return tuple(versions)


def nth_assert(code: str, number: int) -> str:
    """Source of the so-manieth assert (from 1) at the top level of test code; nothing when there is none."""
    found = [node for node in ast.parse(code).body if isinstance(node, ast.Assert)]
    return ast.unparse(found[number - 1]) if 0 < number <= len(found) else ""


def _stretches(body: Sequence[ast.stmt], free: set[str]) -> list[tuple[int, int]]:
    """Start and end of every stretch of two or more asserts that can change places."""
    found, start = [], 0
    for position in range(len(body) + 1):
        if position < len(body) and isinstance(body[position], ast.Assert) and _uses_only(body[position], free):
            continue
        if position - start > 1:
            found.append((start, position))
        start = position + 1
    return found


def _uses_only(node: ast.AST, free: set[str]) -> bool:
    """Whether every name in it is one of these, or its own (of a lambda or a comprehension)."""
    parts = list(ast.walk(node))
    if any(isinstance(part, ast.NamedExpr) for part in parts):
        return False
    own = {part.arg for part in parts if isinstance(part, ast.arg)}
    own |= {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    return all(part.id in free or part.id in own for part in parts if isinstance(part, ast.Name))


def _modules(tree: ast.AST) -> set[str]:
    """Names that imports bind."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return {(alias.asname or alias.name).partition(".")[0] for node in nodes for alias in node.names}
