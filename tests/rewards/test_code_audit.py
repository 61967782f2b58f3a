"""The audit of a file of code rows lists those with bad tests, by file and line, and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.audit import audit_recipe, refuse_bad_rewards
from reasoning_rl.data import load_data
from reasoning_rl.errors import AuditError
from reasoning_rl.recipe_io import load_recipe
from reasoning_rl.scoring import RewardSet

ADD = "def add(a, b):\n    return a + b"


def row(*tests: dict[str, Any], solution: str = ADD) -> dict[str, Any]:
    return {"prompt": "Write add(a, b).", "tests": json.dumps(tests), "solution": solution}


def call(args: list[int], expected: object) -> dict[str, Any]:
    return {"type": "call", "entry_point": "add", "args": args, "expected": expected}


def code(text: str) -> dict[str, Any]:
    return {"type": "assert", "entry_point": "add", "code": text}


ROWS: dict[str, tuple[dict[str, Any], str | None]] = {
    "fine": (row(call([1, 2], 3), code("assert add(5, 7) == 12")), None),
    "wrong expectation": (row(call([1, 2], 4)), "gold"),
    "not Python": (row(code("assert add(1, 2) = 3")), "gold"),
    "never calls": (row(code("assert 1 + 2 == 3")), "gold"),
    "a name that is nowhere": (row(code("assert ad(1, 2) == 3")), "gold"),
    "too weak": (row(code("assert add(1, 2) or True")), "near_miss"),
    "wrong solution": (row(call([1, 2], 3), solution="def add(a, b):\n    return a * b"), "gold"),
    "fine, by stdio": (
        row({"type": "stdio", "input": "1 2", "output": "3"}, solution="print(sum(map(int, input().split())))"),
        None,
    ),
}


def test_planted_bad_tests_are_listed(
    tmp_path: Path, recipe_tree: Callable[..., dict[str, Any]], write_recipe: Callable[..., Path]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row, _ in ROWS.values()))
    tree = recipe_tree(
        data={"train": {"source": str(path)}},
        rewards={"code": {"use": "code_tests"}},
        stages=[{"name": "rl", "kind": "grpo"}],
        eval=None,
    )
    recipe = load_recipe(write_recipe(tree)).recipe
    rewards = RewardSet.from_recipe(recipe)
    report = audit_recipe(recipe, load_data(recipe, rewards.required_columns), rewards)
    listed = {offence.origin: offence.trial for offence in reversed(report.offences)}  # the first of each row
    assert listed == {f"{path}:{line}": trial for line, (_, trial) in enumerate(ROWS.values(), 1) if trial}
    text = "\n".join(report.lines())
    assert all(f"{origin} (train/0/" in text for origin in listed)
    with pytest.raises(AuditError, match=re.escape(f"{path}:2")):
        refuse_bad_rewards(recipe, load_data(recipe, rewards.required_columns), rewards)
