"""`math_answer`: where the answer stands."""

from __future__ import annotations

import pytest

from reasoning_rl.api import ThinkingTags
from reasoning_rl_rewards.math_answer.extract import boxes, find_answers, join_boxes


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        (r"\boxed{7}", ["7"]),
        (r"so \boxed{ 7 }.", ["7"]),
        (r"\boxed {7}", ["7"]),
        (r"\fbox{7}", ["7"]),
        (r"\boxed{\frac{1}{2}}", [r"\frac{1}{2}"]),
        (r"\boxed{\{1, 2\}}", [r"\{1, 2\}"]),
        (r"\boxed{[0, 1)}", ["[0, 1)"]),
        (r"\boxed{a \} b}", [r"a \} b"]),
        (r"\boxed{\boxed{7}}", [r"\boxed{7}"]),
        (r"\boxed{6} or \boxed{7}", ["6", "7"]),
        (r"\boxed{} and \boxed{7}", ["7"]),
        (r"\boxed{7", []),
        (r"\boxed{6} \boxed{7", ["6"]),
        (r"\boxed 7", []),
        ("7", []),
        ("The answer is 7.", []),
        ("<|begin_of_box|>B<|end_of_box|>", ["B"]),
        ("<|begin_of_box|>B", []),
    ],
)
def test_boxes(text: str, answers: list[str]) -> None:
    assert list(boxes(text).answers) == answers


@pytest.mark.parametrize(
    ("text", "had_thinking", "answers"),
    [
        (r"\boxed{8}<|im_end|>\boxed{7}", False, ["8"]),
        (r"<|eot_id|>\boxed{7}", False, []),
        (r"\boxed{8} <think>b</think> \boxed{7}", True, []),
        (r"</think> \boxed{7}", True, []),
        (r"\boxed{8}</think> \boxed{7}", False, ["7"]),
        (r"\boxed{8}</think> a </think>\boxed{7}", False, []),
        (r"<think> \boxed{7}", False, []),
    ],
)
def test_turns_and_thinking(text: str, had_thinking: bool, answers: list[str]) -> None:
    assert list(find_answers(text, had_thinking, "boxed").answers) == answers


@pytest.mark.parametrize(
    ("how", "text", "answers"),
    [
        ("marked", "The answer is 7.\nBye", ["7"]),
        ("marked", "**Answer:** 7", ["7"]),
        ("marked", "Final Answer: $x = 7$", ["$x = 7$"]),
        ("marked", "Answer:\n\n 7", ["7"]),
        ("marked", "Answer: 6\nAnswer: 7", ["6", "7"]),
        ("marked", r"The answer is 6, \boxed{7}", ["7"]),
        ("marked", "I count 7.", []),
        ("final_text", "\n 7 ", ["7"]),
        ("final_text", "  ", []),
    ],
)
def test_other_places(how: str, text: str, answers: list[str]) -> None:
    found = find_answers(text, True, how)  # pyright: ignore[reportArgumentType]
    assert list(found.answers) == answers
    assert bool(found.fault) is not bool(answers)


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        (r"\boxed{1} and \boxed{2}", "1, 2"),
        (r"$\boxed{1}$, $\boxed{2}$", "1, 2"),
        (r"\boxed{k = 45} \quad \text{and} \quad \boxed{n = 2}", "k = 45, n = 2"),
        (r"\boxed{1} no, \boxed{2}", None),
    ],
)
def test_joined_boxes(text: str, joined: str | None) -> None:
    assert join_boxes(boxes(text)) == joined


def test_more_boxes_than_anyone_needs_are_no_answer() -> None:
    assert boxes(r"\boxed{7}" * 65).answers == ()


def test_the_tags_are_those_of_the_recipe() -> None:
    tags = ThinkingTags("[T]", "[/T]")
    assert find_answers(r"a[/T]\boxed{7}", False, "boxed", tags).answers == ("7",)
    assert find_answers(r"[T]a[/T]\boxed{7}", False, "boxed", tags).fault
    assert find_answers(r"</think>\boxed{7}", True, "boxed", tags).answers == ("7",)
    assert find_answers(r"</think>\boxed{7}", True, "boxed").fault
