"""`exact_answer`: what counts as the answer and when two answers are equal."""

from __future__ import annotations

from typing import Any

import pytest

from reasoning_rl.api import Sample, Score, Verdict
from reasoning_rl.parsing import split_completion
from reasoning_rl.plugins import resolve
from reasoning_rl.recipe import Thinking
from reasoning_rl_rewards.exact_answer import ExactAnswer, boxed


def grade(text: str, gold: object, **options: Any) -> Score:
    completion = split_completion(text, Thinking(), num_tokens=1, truncated=False)
    return ExactAnswer(**options)(Sample([], completion, {"answer": gold}))


@pytest.mark.parametrize(
    ("extract", "text"),
    [
        ("boxed", "<think>thoughts</think>\\boxed{42}"),
        ("last_number", "<think>thoughts</think>\\boxed{42}"),
        ("final_text", "<think>thoughts</think>42"),
    ],
)
def test_gold_scores_full(extract: str, text: str) -> None:
    assert grade(text, "42", extract=extract) == Score.correct(extracted="42", gold="42")


@pytest.mark.parametrize("extract", ["boxed", "last_number", "final_text"])
@pytest.mark.parametrize("text", ["", " \n", "<think></think>", "<think></think>\\boxed{}", "\\boxed{ }"])
def test_empty_does_not(extract: str, text: str) -> None:
    score = grade(text, "42", extract=extract)
    assert score.value == 0
    assert score.verdict is Verdict.NO_ANSWER or extract == "final_text"


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("42", 42),
        ("42", 42.0),
        ("42", " 42 "),
        ("042", "42"),
        ("42.0", "42"),
        ("+42", "42"),
        ("42.", "42"),
        ("42 .", "42"),
        ("$42$", "42"),
        ("$42$.", "42"),
        ("$42.$", "42"),
        (" $ 42 $ ", "42"),
        ("42", "$42$"),
        ("0.5", "1/2"),
        (".5", "0.5"),
        ("-.5", "-1/2"),
        ("2/4", "1/2"),
        ("-0", "0"),
        ("1,234", "1234"),
        ("1,234,567.50", "1234567.5"),
        ("1e3", "1000"),
        ("2.5E-1", "1/4"),
        ("-7", "−7"),
        ("−7", "-7"),
        ("٣", "3"),
        ("x + 1", "x + 1"),
        ("Paris", "Paris."),
        ("{1, 2}", "{1, 2}"),
        ("\\frac{1}{2}", "\\frac{1}{2}"),
        ("1/0", "1/0"),
        ("9" * 100, "9" * 100),
    ],
)
def test_equal(answer: str, gold: object) -> None:
    score = grade(f"so \\boxed{{{answer}}}", gold)
    assert score == Score.correct(extracted=answer.strip(), gold=str(gold))


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("43", "42"),
        ("-42", "42"),
        ("42.0000000000000000001", "42"),
        ("0.3333333333", "1/3"),
        ("1,23", "123"),
        ("12,34", "1234"),
        ("42 apples", "42"),
        ("4 2", "42"),
        ("1+x", "x+1"),
        ("paris", "Paris"),
        ("x+1", "x + 1"),
        ("1/0", "0"),
        ("1e9999", "1"),
        ("nan", "0"),
        ("0x10", "16"),
        ("1_000", "1000"),
        ("9" * 100 + ".0", "9" * 100),
    ],
)
def test_different(answer: str, gold: str) -> None:
    assert grade(f"so \\boxed{{{answer}}}", gold) == Score.wrong(extracted=answer, gold=gold)


