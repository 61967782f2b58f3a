"""`math_answer` as a reward: verdicts, details, options, keys, conformance."""

from __future__ import annotations

from typing import Any

import pytest

from reasoning_rl.api import Score, Verdict
from reasoning_rl.errors import RewardPluginError
from reasoning_rl.plugins import resolve
from reasoning_rl.testing import check_reward, make_sample
from reasoning_rl_rewards.math_answer import MathAnswer

ROWS = [
    {"answer": gold}
    for gold in (
        "42", "-3", "1/2", r"\frac{\pi}{3}", r"\{1, 2, 5\}", "A", "x^2+2x+1", "(3, 4)", r"12 \text{ cm}", r"28\%", "0.125",
        "[0, 5)", "Monday", "x = 7", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", 17, 2.5,
    )
]  # fmt: skip


def grade(final_text: str, gold: object, *, question: str = "How many?", **options: Any) -> Score:
    sample = make_sample(f"<think>hm</think>{final_text}", {"answer": gold}, question=question)
    return MathAnswer(**options)(sample)


@pytest.mark.parametrize("extract", ["boxed", "marked", "final_text"])
def test_rules_for_rewards(extract: str) -> None:
    check_reward(MathAnswer, ROWS, options={"extract": extract})


def test_gold_scores_full() -> None:
    assert grade(r"\boxed{42.0}", 42) == Score.correct(gold="42", extracted="42.0", path="numeric")


@pytest.mark.parametrize("final_text", ["", " \n", r"\boxed{}", r"\boxed{ }", "42", "It is 42."])
def test_empty_does_not(final_text: str) -> None:
    score = grade(final_text, "42")
    assert (score.value, score.verdict) == (0, Verdict.NO_ANSWER)


@pytest.mark.parametrize(
    ("final_text", "options", "verdict"),
    [
        (r"\boxed{1} and \boxed{2}", {}, Verdict.NO_ANSWER),
        (r"\boxed{1} and \boxed{2}", {"boxes": "join"}, Verdict.CORRECT),
        (r"\boxed{1} no, \boxed{2}", {"boxes": "join"}, Verdict.NO_ANSWER),
        (r"\boxed{1,2}, that is \boxed{2, 1}", {}, Verdict.CORRECT),
        (r"\boxed{1,2}", {"lists": "in_order"}, Verdict.CORRECT),
        (r"\boxed{2,1}", {"lists": "in_order"}, Verdict.WRONG),
        ("Answer: 1, 2", {"extract": "marked"}, Verdict.CORRECT),
        ("Answer: 1, 2", {}, Verdict.NO_ANSWER),
        ("1, 2", {"extract": "final_text"}, Verdict.CORRECT),
        ("1, 2", {"extract": "marked"}, Verdict.NO_ANSWER),
    ],
)
def test_options(final_text: str, options: dict[str, Any], verdict: Verdict) -> None:
    assert grade(final_text, "1, 2", **options).verdict is verdict


def test_other_column() -> None:
    sample = make_sample(r"\boxed{7}", {"solution": "7", "answer": "8"})
    assert MathAnswer(column="solution")(sample).value == 1
    assert MathAnswer(column="solution").requires == {"solution"}


@pytest.mark.parametrize("gold", [r"\boxed{7}", "$7$", r"So it is \boxed{7}.", " 7 ", 7, 7.0])
def test_gold_in_its_wrapping(gold: object) -> None:
    assert grade(r"\boxed{7}", gold).value == 1
    assert grade(r"\boxed{8}", gold).value == 0


@pytest.mark.parametrize(
    ("question", "gold", "answer", "value"),
    [
        ("Compute 2+3.", "5", "2 + 3", 0),
        ("Compute $2+3$.", "5", r"\left(5\right)", 1),
        (r"Factor $x^2-5x+6$.", "(x-2)(x-3)", "x^2 - 5x + 6", 0),
        (r"Factor $x^2-5x+6$.", "(x-2)(x-3)", "(x-3)(x-2)", 1),
        (r"Simplify $\sqrt{12}$.", r"2\sqrt{3}", r"\sqrt{12}", 0),
        ("Which is larger, 1/2 or 1/3?", "0.5", "1/2", 1),
        ("If x = 3, what is x?", "3", "x=3", 1),
        ("Is it x+1 or x+2?", "x+1", "x+1", 1),
    ],
)
def test_the_question_is_no_answer(question: str, gold: str, answer: str, value: float) -> None:
    score = grade(f"\\boxed{{{answer}}}", gold, question=question)
    assert score.value == value
    assert (score.detail["path"] == "veto:echo") is (value == 0)


def test_equal_keys_for_equal_work() -> None:
    reward = MathAnswer()

    def key(text: str, gold: object = "7", question: str = "q") -> object:
        return reward.cache_key(make_sample(text, {"answer": gold}, question=question))

    assert key(r"<think>a</think>so \boxed{8}") == key(r"<think>b</think>\boxed{8} it is")
    assert key(r"\boxed{8}") != key(r"\boxed{9}")
    assert key(r"\boxed{8}") != key(r"\boxed{8}", gold="8.0")
    assert key(r"\boxed{8}") != key(r"\boxed{8}", question="8?")
    assert key("no box") == key("no box either")


def test_near_misses_do_not_score() -> None:
    reward, count = MathAnswer(), 0
    for row in ROWS:
        for near in reward.near_misses(row):
            assert reward(make_sample(f"<think>hm</think>{near}", row)).value == 0, (row, near)
            count += 1
    assert count > 15


def test_details_stay_small() -> None:
    score = grade("\\boxed{" + "9" * 100_000 + "}", "7")
    assert (score.verdict, score.detail["path"]) == (Verdict.WRONG, "veto:cost")
    assert len(str(score.detail)) < 1000


def test_a_wrong_option_is_one_sentence() -> None:
    with pytest.raises(RewardPluginError, match="percent"):
        resolve("math_answer", {"percent": "sometimes"})


def test_version_and_deadline() -> None:
    assert (MathAnswer.version, MathAnswer.default_timeout_s) == (2, 2.5)
