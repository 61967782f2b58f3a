"""`overlong_penalty`: equation 13 of DAPO, value by value."""

from __future__ import annotations

import pytest

from reasoning_rl.api import Completion, Sample, Score, Verdict
from reasoning_rl.testing import check_reward
from reasoning_rl_rewards.overlong_penalty import OverlongPenalty


def grade(num_tokens: int, *, truncated: bool = False, max_tokens: int = 100, buffer_tokens: int = 20) -> Score:
    completion = Completion("a", None, "a", num_tokens, truncated)
    return OverlongPenalty(max_tokens, buffer_tokens)(Sample([], completion, {}))


@pytest.mark.parametrize(
    ("num_tokens", "value", "verdict"),
    [
        (0, 0.0, Verdict.CORRECT),
        (79, 0.0, Verdict.CORRECT),
        (80, 0.0, Verdict.CORRECT),
        (81, -0.05, Verdict.PARTIAL),
        (90, -0.5, Verdict.PARTIAL),
        (99, -0.95, Verdict.PARTIAL),
        (100, -1.0, Verdict.WRONG),
        (101, -1.0, Verdict.WRONG),
        (10_000, -1.0, Verdict.WRONG),
    ],
)
def test_values(num_tokens: int, value: float, verdict: Verdict) -> None:
    score = grade(num_tokens)
    assert (score.value, score.verdict) == (value, verdict)
    assert score.detail == {"num_tokens": num_tokens, "truncated": False}


@pytest.mark.parametrize("num_tokens", [0, 50, 80, 90, 100, 200])
def test_truncated_is_full_penalty(num_tokens: int) -> None:
    assert (grade(num_tokens, truncated=True).value, grade(num_tokens, truncated=True).verdict) == (-1, Verdict.WRONG)


def test_settings_of_the_paper() -> None:
    """16,384 expected tokens and a buffer of 4,096, so that the limit is 20,480."""
    for num_tokens, value in ((16_384, 0.0), (18_432, -0.5), (20_480, -1.0)):
        assert grade(num_tokens, max_tokens=20_480, buffer_tokens=4096).value == value


def test_the_buffer_may_be_all_or_one_token() -> None:
    assert [grade(n, max_tokens=4, buffer_tokens=4).value for n in range(6)] == [0, -0.25, -0.5, -0.75, -1, -1]
    assert [grade(n, max_tokens=4, buffer_tokens=1).value for n in (3, 4)] == [0, -1]


@pytest.mark.parametrize(
    ("max_tokens", "buffer_tokens", "message"),
    [(0, 1, "max_tokens: found 0"), (10, 0, "buffer_tokens: found 0"), (10, 11, "expected 1 to max_tokens")],
)
def test_ranges(max_tokens: int, buffer_tokens: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OverlongPenalty(max_tokens, buffer_tokens)


def test_rules() -> None:
    check_reward("overlong_penalty", [{}], options={"max_tokens": 100, "buffer_tokens": 20})
