"""One completion through `code_tests`, and rows of tests."""

from __future__ import annotations

from typing import Any

from reasoning_rl.api import Score
from reasoning_rl.testing import make_sample
from reasoning_rl_rewards.code_tests import CodeTests

ADD = "def add(a, b):\n    return a + b"


def grade(program: str, tests: Any, row: dict[str, Any] | None = None, **options: Any) -> Score:
    text = f"<think>hm</think>Here it is:\n```python\n{program}\n```\nDone."
    return CodeTests(**options)(make_sample(text, {"tests": tests, **(row or {})}))


def stdio(given: str, output: str, **more: Any) -> dict[str, Any]:
    return {"type": "stdio", "input": given, "output": output, **more}


def call(name: str, args: Any, expected: Any, **more: Any) -> dict[str, Any]:
    return {"type": "call", "entry_point": name, "args": args, "expected": expected, **more}
