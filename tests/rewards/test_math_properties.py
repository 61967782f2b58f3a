"""`math_answer`: properties that hold for any number, drawn at random with a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from fractions import Fraction

import pytest

from reasoning_rl_rewards.math_answer.comparison import judge
from reasoning_rl_rewards.math_answer.numbers import plain_number
from reasoning_rl_rewards.math_answer.policy import Policy

#: A gold decimal is a rounded number otherwise: 2.000 would be 2.0001.
EXACT = Policy(decimals="exact")


def rationals(count: int, seed: int) -> Iterator[Fraction]:
    chance = random.Random(seed)
    for _ in range(count):
        value = Fraction(
            chance.randrange(1, 10 ** chance.randrange(1, 7)), chance.choice((1, 1, 2, 3, 4, 7, 8, 25, 60))
        )
        yield value * chance.choice((1, -1))


def notations(value: Fraction) -> list[str]:
    """The ways to write a rational number that anyone may use."""
    sign, top, bottom = "-" if value < 0 else "", abs(value.numerator), value.denominator
    whole, rest = divmod(top, bottom)
    found = [
        f"{sign}{top}/{bottom}",
        f"{sign}\\frac{{{top}}}{{{bottom}}}",
        f"\\frac{{{sign}{top}}}{{{bottom}}}",
        f"$ {sign}\\dfrac {{{top}}} {{{bottom}}} $",
        f"\\left({sign}\\tfrac{{{3 * top}}}{{{3 * bottom}}}\\right)",
        f"x = {sign}{top}/{bottom}",
        f"{sign}{top} \\div {bottom}",
        f"{sign}{top}\\cdot\\frac{{1}}{{{bottom}}}",
        f"{sign}\\sqrt{{\\frac{{{top * top}}}{{{bottom * bottom}}}}}",
    ]
    if bottom == 1:
        found += [
            f"{sign}{top}",
            f"{sign}{top}.0",
            f"{sign}{top:,}",
            f"{sign}{top:,}".replace(",", "{,}"),
            f"{sign}{top}.",
        ]
        found += [f"{sign}{top:,}".replace(",", r"\,"), f"{sign}00{top}", f"\\text{{{sign}{top}}}", f"{sign}{top}.00"]
    elif rest and whole:
        found += [f"{sign}{whole}\\frac{{{rest}}}{{{bottom}}}", f"{sign}{whole} {rest}/{bottom}"]
    if 1000 % bottom == 0:
        decimal = f"{sign}{top * (1000 // bottom) // 1000}.{top * (1000 // bottom) % 1000:03d}"
        found += [decimal, f"{decimal}0", f"{decimal}\\times 10^{{0}}"]
        found += [f"{sign}{top * (1000 // bottom)}e-3", f"{sign}{top * (1000 // bottom)} \\times 10^{{-3}}"]
    return found


def test_all_notations_of_a_number_are_equal() -> None:
    count = 0
    for value in rationals(60, seed=1):
        written = notations(value)
        for gold in written:
            for answer in written:
                assert judge(gold, answer).is_right, (gold, answer)
                count += 1
    assert count > 5000


PERTURBATIONS: dict[str, Callable[[Fraction], Fraction]] = {
    "one more": lambda value: value + 1,
    "one less": lambda value: value - 1,
    "the other sign": lambda value: -value,
    "upside down": lambda value: 1 / value,
    "ten times": lambda value: value * 10,
    "a thousandth more": lambda value: value * Fraction(1001, 1000),
    "a trillionth more": lambda value: value + Fraction(1, 10**12),
    "twice": lambda value: value * 2,
}


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_other_numbers_are_different_in_every_notation(name: str) -> None:
    count = 0
    for value in rationals(25, seed=2):
        other = PERTURBATIONS[name](value)
        if other == value:
            continue
        for gold in notations(value):
            for answer in notations(other):
                assert not judge(gold, answer, EXACT).is_right, (gold, answer)
                count += 1
    assert count > 1000


def polynomial(coefficients: list[int], chance: random.Random, letter: str = "x") -> str:
    terms = [f"({c}){letter}^{{{power}}}" for power, c in enumerate(coefficients)]
    chance.shuffle(terms)
    return "+".join(terms)


def test_polynomials_are_equal_when_their_coefficients_are() -> None:
    chance = random.Random(3)
    for _ in range(60):
        coefficients = [chance.randrange(-9, 10) for _ in range(chance.randrange(2, 6))]
        other = list(coefficients)
        other[chance.randrange(len(other))] += chance.choice((1, -1, 2))
        gold = polynomial(coefficients, chance)
        assert judge(gold, polynomial(coefficients, chance)).is_right
        assert not judge(gold, polynomial(other, chance)).is_right
        assert not judge(gold, polynomial(coefficients, chance, "y")).is_right or not any(coefficients[1:])


def test_sets_ignore_order_and_tuples_keep_it() -> None:
    chance = random.Random(4)
    for _ in range(60):
        items = chance.sample(range(-50, 50), chance.randrange(2, 7))
        other = chance.sample(items, len(items))
        changed = [items[0] + 100, *items[1:]]
        inside, shuffled, wrong = (", ".join(map(str, values)) for values in (items, other, changed))
        assert judge(f"\\{{{inside}\\}}", f"\\{{{shuffled}\\}}").is_right
        assert judge(inside, shuffled).is_right
        assert judge(f"({inside})", f"({shuffled})").is_right is (items == other)
        for gold in (inside, f"\\{{{inside}\\}}", f"({inside})"):
            assert not judge(gold, gold.replace(inside, wrong)).is_right
            assert not judge(gold, gold.replace(inside, inside + ", 99")).is_right


def test_a_lone_letter_equals_no_number() -> None:
    for value in rationals(30, seed=5):
        for letter in "ABCDExyn":
            assert not judge(str(value), letter).is_right
            assert not judge(letter, str(value)).is_right


@pytest.mark.parametrize(
    ("text", "value", "places"),
    [
        ("42", Fraction(42), 0),
        ("-0.50", Fraction(-1, 2), 2),
        (".5", Fraction(1, 2), 1),
        ("+3/6", Fraction(1, 2), 0),
        (r"-\frac{-1}{2}", Fraction(1, 2), 0),
        (r"\dfrac{9}{3}", Fraction(3), 0),
    ],
)
def test_plain_numbers(text: str, value: Fraction, places: int) -> None:
    assert plain_number(text) == (value, places)


@pytest.mark.parametrize(
    "text", ["", "x", "1/0", r"\frac{1}{0}", "1e5", "1,000", "٣", "1.", "--1", "9" * 41, "1 2", "1_000"]
)
def test_what_is_no_plain_number(text: str) -> None:
    assert plain_number(text) is None
