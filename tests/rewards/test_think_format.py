"""`think_format`: one thinking block that is not empty, then the answer, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from reasoning_rl.api import Sample, Score, ThinkingTags, Verdict
from reasoning_rl.parsing import Reader, split_completion
from reasoning_rl.recipe import Thinking
from reasoning_rl.testing import check_reward
from reasoning_rl_rewards.think_format import ThinkFormat

ONE_BLOCK = "not exactly one thinking block"
NOT_A_BOX = "the answer does not end with its only box"
BEFORE = "text before the box"
MARKER = "an end-of-turn marker"


def grade(text: str, *, truncated: bool = False, **options: Any) -> Score:
    return ThinkFormat(**options)(Sample([], split_completion(text, Thinking(), num_tokens=1, truncated=truncated), {}))


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("<think>a</think>\\boxed{5}", {}),
        ("<think>\na\n\nb\n</think>\n\n\\boxed{5}\n", {}),
        ("  <think>a</think>\\boxed{5}", {}),
        ("<think>a \\boxed{4} b</think>\\boxed{\\frac{1}{2}}", {}),
        ("<think>a</think>The answer is 5.", {"boxed": False}),
        ("<think>a</think>The answer is \\boxed{5}", {"text_before_box": True}),
        ("<think>a</think>\\boxed{5}", {"text_before_box": True}),
        ("a</think>\\boxed{5}", {"opened_by_template": True}),
        ("[T]a[/T]\\boxed{5}", {"open": "[T]", "close": "[/T]"}),
    ],
)
def test_right_form_scores_full(text: str, options: dict[str, Any]) -> None:
    assert grade(text, **options) == Score.correct()


@pytest.mark.parametrize("text", ["", " \n", "<think></think>", "<think> </think>\\boxed{}"])
def test_empty_does_not(text: str) -> None:
    assert (grade(text).value, grade(text).verdict) == (0.0, Verdict.WRONG)


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("\\boxed{5}", {}, ONE_BLOCK),
        ("<think>a", {}, ONE_BLOCK),
        ("a</think>\\boxed{5}", {}, ONE_BLOCK),
        ("<think>a\\boxed{5}", {}, ONE_BLOCK),
        ("<think>a</think>\\boxed{5}<think>b</think>", {}, ONE_BLOCK),
        ("<think><think>a</think>\\boxed{5}", {}, ONE_BLOCK),
        ("<think>a</think></think>\\boxed{5}", {}, ONE_BLOCK),
        ("<think>a</think>\\boxed{</think>}", {}, ONE_BLOCK),
        ("<THINK>a</THINK>\\boxed{5}", {}, ONE_BLOCK),
        ("Well <think>a</think>\\boxed{5}", {}, "text before the thinking block"),
        ("</think>a<think>\\boxed{5}", {}, "text before the thinking block"),
        ("<think></think>\\boxed{5}", {}, "empty thinking"),
        ("<think> \n</think>\\boxed{5}", {}, "empty thinking"),
        ("<think>a</think>", {}, "no answer after the thinking"),
        ("<think>a</think> \n", {"boxed": False}, "no answer after the thinking"),
        ("<think>a</think>5", {}, NOT_A_BOX),
        ("<think>a</think>The answer is \\boxed{5}", {}, BEFORE),
        ("<think>a</think>\\boxed{5}.", {}, NOT_A_BOX),
        ("<think>a</think>\\boxed{5} \\boxed{5}", {}, NOT_A_BOX),
        ("<think>a</think>$\\boxed{5}$", {}, NOT_A_BOX),
        ("<think>a</think>\\boxed{5", {}, NOT_A_BOX),
        ("<think>a</think>\\boxed{5}}", {}, NOT_A_BOX),
        ("<think>a</think>\\boxed{{5}", {}, NOT_A_BOX),
        ("<think>a</think>\\boxed{\\boxed{5}}", {}, NOT_A_BOX),
        ("<think>a</think>\\boxed{}", {}, NOT_A_BOX),
        ("<think>a</think>\\boxed{ }", {}, NOT_A_BOX),
        ("<think>a</think>\\boxed", {}, NOT_A_BOX),
        ("<think>a</think>\\boxed{5}", {"opened_by_template": True}, ONE_BLOCK),
        ("</think>\\boxed{5}", {"opened_by_template": True}, "empty thinking"),
        ("<think>a</think>\\boxed{5}", {"open": "[T]", "close": "[/T]"}, ONE_BLOCK),
        ("<think>a</think>5<|im_end|>\nuser\nand 6?", {"boxed": False}, MARKER),
        ("<think>a<|eot_id|></think>\\boxed{5}", {}, MARKER),
        ("<think>a</think>It is \\boxed{5}, I think", {"text_before_box": True}, NOT_A_BOX),
        ("<think>a</think>\\boxed{4} or \\boxed{5}", {"text_before_box": True}, NOT_A_BOX),
        ("<think>a</think>It is 5", {"text_before_box": True}, NOT_A_BOX),
    ],
)
def test_faults_one_by_one(text: str, options: dict[str, Any], reason: str) -> None:
    assert grade(text, **options) == Score.wrong(reason=reason)


def test_truncated() -> None:
    assert grade("<think>a</think>\\boxed{5}", truncated=True) == Score.wrong(reason="truncated")


@pytest.mark.parametrize(
    "text",
    [
        "<think>" * 14000,
        "<think>a</think>\\boxed{" + "{" * 100_000,
        "<think>a</think>\\boxed{" + "{" * 50_000 + "}" * 50_000,
        "<think>a</think>" + "\\boxed{5}" * 11_000,
        " " * 100_000,
        "<think>" + " " * 100_000 + "</think>\\boxed{5}",
    ],
    ids=["tags", "braces", "more braces", "boxes", "blanks", "blank thinking"],
)
def test_hostile_completion(text: str) -> None:
    assert grade(text).value == 0


@pytest.mark.parametrize(("opening", "closing"), [("", "</t>"), ("<t>", ""), ("<t>", "<t>")])
def test_tags(opening: str, closing: str) -> None:
    with pytest.raises(ValueError, match="open and close: found "):
        ThinkFormat(open=opening, close=closing)


@pytest.mark.parametrize("options", [{}, {"boxed": False}, {"text_before_box": True}])
def test_rules(options: dict[str, Any]) -> None:
    check_reward("think_format", [{}], options=options)


@pytest.mark.parametrize(
    ("tags", "text", "options", "value"),
    [
        (Thinking(open="[T]", close="[/T]"), "[T]a[/T]\\boxed{5}", {}, 1.0),
        (Thinking(open="[T]", close="[/T]"), "<think>a</think>\\boxed{5}", {}, 0.0),
        (Thinking(opened_by_template=True), "a</think>\\boxed{5}", {}, 1.0),
        (Thinking(opened_by_template=True), "<think>a</think>\\boxed{5}", {}, 0.0),
        (Thinking(open="[T]", close="[/T]"), "<think>a</think>\\boxed{5}", {"open": "<think>"}, 1.0),
    ],
)
def test_the_tags_are_those_of_the_recipe(tags: Thinking, text: str, options: dict[str, Any], value: float) -> None:
    sample = Reader(tags).read_text([], text, {})
    assert ThinkFormat(**options)(sample).value == value


def test_it_says_which_tags_are_its_own() -> None:
    assert ThinkFormat().thinking_tags is None
    assert ThinkFormat(opened_by_template=False).thinking_tags == ThinkingTags()
    assert ThinkFormat(open="[T]", close="[/T]").thinking_tags == ThinkingTags("[T]", "[/T]")
