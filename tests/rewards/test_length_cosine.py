"""`length_cosine`: the two curves, their ends, and who decides what is right."""

from __future__ import annotations

from typing import Any

import pytest

from reasoning_rl.api import Completion, Sample, Score, Verdict
from reasoning_rl.testing import check_reward
from reasoning_rl_rewards.length_cosine import LengthCosine


def grade(answer: str, num_tokens: int, *, is_cut: bool = False, gold: object = "4", **options: Any) -> Score:
    completion = Completion(answer, None, answer, num_tokens, is_cut)
    return LengthCosine(max_tokens=100, **options)(Sample([], completion, {"answer": gold}))


@pytest.mark.parametrize(
    ("num_tokens", "right", "wrong"),
    [
        (0, 1.0, -1.0),
        (25, 0.75 + 0.25 * 0.5**0.5, -0.75 - 0.25 * 0.5**0.5),  # cos 45° = √½
        (50, 0.75, -0.75),
        (75, 0.75 - 0.25 * 0.5**0.5, -0.75 + 0.25 * 0.5**0.5),
        (100, 0.5, -0.5),
        (101, 0.5, -0.5),
        (200, 0.5, -0.5),  # the bare cosine would be back at 1 here
        (10_000, 0.5, -0.5),
    ],
)
def test_values(num_tokens: int, right: float, wrong: float) -> None:
    score = grade("\\boxed{4}", num_tokens)
    assert score.value == pytest.approx(right, abs=1e-12)
    assert score.verdict is Verdict.CORRECT
    score = grade("\\boxed{5}", num_tokens)
    assert score.value == pytest.approx(wrong, abs=1e-12)
    assert score.verdict is Verdict.WRONG
    score = grade("no box", num_tokens)
    assert score.value == pytest.approx(wrong, abs=1e-12)
    assert score.verdict is Verdict.NO_ANSWER


def test_settings_of_the_paper() -> None:
    options: dict[str, Any] = {
        "correct_short": 2.0,
        "correct_long": 1.0,
        "wrong_short": -10.0,
        "wrong_long": 0.0,
        "truncated": -10.0,
    }
    for answer, values in (("\\boxed{4}", (2.0, 1.5, 1.0)), ("\\boxed{5}", (-10.0, -5.0, 0.0))):
        found = [grade(answer, num_tokens, **options).value for num_tokens in (0, 50, 100)]
        assert found == pytest.approx(values, abs=1e-12)
    assert grade("\\boxed{4}", 100, is_cut=True, **options).value == -10


def test_truncated_pays_nothing_whatever_the_answer() -> None:
    for answer in ("\\boxed{4}", "\\boxed{5}", ""):
        assert (grade(answer, 10, is_cut=True).value, grade(answer, 10, is_cut=True).verdict) == (-1, "wrong")


def test_detail() -> None:
    assert grade("\\boxed{4.0}", 100).detail == {
        "extracted": "4.0", "gold": "4", "num_tokens": 100, "truncated": False
    }  # fmt: skip


def test_the_judge_is_exact_answer() -> None:
    assert grade("it is 4", 0, extract="last_number").value == 1
    assert LengthCosine(max_tokens=9, column="gold").requires == {"gold"}
    assert grade("\\boxed{4}", 0, gold=None).verdict is Verdict.BAD_REFERENCE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max_tokens: found 0"),
        ({"max_tokens": 9, "correct_short": 0.0}, "correct_short: found 0.0"),
        ({"max_tokens": 9, "correct_long": -0.5}, "correct_long: found -0.5"),
        ({"max_tokens": 9, "correct_long": float("inf")}, "correct_long: found inf"),
        ({"max_tokens": 9, "wrong_short": 0.1}, "wrong_short: found 0.1"),
        ({"max_tokens": 9, "wrong_long": float("nan")}, "wrong_long: found nan"),
        ({"max_tokens": 9, "truncated": 1.0}, "truncated: found 1.0"),
    ],
)
def test_ranges(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LengthCosine(**options)


@pytest.mark.parametrize("extract", ["boxed", "last_number", "final_text"])
def test_rules(extract: str) -> None:
    rows = [{"answer": "42"}, {"answer": "1/2"}]
    check_reward("length_cosine", rows, options={"max_tokens": 100, "extract": extract})
