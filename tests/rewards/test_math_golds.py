"""`math_answer`: the answers of whole data sets score full, as they stand and in the forms that they name."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reasoning_rl.api import Verdict
from reasoning_rl.testing import make_sample
from reasoning_rl_rewards.math_answer import MathAnswer
from reasoning_rl_rewards.math_answer.comparison import gold_fault, judge

#: Tasks of reasoning-gym whose answer is mathematics; the others ask for grids, moves, code or long texts.
TASKS = (
    "advanced_geometry", "base_conversion", "basic_arithmetic", "bitwise_arithmetic", "calendar_arithmetic", "chain_sum",
    "coin_flip", "complex_arithmetic", "count_bits", "count_primes", "decimal_arithmetic", "decimal_chain_sum", "dice",
    "fraction_simplification", "gcd", "gsm_symbolic", "intermediate_integration", "largest_island", "lcm", "leg_counting",
    "letter_counting", "maze", "number_format", "number_sequence", "polynomial_equations", "polynomial_multiplication",
    "power_function", "prime_factorization", "products", "puzzle24", "rectangle_count", "rotten_oranges", "self_reference",
    "simple_equations", "simple_geometry", "simple_integration", "time_intervals",
)  # fmt: skip

#: Signs in these answers are no arithmetic, so that blanks around them change it: dates, times, 1e-05.
WITH_OTHER_SIGNS = ("calendar_arithmetic", "time_intervals", "power_function")


def score(answer: str, gold: Any) -> float | None:
    return MathAnswer()(make_sample(f"<think>hm</think>\\boxed{{{answer}}}", {"answer": gold})).value


@pytest.mark.parametrize("task", TASKS)
def test_reasoning_gym(task: str) -> None:
    gym = pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
    data = gym.create_dataset(task, size=20, seed=7)
    for row in data:
        gold = str(row["answer"])
        assert score(gold, row["answer"]) == 1, gold
        spaced = re.sub(r"(?<=[\w)])([-+*/,])(?=[\w(])", r" \1 ", gold)
        assert task in WITH_OTHER_SIGNS or score(spaced, row["answer"]) == 1, (gold, spaced)


def champ() -> dict[str, Any]:
    package = pytest.importorskip("champ_dataset", reason="champ-dataset is not installed")
    problems = dict(package.load("v0").problems)
    assert len(problems) == 270
    return problems


def test_champ_answers() -> None:
    for name, problem in champ().items():
        assert gold_fault(problem.answer) is None, name
        assert score(problem.answer, problem.answer) == 1, name


def test_champ_forms_of_one_value() -> None:
    """The answers that the data set marks as the value: `@@C(10, 5)@@, or equivalently @@252@@`."""
    count = 0
    for name, problem in champ().items():
        forms = re.findall("@@(.*?)@@", problem.raw_answer)
        if (len(forms) > 1 and "equivalent" not in problem.raw_answer) or not forms or name in NOT_THE_VALUE:
            continue
        for form in forms:
            assert judge(problem.answer, form).is_right, (name, form)
            count += 1
    assert count > 60


#: Marked parts that are not the whole answer.
NOT_THE_VALUE = {"P_Number-Theory_28": "`n times`: the n alone is marked"}


@pytest.mark.parametrize("gold", ["", " ", "\\frac{1}{", "6=7", None, True, ["7"], {"a": 7}])
@pytest.mark.parametrize(
    "final_text", ["\\boxed{7}", "\\boxed{6=7}", "", "\\boxed{9^{9^{9^9}}}", "\\boxed{\\frac{1}{}"]
)
def test_a_bad_gold_is_bad_whatever_is_answered(gold: object, final_text: str) -> None:
    found = MathAnswer()(make_sample(f"<think>hm</think>{final_text}", {"answer": gold}))
    assert found.verdict is Verdict.BAD_REFERENCE
