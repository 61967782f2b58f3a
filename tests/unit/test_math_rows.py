"""Public mathematics data sets as rows: rows in their forms, whose gold answer grades right from wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from reasoning_rl import math_rows
from reasoning_rl.errors import DataError
from reasoning_rl.testing import make_sample
from reasoning_rl_rewards.math_answer import MathAnswer

GSM8K = {"question": "Tom has 3 bags of 4 nuts. How many nuts?", "answer": "3*4 = <<3*4=12>>12 nuts.\n#### 12"}
MATH = {
    "problem": "What is one half of $\\frac{3}{2}$?",
    "solution": "It is $\\boxed{\\frac{3}{4}}$.",
    "level": "Level 1",
    "type": "Prealgebra",
}
MATH_500 = {**MATH, "answer": "\\frac{3}{4}", "subject": "Prealgebra", "unique_id": "test/prealgebra/1.json"}
NUMINA = {"source": "olympiads", "problem": "Find $2^5$.", "solution": "So $\\boxed{32}$.", "messages": []}
NUMINA_15 = {
    "problem": "Find $2^5$.",
    "solution": "Five factors of two make 32.",
    "answer": "32",
    "problem_type": "Algebra",
    "question_type": "math-word-problem",
    "problem_is_valid": "Yes",
    "solution_is_valid": "Yes",
    "source": "olympiads",
}
OPENR1 = {**NUMINA_15, "uuid": "a", "generations": ["x"], "correctness_math_verify": [True]}
DEEPMATH = {
    "question": "Evaluate $\\int_0^1 2x\\,dx$.",
    "final_answer": "1",
    "difficulty": 3.0,
    "topic": "Calculus",
    "r1_solution_1": "It is 1.",
}
DAPO = {
    "data_source": "math_dapo",
    "prompt": [
        {
            "role": "user",
            "content": "Solve the following math problem step by step. The last line of your response should be of "
            "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\nFind $6 \\cdot 7$.\n\n"
            'Remember to put your answer on its own line after "Answer:".',
        }
    ],
    "reward_model": {"ground_truth": "42", "style": "rule-lighteval/MATH_v2"},
}
BIG_MATH = {
    "problem": "Add 8 and 9.",
    "answer": "17",
    "source": "orca_math",
    "domain": ["A"],
    "llama8b_solve_rate": 0.9,
}

# name, row, prompt, right answer, wrong answer
ROWS: list[tuple[str, Mapping[str, Any], str, str, str]] = [
    ("gsm8k", GSM8K, "Tom has 3 bags of 4 nuts. How many nuts?", "12", "13"),
    ("math", MATH, "What is one half of $\\frac{3}{2}$?", "0.75", "0.5"),
    ("math", MATH_500, "What is one half of $\\frac{3}{2}$?", "0.75", "0.5"),
    ("numina", NUMINA, "Find $2^5$.", "32", "25"),
    ("numina", NUMINA_15, "Find $2^5$.", "32", "25"),
    ("openr1", OPENR1, "Find $2^5$.", "32", "25"),
    ("deepmath", DEEPMATH, "Evaluate $\\int_0^1 2x\\,dx$.", "1", "2"),
    ("dapo", DAPO, "Find $6 \\cdot 7$.", "42", "41"),
    ("big_math", BIG_MATH, "Add 8 and 9.", "17", "18"),
]


@pytest.mark.parametrize(("name", "row", "prompt", "right", "wrong"), ROWS)
def test_a_row_gives_its_problem_and_a_gold_that_grades(
    name: str, row: Mapping[str, Any], prompt: str, right: str, wrong: str
) -> None:
    found = getattr(math_rows, name)(row)
    assert found["prompt"] == prompt
    reward = MathAnswer()
    assert reward(make_sample(f"\\boxed{{{right}}}", found)).value == 1
    assert reward(make_sample(f"\\boxed{{{wrong}}}", found)).value == 0


def test_useful_columns_are_kept() -> None:
    assert math_rows.gsm8k(GSM8K) == {
        "prompt": "Tom has 3 bags of 4 nuts. How many nuts?",
        "answer": "12",
        "solution": "3*4 = 12 nuts.",
    }
    found = math_rows.math(MATH)
    assert found and (found["level"], found["subject"]) == ("Level 1", "Prealgebra")
    found = math_rows.big_math(BIG_MATH)
    assert found and found["llama8b_solve_rate"] == 0.9


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("math", {**MATH, "solution": "It holds."}),
        ("math", {**MATH, "solution": "Either \\boxed{1} or \\boxed{2}."}),
        ("numina", {**NUMINA_15, "question_type": "proof"}),
        ("numina", {**NUMINA_15, "answer": "proof"}),
        ("numina", {**NUMINA_15, "answer": None}),
        ("numina", {**NUMINA_15, "problem_is_valid": "Incomplete"}),
        ("numina", {**NUMINA_15, "solution_is_valid": "No"}),
        ("numina", {**NUMINA_15, "answer": "(a) 3, (b) 4"}),
        ("openr1", {**OPENR1, "answer": "  "}),
        ("deepmath", {**DEEPMATH, "final_answer": ""}),
        ("big_math", {**BIG_MATH, "answer": None}),
    ],
)
def test_rows_that_no_rule_can_verify_are_left_out(name: str, row: Mapping[str, Any]) -> None:
    assert getattr(math_rows, name)(row) is None


@pytest.mark.parametrize(("name", "row", "prompt", "right", "wrong"), ROWS)
def test_a_missing_column_is_named(name: str, row: Mapping[str, Any], prompt: str, right: str, wrong: str) -> None:
    first = {"gsm8k": "question", "deepmath": "question", "dapo": "prompt"}.get(name, "problem")
    with pytest.raises(DataError, match=f"{name}: .*{first}"):
        getattr(math_rows, name)({key: value for key, value in row.items() if key != first})


def test_a_wrong_type_and_a_lacking_mark_are_named() -> None:
    with pytest.raises(DataError, match="column 'answer' holds 12, expected text"):
        math_rows.gsm8k({**GSM8K, "answer": 12})
    with pytest.raises(DataError, match="expected a text that ends in '#### 72'"):
        math_rows.gsm8k({**GSM8K, "answer": "12"})


@pytest.mark.parametrize("row", [(name, row) for name, row, *_ in ROWS])
def test_a_data_set_is_recognised_by_its_columns(row: tuple[str, Mapping[str, Any]]) -> None:
    assert math_rows.converter_for(row[1]) == f"reasoning_rl.math_rows:{row[0]}"


def test_other_columns_are_not_recognised() -> None:
    assert math_rows.converter_for({"question": "1 + 1", "answer": "2"}) is None
    assert math_rows.converter_for({"problem": "1 + 1", "solution": "It is 2."}) is None


def test_boxes_with_braces_inside_and_without_braces() -> None:
    for solution, answer in [
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"$\boxed 7$", "7"),
        (r"\boxed{\sqrt{2}}", r"\sqrt{2}"),
    ]:
        found = math_rows.math({**MATH, "solution": solution})
        assert found and found["answer"] == answer
