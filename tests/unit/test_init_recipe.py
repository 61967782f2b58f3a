"""`reasoning-rl init`: the recipe it writes passes the checks, and its two data sets share no row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.data import load_data
from reasoning_rl.data_check import check_data
from reasoning_rl.errors import DataError, RecipeError
from reasoning_rl.init_recipe import DEFAULT_MODEL, write_recipe
from reasoning_rl.recipe import Recipe
from reasoning_rl.recipe_check import check
from reasoning_rl.recipe_io import load_recipe


def written(tmp_path: Path, rows: list[dict[str, Any]] | None) -> Recipe:
    """The recipe for these rows, checked."""
    data = tmp_path / "rows.jsonl" if rows is not None else None
    if data and rows is not None:
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_recipe(tmp_path / "recipe.yaml", data, DEFAULT_MODEL, None)
    file = load_recipe(tmp_path / "recipe.yaml")
    check(file)
    assert check_data(file).problems == []
    return file.recipe


def test_gsm8k_is_recognised_and_split_without_overlap(tmp_path: Path) -> None:
    rows = [{"question": f"{n} + 1?", "answer": f"It is {n + 1}.\n#### {n + 1}"} for n in range(20)]
    recipe = written(tmp_path, rows)
    assert recipe.rewards["correct"].use == "math_answer"
    data = load_data(recipe, {"answer"})
    assert [row.columns["answer"] for row in data["eval"]] == ["1", "2", "3", "4"]
    assert [row.columns["answer"] for row in data["train"]] == [str(n + 1) for n in range(4, 20)]


def test_other_columns_are_renamed(tmp_path: Path) -> None:
    recipe = written(tmp_path, [{"instruction": f"Add 1 to {n}", "label": str(n + 1)} for n in range(10)])
    assert recipe.data["train"][0].columns == {"prompt": "instruction", "answer": "label"}


def test_without_data_sums_are_made(tmp_path: Path) -> None:
    assert written(tmp_path, None).data["train"][0].source == "reasoning_gym:chain_sum"


def test_unknown_columns_and_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found columns \['a', 'b'\], expected one for prompt"):
        written(tmp_path, [{"a": "x", "b": "y"}] * 10)
    with pytest.raises(DataError, match="has 3 rows, expected at least 10"):
        written(tmp_path, [{"prompt": "x", "answer": "1"}] * 3)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("mine")
    with pytest.raises(RecipeError, match="exists already"):
        write_recipe(tmp_path / "recipe.yaml", None, DEFAULT_MODEL, None)
    assert (tmp_path / "recipe.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("answers", "reward"),
    [("ABCDE", "choice_answer"), (["Paris", "New York"], "string_match"), (["7", "x^2"], "math_answer")],
)
def test_the_reward_follows_from_the_answers(tmp_path: Path, answers: list[str], reward: str) -> None:
    rows = [{"prompt": f"question {n}", "answer": answers[n % len(answers)]} for n in range(10)]
    assert written(tmp_path, rows).rewards["correct"].use == reward


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    rows = [{"question": f"{n} + 1?", "answer": f"It is {n + 1}.\n#### {n + 1}"} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n" * 30 + "\n\n".join(map(json.dumps, rows)))
    write_recipe(tmp_path / "recipe.yaml", tmp_path / "rows.jsonl", DEFAULT_MODEL, None)
    assert check_data(load_recipe(tmp_path / "recipe.yaml")).problems == []
