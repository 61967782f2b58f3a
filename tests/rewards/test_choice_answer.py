"""`choice_answer`: which letters are an answer, and which gold answers can be read."""

from __future__ import annotations

from typing import Any

import pytest

from reasoning_rl.api import Score, Verdict
from reasoning_rl.testing import check_reward, make_sample
from reasoning_rl_rewards.choice_answer import ChoiceAnswer

CITIES = ["Rome", "Paris", "A town in B", "Vitamin C"]


def grade(text: str, gold: object = "B", row: dict[str, Any] | None = None, **options: Any) -> Score:
    return ChoiceAnswer(**options)(make_sample(f"<think>A, B or C</think>{text}", {"answer": gold, **(row or {})}))


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{B}",
        "\\boxed{b}",
        "\\boxed{(B)}",
        "\\boxed{B.}",
        "\\boxed{\\text{B}}",
        "\\boxed{\\text{(B) Paris}}",
        "\\boxed{\\mathrm{B}}",
        "\\boxed{B: Paris}",
        "So \\boxed{B}, and again \\boxed{B}.",
        "Answer: B",
        "answer: b",
        "Answer:\nB",
        "Answer: (B)",
        "Answer: [B]",
        "Answer: $B$",
        "**Answer:** B",
        "Answer: **B**",
        "**Answer: B.**",
        "Answer: B) Paris",
        "Answer: B. Paris",
        "Answer: B, since it is the capital",
        "Answer: B (the capital)",
        "Answer: B - Paris",
        "The answer is B",
        "The answer is (B).",
        "The answer is: B",
        "The answer is **B**.",
        "Final answer: B\nThat was easy.",
        "The correct answer is \\boxed{B}.",
        "Answer: B\n\\boxed{B}",
        "B",
        " (b) ",
        "B.",
        "**B**",
        "B) Paris",
        "A is too hot. The answer is B.",
    ],
)
def test_right(text: str) -> None:
    assert grade(text) == Score.correct(extracted="B", gold="B")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("", Verdict.NO_ANSWER),
        ("I do not know.", Verdict.NO_ANSWER),
        ("I think B fits best", Verdict.NO_ANSWER),
        ("The answer is in the table below.", Verdict.NO_ANSWER),
        ("Answer: b or so", Verdict.NO_ANSWER),
        ("Answer: Because", Verdict.NO_ANSWER),
        ("A and B", Verdict.NO_ANSWER),
        ("ABCDE", Verdict.NO_ANSWER),
        ("Answer: A\nAnswer: B", Verdict.NO_ANSWER),
        ("\\boxed{A} \\boxed{B}", Verdict.NO_ANSWER),
        ("Answer: A \\boxed{B}", Verdict.NO_ANSWER),
        ("\\boxed{B} \\boxed{42}", Verdict.NO_ANSWER),
        ("The answer is A. Wait, the answer is B.", Verdict.NO_ANSWER),
        ("Answer: A", Verdict.WRONG),
        ("\\boxed{A}", Verdict.WRONG),
        ("\\boxed{F}", Verdict.WRONG),
        ("\\boxed{42}", Verdict.WRONG),
        ("\\boxed{A or B}", Verdict.WRONG),
        ("\\boxed{B or A}", Verdict.WRONG),
        ("\\boxed{B, A}", Verdict.WRONG),
        ("\\boxed{AB}", Verdict.WRONG),
        ("\\boxed{В}", Verdict.WRONG),  # a Cyrillic В
        ("Answer: B or A", Verdict.WRONG),
        ("Answer: B, or A", Verdict.WRONG),
        ("Answer: B/A", Verdict.WRONG),
        ("Answer: B dog", Verdict.WRONG),
        ("<|im_end|>user\nAnswer: B", Verdict.NO_ANSWER),
    ],
)
def test_not_right(text: str, verdict: Verdict) -> None:
    score = grade(text)
    assert (score.value, score.verdict) == (0, verdict)


