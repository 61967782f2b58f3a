"""`string_match`: when two texts are the same, and what containing means."""

from __future__ import annotations

from typing import Any

import pytest

from reasoning_rl.api import Score, Verdict
from reasoning_rl.testing import check_reward, make_sample
from reasoning_rl_rewards.string_match import MAX_SEARCHED_CHARS, StringMatch


def grade(text: str, gold: object, **options: Any) -> Score:
    return StringMatch(**options)(make_sample(f"<think>a</think>{text}", {"answer": gold}))


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("Paris", "Paris"),
        ("paris", "Paris"),
        (" PARIS. ", "Paris"),
        ("“Paris”", "Paris"),
        ("**Paris**", "Paris"),
        ("New\n  York", "New York"),
        ("New\u00a0York", "New York"),
        ("ｐａｒｉｓ", "Paris"),
        ("ﬁne", "fine"),
        ("STRASSE", "Straße"),
        ("C++", "C++"),
        ("U.S.", "U.S."),
        ("?", "?"),
        ("42", 42),
        ("oui", ["yes", "oui"]),
    ],
)
def test_normalized(answer: str, gold: object) -> None:
    assert grade(answer, gold).verdict is Verdict.CORRECT


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("Pariss", "Paris"),
        ("in Paris", "Paris"),
        ("not Paris", "Paris"),
        ("Paris Paris", "Paris"),
        ("Paris or London", "Paris"),
        ("New-York", "New York"),
        ("Pаris", "Paris"),  # a Cyrillic а
        ("C", "C++"),
        ("?", "Paris"),
        ("42.0", 42),
        ("no", ["yes", "oui"]),
        ("Lyon" + "!" * 500, "Lyon"),  # too long to be looked at
    ],
)
def test_different(answer: str, gold: object) -> None:
    assert grade(answer, gold).verdict is Verdict.WRONG


def test_exact() -> None:
    assert grade(" Paris\n", "Paris", match="exact").verdict is Verdict.CORRECT
    for answer in ("paris", "Paris.", "Pa ris"):
        assert grade(answer, "Paris", match="exact").verdict is Verdict.WRONG


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("It is Paris, of course.", Verdict.CORRECT),
        ("the city of PARIS", Verdict.CORRECT),
        ("comparison", Verdict.WRONG),
        ("Paris2", Verdict.WRONG),
        ("Parisparis, Paris", Verdict.CORRECT),
        ("not Paris", Verdict.CORRECT),  # documented: it reads no sentences
        ("Paris" + " x" * (MAX_SEARCHED_CHARS // 2), Verdict.WRONG),
        ("", Verdict.NO_ANSWER),
    ],
)
def test_contains(answer: str, verdict: Verdict) -> None:
    assert grade(answer, "Paris", match="contains").verdict is verdict


@pytest.mark.parametrize(
    ("text", "extract", "verdict"),
    [
        ("so \\boxed{Paris}.", "boxed", Verdict.CORRECT),
        ("\\boxed{Paris} \\boxed{paris}", "boxed", Verdict.NO_ANSWER),
        ("\\boxed{Paris} \\boxed{Paris}", "boxed", Verdict.CORRECT),
        ("Paris", "boxed", Verdict.NO_ANSWER),
        ("<answer>Paris</answer>", "answer_tag", Verdict.CORRECT),
        ("<answer> Paris </answer> <answer></answer>", "answer_tag", Verdict.CORRECT),
        ("<answer>Paris</answer><answer>Rome</answer>", "answer_tag", Verdict.NO_ANSWER),
        ("<answer>Paris", "answer_tag", Verdict.NO_ANSWER),
        ("Paris<|im_end|>", "final_text", Verdict.CORRECT),
        ("<|im_end|>\nParis", "final_text", Verdict.NO_ANSWER),
        ("", "final_text", Verdict.NO_ANSWER),
    ],
)
def test_places(text: str, extract: str, verdict: Verdict) -> None:
    assert grade(text, "Paris", extract=extract).verdict is verdict


@pytest.mark.parametrize("gold", [None, "", " ", [], ["a", None], ["a", ""], True, {"a": 1}, [["a"]]])
def test_bad_reference_abstains(gold: object) -> None:
    assert grade("a", gold).verdict is Verdict.BAD_REFERENCE


def test_what_it_calls_right_and_nearly_right() -> None:
    assert StringMatch().reference({"answer": ["Rom", "Rome"]}) == "Rom"
    assert StringMatch().near_misses({"answer": ["Rom", "Roa"]}) == ["Rom Rom"]
    assert StringMatch(extract="boxed").reference({"answer": "a}{b"}) is None, "no box can hold it"
    assert StringMatch(extract="answer_tag").reference({"answer": "a}{b"}) == "<answer>a}{b</answer>"


@pytest.mark.parametrize("match", ["exact", "normalized", "contains"])
@pytest.mark.parametrize("extract", ["final_text", "boxed", "answer_tag"])
def test_rules(match: str, extract: str) -> None:
    rows = [{"answer": "Paris"}, {"answer": ["New York", "NYC"]}, {"answer": "42"}]
    check_reward("string_match", rows, options={"match": match, "extract": extract})
