"""`math_answer`: pairs of gold and answer, equal or not. They are listed, by kind, in math_equal.txt and math_different.txt,
the gold left of the bar."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasoning_rl_rewards.math_answer.comparison import gold_fault, judge
from reasoning_rl_rewards.math_answer.policy import Policy


def pairs(name: str) -> list[tuple[str, str]]:
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    assert len(lines) > 50
    found = [tuple(line.split(" | ", 1)) for line in lines]
    return [(gold, answer) for gold, answer in found]


EQUAL, DIFFERENT = pairs("math_equal.txt"), pairs("math_different.txt")


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal(gold: str, answer: str) -> None:
    assert gold_fault(gold) is None
    assert judge(gold, answer).is_right


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different(gold: str, answer: str) -> None:
    assert not judge(gold, answer).is_right


#: A letter of a unit without a blank is read in answers only: in a gold it may be a variable.
UNIT_LETTERS = [
    ("12", "12m"),
    ("1.5", "1.5m²"),
    (r"12\text{ m}^2", "12m^2"),
    ("300", "300K"),
    ("1000.99", "1,000.99m²"),
]


@pytest.mark.parametrize(("gold", "answer"), UNIT_LETTERS)
def test_unit_letters(gold: str, answer: str) -> None:
    assert judge(gold, answer).is_right
    assert not judge(gold, answer.replace("m", "x").replace("K", "x")).is_right
    assert not judge(answer, gold).is_right or "text" in gold


#: Golds of which more is accepted than the reverse: a letter for an option, a closed form for a sum, a rounded decimal,
#: a number without its modulus; and what is read in answers only: sentences, fractions of units, a sum with its value.
ONE_WAY = (
    r"\text{(B) } 12", r"\frac{n(n+1)}{2}", r"\int_0^1 x^2 dx", r"\lim_{x\to0}\frac{\sin x}{x}", r"3-2\sqrt2",
    r"x \equiv 2 \pmod 5", r"\text{The answer is C}", r"\text{The correct option is (D)}", r"\text{It is Tuesday}",
    r"6\frac{m}{s}", r"\sum_{k=1}^{10} k = 55", r"\int_0^1 x^2\,dx = \frac13",
)  # fmt: skip


def is_one_way(gold: str, answer: str) -> bool:
    return gold in ONE_WAY or answer in ONE_WAY


@pytest.mark.parametrize(("gold", "answer"), [pair for pair in EQUAL if not is_one_way(*pair)])
def test_equal_the_other_way_round(gold: str, answer: str) -> None:
    assert judge(answer, gold).is_right


@pytest.mark.parametrize(("gold", "answer"), [pair for pair in DIFFERENT if not is_one_way(*pair)])
def test_different_the_other_way_round(gold: str, answer: str) -> None:
    assert not judge(answer, gold).is_right


@pytest.mark.parametrize(
    ("policy", "gold", "answer", "is_right"),
    [
        (Policy(units="required"), r"5\text{ cm}", "5", False),
        (Policy(units="required"), r"5\text{ cm}", r"5\text{ cm}", True),
        (Policy(units="ignored"), r"5\text{ cm}", r"5\text{ m}", True),
        (Policy(percent="strict"), r"28\%", "28", False),
        (Policy(percent="strict"), r"28\%", "0.28", True),
        (Policy(lists="in_order"), "1, 2", "2, 1", False),
        (Policy(lists="in_order"), "1, 2", "1, 2", True),
        (Policy(lists="in_order"), r"\{1, 2\}", r"\{2, 1\}", True),
        (Policy(decimals="exact"), "0.3333", r"\frac13", False),
        (Policy(), "0.3333", r"\frac13", True),
        (Policy(), "0.333", r"\frac13", False),
        (Policy(), "3.1416", r"\pi", True),
        (Policy(), r"\pi", "3.1416", False),
        (Policy(), "3.1416", "3.14", False),
        (Policy(arithmetic="refused"), "5", "2+3", False),
        (Policy(arithmetic="refused"), "5", r"\frac{10}{2}", True),
        (Policy(arithmetic="refused"), "3.5", r"3\frac12", True),
        (Policy(arithmetic="refused"), "1200", r"1.2 \times 10^3", True),
        (Policy(arithmetic="refused"), "5", r"x = 2+3", False),
        (Policy(arithmetic="allowed"), "5", "2+3", True),
    ],
)
def test_policies(policy: Policy, gold: str, answer: str, is_right: bool) -> None:
    assert judge(gold, answer, policy).is_right is is_right


@pytest.mark.parametrize(
    ("gold", "answer", "path"),
    [
        ("42", "42", "exact"),
        ("42", "42.0", "numeric"),
        ("42", r"\frac{84}{2}", "numeric"),
        ("x+1", "1+x", "symbolic"),
        (r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}", "symbolic"),
        ("5050", r"\sum_{k=1}^{100} k", "veto:unevaluated"),
        ("7", "6=7", "veto:refused"),
        ("7", "9^{9^{9^9}}", "veto:cost"),
        ("7", "1\u202e2", "veto:characters"),
        ("7", "[7", "veto:unreadable"),
    ],
)
def test_paths(gold: str, answer: str, path: str) -> None:
    assert judge(gold, answer).path == path


@pytest.mark.parametrize("gold", ["", "  ", "$$", ")", "^", r"\frac{1}{", r"\foo{7}", "6=7", "x=6=7"])
def test_unusable_golds(gold: str) -> None:
    assert gold_fault(gold)


@pytest.mark.parametrize(
    "gold", [r"\sum_{k=1}^n k^3", "9^{9^{9}}", r"12\text{ cm} \times 3\text{ cm}", "A", "no solution"]
)
def test_usable_golds(gold: str) -> None:
    assert gold_fault(gold) is None
