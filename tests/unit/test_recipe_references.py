"""What one section of a recipe says of another must be there: data sets, stages, rewards, gates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_recipe_io import Tree, problems

from reasoning_rl.errors import RecipeError
from reasoning_rl.recipe import Recipe
from reasoning_rl.recipe_io import load_recipe


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (
            {"stages": [{"name": "g", "kind": "grpo", "data": "tests"}]},
            "stages.0: needs data.tests, found data sets ['eval', 'sft', 'train']",
        ),
        (
            {"stages": [{"name": "g", "kind": "grpo"}, {"name": "g", "kind": "eval"}]},
            "stages: the name 'g' is used twice",
        ),
        (
            {"stages": [{"name": "e", "kind": "eval"}], "eval": None},
            "stages: there is an eval stage but no eval section; add one",
        ),
        (
            {"eval": None, "sampling": {"curriculum": {}}},
            "sampling.curriculum: which of rewards ['correct', 'format'] tells right from wrong? add eval.accuracy",
        ),
        (
            {"eval": {"accuracy": "corect", "max_completion_length": 8}},
            "eval.accuracy: found 'corect', expected one of rewards ['correct', 'format']",
        ),
        (
            {"stages": [{"name": "g", "kind": "grpo", "policy": "lora"}], "lora": None},
            "stages.0.policy: found 'lora', but there is no lora section; add one",
        ),
        (
            {"rewards": {"correct": {"use": "exact_answer", "weight": 0.0}}},
            "rewards: every weight is 0, so grpo would learn nothing; give one reward a weight",
        ),
        (
            {"stages": [{"name": "e", "kind": "eval", "args": {"temperature": 0.0}}]},
            "stages.0.args: an eval stage takes none; set the eval section",
        ),
    ],
    ids=[
        "no data set",
        "name twice",
        "no eval section",
        "no accuracy",
        "accuracy",
        "no lora section",
        "weights 0",
        "eval args",
    ],
)
def test_references_between_sections(
    recipe_tree: Tree, write_recipe: Callable[..., Path], sections: dict[str, Any], expected: str
) -> None:
    (found,) = problems(write_recipe(recipe_tree(**sections)))
    line, _, sentence = found.partition(": ")
    assert int(line) >= 1
    assert sentence == expected


def test_all_broken_references_at_once(recipe_tree: Tree, write_recipe: Callable[..., Path]) -> None:
    stages = [{"name": "g", "kind": "grpo", "data": "a"}, {"name": "g", "kind": "sft", "data": "b"}]
    found = problems(write_recipe(recipe_tree(stages=stages)))
    assert len(found) == 3
    assert [line.partition(": ")[2].split(":")[0] for line in found] == ["stages", "stages.0", "stages.1"]


def test_weights_of_0_are_fine_without_grpo(recipe_tree: Tree, write_recipe: Callable[..., Path]) -> None:
    stages = [{"name": "e", "kind": "eval"}]
    path = write_recipe(recipe_tree(rewards={"correct": {"use": "exact_answer", "weight": 0.0}}, stages=stages))
    assert load_recipe(path).recipe.rewards["correct"].weight == 0


@pytest.mark.parametrize(
    ("other", "problems"),
    [
        ({"gate": "formt"}, ["rewards.other.gate: found 'formt', expected another of rewards ['correct', 'third']"]),
        ({"gate": "other"}, ["rewards.other.gate: the gates go round in a circle (other → other); remove one"]),
        ({"gate": "third"}, ["rewards.third.gate: the gates go round in a circle (third → other → third); remove one"]),
        ({"clip": [1, 0]}, ["rewards.other.clip: found [1.0, 0.0], expected [low, high] with low at most high"]),
        ({"clip": [1]}, ["rewards.other.clip: found [1]"]),
        ({"when": {"kind": []}}, ["rewards.other.when.kind: found an empty list, so the reward would apply to no row"]),
        ({"timeout_s": 0}, ["rewards.other.timeout_s: found 0"]),
        ({"gates": "x"}, ["rewards.other.gates: unknown key; did you mean 'gate'?"]),
    ],
    ids=["unknown", "itself", "circle", "clip", "clip length", "when", "deadline", "key"],
)
def test_composition_problems_carry_the_line(
    recipe_tree: Callable[..., dict[str, Any]],
    write_recipe: Callable[..., Path],
    other: dict[str, Any],
    problems: list[str],
) -> None:
    rewards = {
        "correct": {"use": "exact_answer", "gate": "third"},
        "other": {"use": "think_format", **other},
        "third": {"use": "think_format", "gate": "other"},
    }
    if other.get("gate") != "third":
        del rewards["third"]["gate"]
    path = write_recipe(recipe_tree(rewards=rewards))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    lines = path.read_text().splitlines()
    for found, expected in zip(caught.value.problems, problems, strict=True):
        where, _, sentence = found.removeprefix(f"{path}:").partition(": ")
        key = expected.split(":")[0].rpartition(".")[2]
        assert lines[int(where) - 1].strip().startswith(f"{key}:"), found
        assert sentence.startswith(expected)


@pytest.mark.parametrize(("eval_length", "grpo_length", "expected"), [(16, 64, 16), (None, 64, 64), (16, None, 16)])
def test_eval_takes_the_completion_length_of_grpo(
    recipe_tree: Callable[..., dict[str, Any]],
    eval_length: int | None,
    grpo_length: int | None,
    expected: int,
) -> None:
    tree = recipe_tree(eval={"accuracy": "correct"}, grpo={})
    tree["eval"] |= {"max_completion_length": eval_length} if eval_length else {}
    tree["grpo"] |= {"max_completion_length": grpo_length} if grpo_length else {}
    assert Recipe.model_validate(tree).eval_max_completion_length == expected


@pytest.mark.parametrize("grpo", [{}, {"max_completion_length": None}, {"max_completion_length": "64"}])
def test_without_either_length_eval_is_refused(
    recipe_tree: Callable[..., dict[str, Any]], grpo: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"eval\.max_completion_length: is missing, and so is grpo"):
        Recipe.model_validate(recipe_tree(eval={"accuracy": "correct"}, grpo=grpo))
