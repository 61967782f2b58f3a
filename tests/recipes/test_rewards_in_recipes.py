"""Every YAML block of docs/rewards-in-recipes.md is accepted by the recipe checker, and its sums are right."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reasoning_rl.api import Completion, Sample
from reasoning_rl.recipe_check import check
from reasoning_rl.recipe_io import load_recipe
from reasoning_rl.scoring import RewardSet
from reasoning_rl.testing import make_sample

PAGE = (Path(__file__).parents[2] / "docs" / "rewards-in-recipes.md").read_text(encoding="utf-8")
BLOCKS = [YAML(typ="safe").load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
Build = Callable[[int], RewardSet]


@pytest.fixture
def build(recipe_tree: Callable[..., dict[str, Any]], write_recipe: Callable[..., Path]) -> Build:
    """The rewards of block number n, after the whole recipe was checked."""

    def of(number: int) -> RewardSet:
        block = BLOCKS[number]
        tree = recipe_tree(eval={"accuracy": next(iter(block["rewards"])), "max_completion_length": 16}, **block)
        file = load_recipe(write_recipe(tree), [])
        check(file)
        return RewardSet.from_recipe(file.recipe)

    return of


def test_blocks_were_found() -> None:
    assert len(BLOCKS) == 9
    assert PAGE.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_is_a_part_of_a_valid_recipe(build: Build, number: int) -> None:
    uses = {use["use"] for use in BLOCKS[number]["rewards"].values()}
    if "reasoning_gym" in uses and importlib.util.find_spec("reasoning_gym") is None:
        pytest.skip("needs the extra gym")
    assert [item.name for item in build(number).rewards] == list(BLOCKS[number]["rewards"])


@pytest.mark.parametrize(
    ("number", "text", "total"),
    [
        (0, "<think>2 + 2</think>\\boxed{4}", 1.1),
        (0, "\\boxed{4}", 1.0),
        (0, "<think>2 + 2</think>\\boxed{5}", 0.1),
        (1, "\\boxed{4}", 0.0),
        (1, "<think>2 + 2</think>\\boxed{4}", 1.1),
        (4, "<think>2 + 2</think>\\boxed{5}", -1.0),
        (6, "<think>2 + 2</think>" + "so " * 200 + "\\boxed{4}", 0.5),
        (7, "<think>stupid</think>\\boxed{4}", 1.0),
        (7, "<think>a</think>\\boxed{4}", 1.1),
    ],
)
def test_totals(build: Build, number: int, text: str, total: float) -> None:
    scored = build(number).score(make_sample(text, {"answer": "4"}))
    assert scored.total == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize(("answer", "num_tokens", "total"), [("4", 896, 0.75), ("5", 896, 0.0), ("4", 700, 1.0)])
def test_only_right_answers_are_charged_for_their_length(
    build: Build, answer: str, num_tokens: int, total: float
) -> None:
    text = f"\\boxed{{{answer}}}"
    sample = Sample([], Completion(text, None, text, num_tokens, False), {"answer": "4"})
    assert build(2).score(sample).total == total


@pytest.mark.parametrize(
    ("kind", "gold", "text", "total"),
    [
        ("number", "4", "\\boxed{4.0}", 1.0),
        ("choice", "B", "Answer: B", 1.0),
        ("place", "Rome", "\\boxed{rome}", 1.0),
        ("name", "Ada", "Ada", 0.0),
        ("other", "4", "\\boxed{4}", None),
    ],
)
def test_rows_of_different_kinds(build: Build, kind: str, gold: str, text: str, total: float | None) -> None:
    scored = build(5).score(make_sample(f"<think>a</think>{text}", {"answer": gold, "kind": kind}))
    assert scored.total == total
