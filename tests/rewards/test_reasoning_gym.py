"""`reasoning_gym`: the library's own answers score full on every task, answers beside them do not, and nothing runs."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.api import Score, Verdict
from reasoning_rl.data import load_data
from reasoning_rl.recipe import Recipe
from reasoning_rl.testing import check_reward, make_sample
from reasoning_rl.trials import beside

reasoning_gym = pytest.importorskip("reasoning_gym", reason="needs the extra gym")
from reasoning_gym.factory import DATASETS  # noqa: E402

from reasoning_rl_rewards.reasoning_gym import EVALUATED_EXPRESSIONS, EVALUATED_LITERALS, ReasoningGym  # noqa: E402

TASKS = sorted(set(DATASETS) - {"composite"})  # which is made of other tasks
#: The verifier plays the answer through; the library has no answer of its own.
NO_ANSWER = {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}
#: The verifier calls our wrong answers right, too.
ACCEPTS_NEAR_MISSES = {
    "coin_flip": "probabilities within 0.0001, so that e-05 hides the first digit",
    "game_of_life_halting": "any text that is not empty: it compares bool(text)",
    "intermediate_integration": "any name for the constant of integration",
    "number_sorting": "numbers within 1 of the right ones",
    "power_function": "three significant digits",
}
NO_NEAR_MISS = {"modulo_grid"}  # answers of symbols, without letters and digits


def rows_of(task: str, size: int = 4, **options: Any) -> list[dict[str, Any]]:
    """Rows as a stage hands them to the rewards: through JSON."""
    recipe = Recipe.model_validate(
        {
            "run": {"dir": "run"},
            "model": {"source": "owner/name"},
            "data": {"train": {"source": f"reasoning_gym:{task}", "size": size, "seed": 5, "options": options}},
            "rewards": {"r": {"use": "reasoning_gym"}},
            "stages": [{"name": "g", "kind": "grpo"}],
        }
    )
    rows = load_data(recipe, ReasoningGym.requires)["train"]
    return [json.loads(json.dumps(row.columns)) for row in rows]


def grade(row: dict[str, Any], answer: str, **options: Any) -> Score:
    text = f"<think>a</think><answer>{answer}</answer>"
    return ReasoningGym(**{"extract": "answer_tag", **options})(make_sample(text, row))


def test_there_are_enough_tasks() -> None:
    assert len(TASKS) - len(NO_ANSWER) >= 30
    assert NO_ANSWER | ACCEPTS_NEAR_MISSES.keys() | NO_NEAR_MISS <= set(TASKS)


@pytest.mark.parametrize("task", sorted(set(TASKS) - NO_ANSWER))
def test_own_answers_score_full_and_others_do_not(task: str) -> None:
    near_misses = []
    rows = rows_of(task)
    golds = [row for row in rows if ReasoningGym(extract="answer_tag").reference(row)]
    assert len(golds) == 4 or (task == "intermediate_integration" and len(golds) >= 2)  # some are `Integral(…)`
    for row in golds:
        assert grade(row, row["answer"]).verdict is Verdict.CORRECT, row["answer"]
        near_misses += [grade(row, text).verdict for text in beside(row["answer"])]
    assert near_misses or task in NO_NEAR_MISS
    assert set(near_misses) <= {Verdict.WRONG} or task in ACCEPTS_NEAR_MISSES


@pytest.mark.parametrize("task", sorted(ACCEPTS_NEAR_MISSES))
def test_the_exceptions_are_needed(task: str) -> None:
    rows = [row for row in rows_of(task, 30) if ReasoningGym(extract="answer_tag").reference(row)]
    verdicts = {grade(row, text).verdict for row in rows for text in beside(row["answer"])}
    assert Verdict.CORRECT in verdicts


@pytest.mark.parametrize("task", sorted(NO_ANSWER))
def test_tasks_without_an_answer_are_scored(task: str) -> None:
    (row, *_) = rows_of(task)
    assert row["answer"] is None
    assert ReasoningGym().reference(row) is None


def test_a_task_without_an_answer_pays_a_right_one() -> None:
    """A colouring, whose metadata has numbers as keys."""
    (row, *_) = rows_of("graph_color", 1)
    metadata = json.loads(row["metadata"])
    pairs = metadata["possible_answer"]["__pairs__"]
    colouring = {str(node): colour for node, colour in pairs}
    assert grade(row, json.dumps(colouring)).verdict is Verdict.CORRECT
    assert grade(row, json.dumps(dict.fromkeys(colouring, 1))).verdict is not Verdict.CORRECT


@pytest.mark.parametrize("task", ["chain_sum", "arc_agi", "word_ladder", "countdown"])
def test_rows_survive_an_arrow_table(task: str) -> None:
    """Rows of two tasks in one table, whose metadata have different keys; `arc_agi` compares tuples."""
    datasets = pytest.importorskip("datasets", reason="needs the extra train")
    mixed = datasets.Dataset.from_list([*rows_of(task), *rows_of("maze")])
    assert len(mixed) == 8
    for row in mixed.select(range(4)):
        assert grade(row, row["answer"]).verdict is Verdict.CORRECT


def test_options_of_the_task_reach_the_verifier() -> None:
    """`puzzle24` refuses numbers that are out of the range of its options."""
    (row, *_) = rows_of("puzzle24", 1, min_value=1, max_value=6)
    assert json.loads(row["task_options"]) == {"min_value": 1, "max_value": 6}
    assert grade(row, "6*4*1*1").verdict is Verdict.CORRECT
    assert grade(row, "8*3*1*1").verdict is Verdict.WRONG


def test_partial_credit() -> None:
    (row, *_) = rows_of("chain_sum", 1)
    answer = f"{row['answer']} or more"
    score = grade(row, answer)
    assert (score.value, score.verdict) == (0, Verdict.WRONG)
    score = grade(row, answer, partial_credit=True)
    assert 0 < (score.value or 0) < 1
    assert (score.value, score.verdict) == (score.detail["library_score"], Verdict.PARTIAL)


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("spiral_matrix", "[print('x')]"),
        ("n_queens", "().__class__"),
        ("binary_matrix", "[[x for x in {1}]]"),
        ("string_insertion", "'a' * 9**9**9"),
        ("countdown", "exec(chr(112))"),
        ("puzzle24", "__import__('os')"),
        ("simple_integration", "open('f')"),
        ("polynomial_multiplication", "x.func"),
        ("intermediate_integration", "Integral(x, x)"),
    ],
)
def test_code_is_not_run(task: str, answer: str) -> None:
    (row, *_) = rows_of(task, 1)
    score = grade(row, answer)
    assert score.verdict is Verdict.WRONG
    assert score.detail["reason"].startswith("the verifier would evaluate it")


def test_every_verifier_that_evaluates_is_guarded() -> None:
    """A new version of the library may evaluate in more of them. Looks at `score_answer` only, like our reading of it."""
    evaluating = set()
    for path in Path(str(reasoning_gym.__file__)).parent.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef) and function.name == "score_answer":
                text = ast.unparse(function)
                if any(word in text for word in ("eval(", "exec(", "parse_expr(", "sympify(")):
                    evaluating.add(path.stem)
    trusted = {"number_sorting"}  # evaluates the answer of the row
    assert evaluating - trusted == EVALUATED_LITERALS | EVALUATED_EXPRESSIONS


@pytest.mark.parametrize(
    ("task", "answer"), [("prime_factorization", "odd"), ("coin_flip", "1e999"), ("boxnet", "[1]")]
)
def test_a_verifier_that_fails_on_the_answer_only_is_the_models_fault(task: str, answer: str) -> None:
    score = grade(rows_of(task, 1)[0], answer)
    assert score.verdict is Verdict.WRONG
    assert score.detail["reason"].startswith("the verifier failed with ")


@pytest.mark.parametrize("task", ["calendar_arithmetic", "sudoku", "tower_of_hanoi"])
def test_a_verifier_that_fails_on_the_row_abstains(task: str) -> None:
    score = grade({**rows_of(task, 1)[0], "metadata": "{}"}, "odd")
    assert score.verdict is Verdict.BAD_REFERENCE
    assert score.detail["reason"].startswith("the verifier failed with KeyError")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "answer",
    ["[1]", "{}", "null", "nan", "1/0", "-", "9" * 5000],
    ids=["list", "object", "null", "nan", "1/0", "-", "digits"],
)
def test_no_answer_buys_an_abstention(task: str, answer: str) -> None:
    score = grade(rows_of(task, 1)[0], answer)
    assert score.value is not None, score.detail


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": None},
        {"metadata": "{"},
        {"metadata": {"difficulty": 1}},
        {"task": None},
        {"task": "no_such_task"},
        {"task_options": '{"no_such_option": 1}'},
        {"answer": 42},
    ],
)
def test_other_rows_abstain(change: dict[str, Any]) -> None:
    (row, *_) = rows_of("chain_sum", 1)
    assert grade({**row, **change}, "42").verdict is Verdict.BAD_REFERENCE
    del row["answer"]
    assert grade(row, "42").verdict is Verdict.BAD_REFERENCE


@pytest.mark.parametrize("extract", ["boxed", "answer_tag", "final_text"])
def test_rules(extract: str) -> None:
    rows = [*rows_of("chain_sum", 2), *rows_of("countdown", 1), *rows_of("spell_backward", 1)]
    check_reward("reasoning_gym", rows, options={"extract": extract})


def test_rules_with_partial_credit() -> None:
    rows = [*rows_of("chain_sum", 2), *rows_of("puzzle24", 1)]
    check_reward("reasoning_gym", rows, options={"partial_credit": True})