@pytest.mark.parametrize(
    ("text", "gold", "verdict"),
    [
        ("\\boxed{1} and \\boxed{2}", "2", Verdict.NO_ANSWER),
        ("\\boxed{1} and \\boxed{2}", "1", Verdict.NO_ANSWER),
        ("\\boxed{2} and \\boxed{2}", "2", Verdict.CORRECT),
        ("\\boxed{1/2} and \\boxed{0.5}", ".5", Verdict.CORRECT),
        ("\\boxed{} and \\boxed{2}", "2", Verdict.CORRECT),
        ("<think>\\boxed{1}</think>\\boxed{2}", "2", Verdict.CORRECT),
        ("<think>\\boxed{2}</think>", "2", Verdict.NO_ANSWER),
        ("<think>\\boxed{2}", "2", Verdict.NO_ANSWER),
        ("<think>a</think>2", "2", Verdict.NO_ANSWER),
        ("<think>a</think>\\boxed{1}<think>\\boxed{2}</think>", "2", Verdict.NO_ANSWER),
        ("\\boxed{2", "2", Verdict.NO_ANSWER),
        ("\\boxed{2} \\boxed{3", "2", Verdict.CORRECT),
        ("\\boxed 2", "2", Verdict.NO_ANSWER),
        ("\\fbox{2}", "2", Verdict.NO_ANSWER),
        ("\\boxed{{2}}", "{2}", Verdict.CORRECT),
        ("\\boxed{\\boxed{2}}", "2", Verdict.WRONG),
        ("\\boxed{a_{1}+b_{2}} end}", "a_{1}+b_{2}", Verdict.CORRECT),
    ],
)
def test_boxes(text: str, gold: str, verdict: Verdict) -> None:
    assert grade(text, gold).verdict is verdict


@pytest.mark.parametrize("extract", ["boxed", "last_number", "final_text"])
@pytest.mark.parametrize("marker", ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>"])
def test_nothing_after_the_turn_is_read(marker: str, extract: str) -> None:
    own = {"boxed": "\\boxed{42}", "last_number": "42", "final_text": "42"}[extract]
    other = {"boxed": "\\boxed{41}", "last_number": "41", "final_text": "41"}[extract]
    assert grade(f"{own}{marker}\nuser\n{other}", "42", extract=extract).value == 1
    assert grade(f"{other}{marker}\nuser\n{own}", "42", extract=extract).value == 0
    assert grade(f"<think>a</think>{marker}{own}", "42", extract=extract).verdict is Verdict.NO_ANSWER


@pytest.mark.parametrize(
    ("gold", "extract", "reference", "near_misses"),
    [
        ("42", "boxed", "\\boxed{42}", ["\\boxed{43}", "\\boxed{-42}"]),
        (42, "final_text", "42", ["43", "-42"]),
        ("1/2", "last_number", "The answer is 1/2", ["The answer is 3/2", "The answer is -1/2"]),
        ("0", "boxed", "\\boxed{0}", ["\\boxed{1}"]),
        ("Paris.", "boxed", "\\boxed{Paris.}", ["\\boxed{Paria}"]),
        ("\\frac{a}{b}", "boxed", "\\boxed{\\frac{a}{b}}", ["\\boxed{\\frac{a}{a}}"]),
        ("?", "final_text", "?", []),
        (None, "boxed", None, []),
        ([], "boxed", None, []),
    ],
)
def test_what_it_calls_right_and_nearly_right(
    gold: object, extract: Any, reference: str | None, near_misses: list[str]
) -> None:
    reward = ExactAnswer(extract=extract)
    assert reward.reference({"answer": gold}) == reference
    assert reward.near_misses({"answer": gold}) == near_misses
    if reference is not None:
        assert grade(reference, gold, extract=extract).value == 1
    assert all(grade(text, gold, extract=extract).value == 0 for text in near_misses)


def test_no_answer_says_why() -> None:
    assert grade("nothing", "2").detail == {"reason": "no answer found", "extracted": [], "gold": "2"}
    text = "".join(f"\\boxed{{{i}}}" for i in range(9))
    expected = {"reason": "several different answers", "extracted": ["0", "1", "2", "3"], "gold": "2"}
    assert grade(text, "2").detail == expected


@pytest.mark.parametrize(
    ("text", "contents"),
    [
        ("", []),
        ("\\boxed{a}\\boxed{b}", ["a", "b"]),
        ("\\boxed{a{b}{c{d}}}e}", ["a{b}{c{d}}"]),
        ("\\boxed{ a } \\boxed{}", ["a"]),
        ("\\boxed{a} \\boxed{b", ["a"]),
        ("\\boxed{", []),
    ],
)
def test_boxed(text: str, contents: list[str]) -> None:
    assert boxed(text) == contents


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("7 + 12 = 19", "19"),
        ("7+12=19 and 19-3=16.", "16"),
        ("<think>so it is 16", "16"),
        ("\\boxed{16}", "16"),
        ("it is 3, thanks", "3"),
        ("one of 3, 4, 5,", "5"),
        ("(1,2)", "2"),
        ("1,234 apples", "1234"),
        ("1,2345", "2345"),
        ("minus −3!", "-3"),
        ("x = -3.25.", "-13/4"),
        ("3/4 of it", "0.75"),
        ("p = .5", "0.5"),
        ("well...5", "5"),
        ("$5$", "5"),
        ("5%", "5"),
    ],
)
def test_last_number(text: str, answer: str) -> None:
    assert grade(text, answer, extract="last_number").verdict is Verdict.CORRECT


