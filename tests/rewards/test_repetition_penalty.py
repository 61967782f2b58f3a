"""`repetition_penalty`: shares counted by hand, and against a set of n-grams."""

from __future__ import annotations

import random
from typing import Any

import pytest

from reasoning_rl.api import Score, Verdict
from reasoning_rl.testing import check_reward, make_sample
from reasoning_rl_rewards.repetition_penalty import RepetitionPenalty


def grade(text: str, **options: Any) -> Score:
    return RepetitionPenalty(**options)(make_sample(text, {}))


@pytest.mark.parametrize(
    ("text", "ngram_size", "repeated"),
    [
        ("", 1, 0),
        ("a", 1, 0),
        ("a b", 3, 0),  # shorter than one n-gram
        ("a b c", 3, 0),
        ("a a", 1, 1 / 2),
        ("a a a a", 1, 3 / 4),
        ("A a", 1, 1 / 2),
        ("a  b\na b", 2, 1 / 3),  # ab, ba, ab
        ("a b c a b c a b c", 3, 4 / 7),  # abc bca cab abc bca cab abc
        ("a b c d a b c e", 3, 1 / 6),
        ("a b c d a b c e", 4, 0),
        ("x " * 20, 5, 15 / 16),
    ],
)
def test_shares(text: str, ngram_size: int, repeated: float) -> None:
    score = grade(text, ngram_size=ngram_size)
    assert score.value == pytest.approx(-repeated, abs=1e-12)
    assert score.verdict is (Verdict.PARTIAL if repeated else Verdict.CORRECT)
    assert score.detail == {"repeated": pytest.approx(repeated, abs=1e-12)}
    assert grade(text, ngram_size=ngram_size, max_penalty=-0.1).value == pytest.approx(-0.1 * repeated, abs=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 16, 31, 40, 63, 64, 65, 128, 200])
def test_against_a_set_of_ngrams(size: int) -> None:
    words = random.Random(size).choices("ab", k=300)
    ngrams = [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]
    expected = len(set(ngrams)) / len(ngrams) - 1
    assert grade(" ".join(words), ngram_size=size).value == pytest.approx(expected, abs=1e-12)
    assert grade("".join(words), ngram_size=size, unit="characters").value == pytest.approx(expected, abs=1e-12)


def test_no_penalty_is_a_positive_zero() -> None:
    assert [str(grade(text).value) for text in ("", "a b c", "word " * 30)] == ["0.0", "0.0", "-0.9090909090909091"]
    assert str(grade("word " * 30, max_penalty=0.0).value) == "0.0"


def test_units_and_parts() -> None:
    assert grade("好好好好", ngram_size=2).value == 0, "one word"
    assert grade("好好好好", ngram_size=2, unit="characters").value == pytest.approx(-2 / 3)
    text = "<think>a a</think>b c d"
    for part, value in (("text", 0.0), ("thinking", -0.5), ("final_text", 0.0)):
        assert grade(text, ngram_size=1, part=part).value == value
    assert grade("b b", ngram_size=1, part="thinking").value == 0, "no thinking"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ngram_size": 0}, "ngram_size: found 0"),
        ({"ngram_size": 1001}, "ngram_size: found 1001"),
        ({"max_penalty": 0.1}, "max_penalty: found 0.1"),
        ({"max_penalty": float("-inf")}, "max_penalty: found -inf"),
        ({"max_penalty": float("nan")}, "max_penalty: found nan"),
    ],
)
def test_ranges(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RepetitionPenalty(**options)


@pytest.mark.parametrize("options", [{}, {"ngram_size": 1000, "unit": "characters"}])
def test_rules(options: dict[str, Any]) -> None:
    check_reward("repetition_penalty", [{}], options=options)
