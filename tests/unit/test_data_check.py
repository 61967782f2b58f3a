"""What `check` finds in the first rows of a recipe's own data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.data_check import DataCheck, check_data, show_lines
from reasoning_rl.recipe_io import load_recipe

GSM8K = {"question": "Tom has 3 bags of 4 nuts. How many nuts?", "answer": "3*4 = 12.\n#### 12"}

Check = Callable[..., DataCheck]


@pytest.fixture
def checked(recipe_tree: Callable[..., dict[str, Any]], write_recipe: Callable[..., Path], tmp_path: Path) -> Check:
    """`check_data` on a recipe that trains with math_answer on these rows."""

    def of(rows: list[dict[str, Any]], rewards: dict[str, Any] | None = None, **source: Any) -> DataCheck:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        data = {"train": {"source": "rows.jsonl", **source}}
        rewards = rewards or {"correct": {"use": "math_answer"}}
        return check_data(load_recipe(write_recipe(recipe_tree(data=data, rewards=rewards))))

    return of


def test_a_file_of_gsm8k_gets_both_problems_and_the_converter(checked: Check) -> None:
    problems = checked([GSM8K]).problems
    assert len(problems) == 2
    assert "rows.jsonl:1 has no column 'prompt'" in problems[0]
    assert "rows.jsonl:1: rewards.correct cannot read its gold" in problems[1]
    assert all(problem.endswith("add convert: reasoning_rl.math_rows:gsm8k") for problem in problems)


def test_with_the_converter_nothing_is_wrong(checked: Check) -> None:
    found = checked([GSM8K], convert="reasoning_rl.math_rows:gsm8k")
    assert (found.problems, found.notes) == ([], [])
    assert found.first["train"][1]["answer"] == "12"


def test_an_unreadable_gold_is_named_by_its_row(checked: Check) -> None:
    good = {"prompt": "1 + 1", "answer": "2"}
    problems = checked([good, good, {"prompt": "1 + 2", "answer": None}]).problems
    assert len(problems) == 1 and "rows.jsonl:3: rewards.correct cannot read its gold" in problems[0]


def test_the_row_check_of_rewards_with_when_is_run(checked: Check) -> None:
    rewards = {"correct": {"use": "math_answer", "when": {"kind": "number"}}}
    problems = checked([{"prompt": "1 + 1", "answer": "2"}], rewards).problems
    assert len(problems) == 1 and "no row has the column 'kind'" in problems[0]


def test_only_the_first_hundred_rows_are_read(checked: Check, tmp_path: Path) -> None:
    rows = [{"prompt": "1 + 1", "answer": "2"}] * 100
    assert checked([*rows, {"bad": 1}]).problems == []
    assert len(checked([*rows[:99], {"bad": 1}]).problems) == 1


def test_rows_on_a_hub_are_noted(recipe_tree: Callable[..., dict[str, Any]], write_recipe: Callable[..., Path]) -> None:
    found = check_data(load_recipe(write_recipe(recipe_tree(data={"train": {"source": "some/set"}}))))
    assert found.problems == []
    assert found.notes == ["data.train.0: some/set is not a local file, its rows were not looked at"]


def test_the_first_row_is_shown_with_its_gold_and_the_score_of_the_reference(
    recipe_tree: Callable[..., dict[str, Any]], write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "1 + 1", "answer": "2"}) + "\n")
    tree = recipe_tree(data={"train": {"source": "rows.jsonl"}}, rewards={"correct": {"use": "exact_answer"}})
    file = load_recipe(write_recipe(tree))
    lines = list(show_lines(file, check_data(file), lambda messages: (f"<{messages[-1]['content']}>", 3)))
    assert lines[0] == f"data.train, {tmp_path}/rows.jsonl:1"
    assert lines[1] == "  user: 1 + 1"
    assert lines[2] == "  with the chat template, 3 tokens: '<1 + 1>'"
    assert lines[3].startswith("  reward correct: gold '2'") and lines[3].endswith("scores 1.0 (correct)")


def test_a_column_that_comes_after_the_first_rows_is_no_problem(checked: Check) -> None:
    rewards = {"correct": {"use": "math_answer"}, "code": {"use": "exact_answer", "when": {"kind": "code"}}}
    row = {"prompt": "1 + 1", "answer": "2"}
    assert checked([row] * 100 + [{**row, "kind": "code"}], rewards).problems == []
    assert "no row has the column 'kind'" in checked([row] * 99, rewards).problems[0]
