"""Every recipe in the repository can be run as written, and the chain sums in them are right."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.api import Sample
from reasoning_rl.math_rows import gsm8k
from reasoning_rl.parsing import split_completion
from reasoning_rl.plugins import load_attribute, resolve
from reasoning_rl.recipe import Thinking
from reasoning_rl.recipe_check import check
from reasoning_rl.recipe_io import load_recipe

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(FOLDER.glob("*.yaml"))

rows = load_attribute(str(FOLDER / "chain_sums.py"), "rows", "chain sums")
trace = load_attribute(str(FOLDER / "chain_sums.py"), "trace", "chain sums")
guess = load_attribute(str(FOLDER / "chain_sums.py"), "guess", "chain sums")
problems = load_attribute(str(FOLDER / "word_problems.py"), "rows", "word problems")
worked = load_attribute(str(FOLDER / "word_problems.py"), "trace", "word problems")


def test_recipes_are_found() -> None:
    assert "quickstart.yaml" in [path.name for path in RECIPES]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_can_be_run(path: Path) -> None:
    assert check(load_recipe(path)) == [], "nothing was left unchecked"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_says_what_it_needs_and_gives(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert len(header[0]) > 20, "the first line says what the recipe is for"
    for name in ("Hardware", "Command", "Expect", "Verified"):
        (line,) = [line for line in header if re.match(rf"# {name}\b", line)]
        assert len(line.split()) > 2, f"{name} is empty"


@pytest.mark.parametrize("options", [{}, {"min_terms": 2, "max_terms": 2, "max_value": 9}, {"max_value": 100}])
def test_chain_sums(options: dict[str, int]) -> None:
    found = list(rows(size=150, seed=1, **options))
    assert len(found) == 150
    assert len({row["prompt"] for row in found}) == 150
    low, high = options.get("min_terms", 3), options.get("max_terms", 5)
    for row in found:
        assert re.fullmatch(r"\d+( [+-] \d+)+", row["prompt"])
        assert eval(row["prompt"]) == int(row["answer"]) == sum(row["terms"])
        assert low <= len(row["terms"]) <= high
        assert all(1 <= abs(term) <= options.get("max_value", 20) for term in row["terms"])
    assert {len(row["terms"]) for row in found} == set(range(low, high + 1))


def test_chain_sums_depend_on_the_seed_only() -> None:
    assert list(rows(size=20, seed=1)) == list(rows(size=20, seed=1))
    assert list(rows(size=20, seed=1)) == list(rows(size=40, seed=1))[:20]
    first, second = ({row["prompt"] for row in rows(size=200, seed=seed)} for seed in (1, 2))
    assert len(first & second) < 20


def test_chain_sums_rise_from_below_zero_as_often_as_asked() -> None:
    def share(rising: float) -> float:
        found = [row["terms"] for row in rows(size=200, seed=1, rising=rising)]
        risen = [any(sum(terms[:n]) < 0 < terms[n] for n in range(1, len(terms))) for terms in found]
        return sum(risen) / len(risen)

    assert share(0.0) == pytest.approx(0.2, abs=0.06)
    assert share(0.4) == pytest.approx(0.4 + 0.6 * 0.2, abs=0.06)
    assert share(1.0) == 1.0


def test_traces_are_right_step_by_step() -> None:
    steps_seen = 0
    for row in rows(size=100, seed=4):
        completion = split_completion(trace(row), Thinking(), num_tokens=1, truncated=False)
        assert completion.thinking is not None
        total, *terms = row["terms"]
        first, *lines = completion.thinking.splitlines()
        assert first == str(total)
        for term in terms:
            name, _, steps = lines.pop(0).partition(": ")
            assert name == f"{term:+d}"
            left = term  # of this term, still to be added
            for part in steps.split():
                step, _, right = part.partition("=")
                assert step[0] in "+-" and 1 <= abs(int(step)) <= 10
                left -= int(step)
                total += int(step)
                assert int(right) == total
                steps_seen += 1
            assert left == 0
        assert not lines
        assert completion.final_text == f"\\boxed{{{row['answer']}}}"
    assert steps_seen >= 200


@pytest.mark.parametrize("completion", [trace, guess])
def test_cold_start_completions_get_full_marks(completion: Callable[[dict[str, Any]], str]) -> None:
    for row in rows(size=20, seed=4):
        sample = Sample([], split_completion(completion(row), Thinking(), num_tokens=1, truncated=False), row)
        assert [resolve(name)(sample).value for name in ("exact_answer", "think_format")] == [1.0, 1.0]


def test_word_problems_are_worked_out_right() -> None:
    found = list(problems(size=400, seed=1))
    assert len({row["question"] for row in found}) == 400
    for row in found:
        converted = gsm8k(row)
        assert converted is not None
        *_, last = steps = [line.rpartition(": ")[2] for line in converted["solution"].split("\n")]
        known = {2, *map(int, re.findall(r"\d+", row["question"]))}  # "twice"
        for step in steps:
            computed, _, value = step.partition("=")
            assert eval(computed) == int(value) > 0
            assert known >= {int(number) for number in re.findall(r"\d+", computed)}
            known.add(int(value))
        assert last.endswith(f"={converted['answer']}")
        assert ours_is_right(converted)


def ours_is_right(row: dict[str, Any]) -> bool:
    """Whether the worked solution scores full with the rewards of the recipe."""
    file = load_recipe(FOLDER / "math_cpu.yaml")
    completion = split_completion(worked(row), Thinking(), num_tokens=1, truncated=False)
    sample = Sample([], completion, row, "row")
    return all(resolve(use.use, use.options)(sample).value == 1 for use in file.recipe.rewards.values())