def test_last_number_reads_only_the_last() -> None:
    assert grade("19, no, 20", "19", extract="last_number") == Score.wrong(extracted="20", gold="19")
    assert grade("no idea", "19", extract="last_number").verdict is Verdict.NO_ANSWER


@pytest.mark.parametrize(
    ("text", "gold", "verdict"),
    [
        ("<think>a</think> Paris. ", "Paris", Verdict.CORRECT),
        ("Paris", "Paris", Verdict.CORRECT),
        ("<think>a</think>in Paris", "Paris", Verdict.WRONG),
        ("<think>Paris</think>", "Paris", Verdict.NO_ANSWER),
        ("<think>Paris", "Paris", Verdict.NO_ANSWER),
        ("<think>a</think>1,000", 1000, Verdict.CORRECT),
    ],
)
def test_final_text(text: str, gold: object, verdict: Verdict) -> None:
    assert grade(text, gold, extract="final_text").verdict is verdict


@pytest.mark.parametrize("gold", [None, "", " \n", [], ["42"], {"a": 1}, True, False])
def test_bad_reference_abstains(gold: object) -> None:
    score = grade("\\boxed{42}", gold)
    assert (score.value, score.verdict) == (None, Verdict.BAD_REFERENCE)
    assert "column 'answer' holds" in score.detail["reason"]


def test_missing_column_abstains() -> None:
    completion = split_completion("\\boxed{42}", Thinking(), num_tokens=1, truncated=False)
    assert ExactAnswer()(Sample([], completion, {})).verdict is Verdict.BAD_REFERENCE


def test_another_column() -> None:
    reward = resolve("exact_answer", {"column": "gold"})
    completion = split_completion("\\boxed{42}", Thinking(), num_tokens=1, truncated=False)
    assert reward(Sample([], completion, {"gold": 42, "answer": 1})).verdict is Verdict.CORRECT
    assert getattr(reward, "requires", None) == {"gold"}


SIZE = 100_000
HOSTILE = {
    "digits": "1" * SIZE,
    "thousands": "1" + ",111" * (SIZE // 4) + "1",
    "commas": "1," * (SIZE // 2),
    "dots": "." * SIZE,
    "decimals": "1." * (SIZE // 2),
    "signs": "-" * SIZE,
    "fractions": "1/" * (SIZE // 2),
    "open boxes": "\\boxed{" * (SIZE // 7),
    "closed boxes": "\\boxed{1}" * (SIZE // 9),
    "different boxes": "".join(f"\\boxed{{{i}}}" for i in range(SIZE // 12)),
    "nested boxes": "\\boxed{" * (SIZE // 8) + "}" * (SIZE // 8),
    "braces in a box": "\\boxed{" + "{" * SIZE,
    "number in a box": "\\boxed{" + "9" * SIZE + "}",
    "exponent in a box": "\\boxed{1e" + "9" * SIZE + "}",
    "blanks": " " * SIZE + "x",
    "dollars in a box": "\\boxed{" + "$" * SIZE + "}",
    "other digits": "٣" * SIZE,
    "not a character": "\ud800" * SIZE,
}


@pytest.mark.parametrize("extract", ["boxed", "last_number", "final_text"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_completion(text: str, extract: str) -> None:
    assert grade(text, "42", extract=extract).value == 0
    assert grade("\\boxed{42}", text).value == 0, "as gold answer"
