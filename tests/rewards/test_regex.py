"""`regex`: where it looks, what it refuses, and that a pattern without end does not hang a run."""

from __future__ import annotations

from typing import Any

import pytest

from reasoning_rl.api import Score, Verdict
from reasoning_rl.fresh_process import score_in_fresh_process
from reasoning_rl.testing import check_reward, make_sample
from reasoning_rl_rewards.regex import Regex


def grade(text: str, pattern: str, **options: Any) -> Score:
    return Regex(pattern, **options)(make_sample(text, {}))


@pytest.mark.parametrize(
    ("text", "pattern", "options", "verdict"),
    [
        ("<think>a</think>yes", "yes", {}, Verdict.CORRECT),
        ("<think>yes</think>no", "yes", {}, Verdict.WRONG),
        ("<think>yes</think>no", "yes", {"part": "thinking"}, Verdict.CORRECT),
        ("<think>yes</think>no", "yes.*no", {"part": "text"}, Verdict.CORRECT),
        ("<think>a</think>yes, sir", "yes", {"match": "fullmatch"}, Verdict.WRONG),
        ("<think>a</think> yes\n", "yes", {"match": "fullmatch"}, Verdict.CORRECT),
        ("<think>a</think>YES", "yes", {}, Verdict.WRONG),
        ("<think>a</think>YES", "(?i)yes", {}, Verdict.CORRECT),
        ("<think>a</think>", "x*", {}, Verdict.NO_ANSWER),
        ("no thinking", "x*", {"part": "thinking"}, Verdict.NO_ANSWER),
        ("<think>a</think>I am sorry", "(?i)sorry", {"forbidden": True}, Verdict.WRONG),
        ("<think>a</think>42", "(?i)sorry", {"forbidden": True}, Verdict.CORRECT),
        ("<think>a</think>aaaa", "a", {"max_chars": 4}, Verdict.CORRECT),
        ("<think>a</think>aaaaa", "a", {"max_chars": 4}, Verdict.WRONG),
        ("<think>a</think>aaaaa", "b", {"max_chars": 4, "forbidden": True}, Verdict.WRONG),
    ],
)
def test_scores(text: str, pattern: str, options: dict[str, Any], verdict: Verdict) -> None:
    score = grade(text, pattern, **options)
    assert (score.value, score.verdict) == (float(verdict is Verdict.CORRECT), verdict)


def test_detail() -> None:
    assert grade("ab12", r"\d+").detail == {"found": "12"}
    assert grade("ab", r"\d+").detail == {"found": None}
    assert grade("aaaaa", "a", max_chars=4).detail == {"reason": "5 characters, more than max_chars = 4"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": ""}, "pattern: found an empty one"),
        ({"pattern": "("}, "pattern: missing \\)"),
        ({"pattern": "a{99999999999}"}, "pattern: the repetition number is too large"),
        ({"pattern": "a", "max_chars": 0}, "max_chars: found 0"),
    ],
)
def test_ranges(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Regex(**options)


def test_an_exponential_pattern_is_ended_from_outside() -> None:
    """It really takes for ever, and holds the interpreter's lock: what `timeout_s` of a recipe is for."""
    sample = make_sample("a" * 64, {})
    found = score_in_fresh_process("regex", {"pattern": "(a+)+b"}, [sample], timeout_s=1.0)
    assert found.stopped == "does not return within 1 s"


@pytest.mark.parametrize("options", [{}, {"match": "fullmatch"}, {"forbidden": True}])
def test_rules(options: dict[str, Any]) -> None:
    check_reward("regex", [{}], options={"pattern": r"\\boxed\{-?\d+\}", **options})