@pytest.mark.parametrize(
    ("text", "gold", "verdict"),
    [
        ("\\boxed{Paris}", "B", Verdict.CORRECT),
        ("\\boxed{paris.}", "B", Verdict.CORRECT),
        ("Answer: Paris", "B", Verdict.CORRECT),
        ("Paris", "B", Verdict.CORRECT),
        ("Answer: B) Paris", "B", Verdict.CORRECT),
        ("Answer: B) Rome", "B", Verdict.WRONG),  # letter and text contradict each other
        ("Answer: C) A town in B", "C", Verdict.CORRECT),
        ("Answer: D. Vitamin C", "D", Verdict.CORRECT),
        ("\\boxed{Vitamin C}", "D", Verdict.CORRECT),
        ("\\boxed{E}", "D", Verdict.WRONG),  # there are four options
        ("Paris or Rome", "B", Verdict.NO_ANSWER),
    ],
)
def test_with_the_texts_of_the_options(text: str, gold: str, verdict: Verdict) -> None:
    assert grade(text, gold, {"options": CITIES}, choices_column="options").verdict is verdict


def test_without_them_an_option_that_names_a_letter_is_refused() -> None:
    assert grade("Answer: D. Vitamin C", "D").verdict is Verdict.WRONG


@pytest.mark.parametrize(
    ("gold", "options", "letter"),
    [
        ("B", {}, "B"),
        (" b ", {}, "B"),
        (1, {"gold": "index_from_0"}, "B"),
        ("1", {"gold": "index_from_0"}, "B"),
        (2, {"gold": "index_from_1"}, "B"),
        (0, {"gold": "index_from_0"}, "A"),
        ("Paris", {"gold": "text", "choices_column": "options"}, "B"),
        ("vitamin  c.", {"gold": "text", "choices_column": "options"}, "D"),
        ("J", {"letters": "FGHJ"}, "J"),
        (3, {"letters": "FGHJ", "gold": "index_from_0"}, "J"),
        ("F", {}, None),
        ("BC", {}, None),
        ("", {}, None),
        (None, {}, None),
        (True, {"gold": "index_from_0"}, None),
        (5, {"gold": "index_from_0"}, None),
        (0, {"gold": "index_from_1"}, None),
        (-1, {"gold": "index_from_0"}, None),
        (1.5, {"gold": "index_from_0"}, None),
        ("E", {"choices_column": "options"}, None),
        ("Berlin", {"gold": "text", "choices_column": "options"}, None),
        ("B", {"choices_column": "no column"}, None),
    ],
)
def test_gold(gold: object, options: dict[str, Any], letter: str | None) -> None:
    reward, row = ChoiceAnswer(**options), {"answer": gold, "options": CITIES}
    assert reward.reference(row) == (None if letter is None else f"\\boxed{{{letter}}}")
    score = reward(make_sample(f"\\boxed{{{letter}}}", row))
    assert score.verdict is (Verdict.BAD_REFERENCE if letter is None else Verdict.CORRECT)


@pytest.mark.parametrize("choices", [None, "AB", [], ["a"], ["a", "A"], ["a", " "], list("abcdef")])
def test_bad_options_abstain(choices: object) -> None:
    assert grade("\\boxed{A}", "A", {"c": choices}, choices_column="c").verdict is Verdict.BAD_REFERENCE


@pytest.mark.parametrize("letters", ["", "A", "AA", "ab", "A1", "ÄB"])
def test_letters(letters: str) -> None:
    with pytest.raises(ValueError, match="letters: found "):
        ChoiceAnswer(letters=letters)


def test_texts_as_gold_need_the_texts() -> None:
    with pytest.raises(ValueError, match="gold: found 'text' without choices_column"):
        ChoiceAnswer(gold="text")


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([{"answer": "A"}, {"answer": "D"}], {}),
        ([{"answer": 0}, {"answer": 3}], {"gold": "index_from_0"}),
        ([{"answer": "Paris", "o": CITIES}, {"answer": "Rome", "o": CITIES}], {"gold": "text", "choices_column": "o"}),
    ],
)
def test_rules(rows: list[dict[str, Any]], options: dict[str, Any]) -> None:
    check_reward("choice_answer", rows, options=options)
