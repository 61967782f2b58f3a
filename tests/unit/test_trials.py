"""The made-up completions: what stands beside an answer, when a guess may be right, what every attack looks like."""

from __future__ import annotations

import pytest

from reasoning_rl.api import Score, Verdict
from reasoning_rl.errors import RewardPluginError
from reasoning_rl.parsing import split_completion
from reasoning_rl.recipe import Thinking
from reasoning_rl.trials import (
    ATTACKS,
    GOLD,
    NEAR_MISS,
    Expectation,
    Trial,
    answer_column,
    beside,
    expectation,
    fault,
    may_be_right,
    tolerated,
    trials,
)

BOXED = Expectation("\\boxed{42}", ("\\boxed{43}",), "\\boxed{%s}", ("42",))
TAGS = [Thinking(), Thinking(open="[T]", close="[/T]"), Thinking(opened_by_template=True)]


@pytest.mark.parametrize(
    ("gold", "wrong"),
    [
        ("42", "43"),
        ("-7", "-8"),
        ("0", "1"),
        ("3.5", "4.5"),
        ("1/2", "3/2"),
        ("\\frac{1}{2}", "\\frac{3}{2}"),
        ("12 and 13, 14", "15 and 13, 14"),
        ("5 cm^2", "6 cm^2"),
        ("x_1 = 3", "x_1 = 4"),
        ("x^{2}", "x^{a}"),
        ("x^2+1", "x^2+3"),
        ("Paris", "Paria"),
        ("Rosa.", "Rosb."),
        ("9" * 65, "9" * 64 + "a"),
    ],
)
def test_beside(gold: str, wrong: str) -> None:
    assert beside(gold) == [wrong]


@pytest.mark.parametrize("gold", ["", "?", " - "])
def test_nothing_stands_beside(gold: str) -> None:
    assert beside(gold) == []


@pytest.mark.parametrize(
    ("guess", "gold"),
    [
        ("0", "0"),
        ("0", "0.00"),
        ("1", "x = 1"),
        ("12", "1/12"),
        ("0.5", "1/2"),
        ("5", "-5"),
        ("1,000", "1000"),
        ("A", "(a)"),
        ("yes", "Yes, it is"),
        ("8", "2^3"),
        ("0.28", "28%"),
        ("0", "\\sin \\pi"),
        ("What is 42?", "what is 42"),
    ],
)
def test_may_be_right(guess: str, gold: str) -> None:
    assert may_be_right(guess, gold)


@pytest.mark.parametrize(
    ("guess", "gold"),
    [
        ("0", "42"),
        ("1", "10"),
        ("4", "42"),
        ("A", "42"),
        ("0", "Paris"),
        ("yes", "no"),
        ("", "42"),
        ("?", "42"),
        ("7 + 12 - 3", "16"),
        ("0.5", "1/3"),
        ("A", "\\alpha"),
        ("5/0", "5/1"),
    ],
)
def test_cannot_be_right(guess: str, gold: str) -> None:
    assert not may_be_right(guess, gold)


@pytest.mark.parametrize("tags", TAGS, ids=["tags", "other tags", "opened by the template"])
def test_every_attack_is_there_and_means_what_it_says(tags: Thinking) -> None:
    made_up = list(trials(BOXED, "What is 40 + 2?", tags))
    assert list(dict.fromkeys(trial.name for trial in made_up)) == sorted(
        {GOLD, NEAR_MISS, *ATTACKS}, key=[trial.name for trial in made_up].index
    )
    finals = {trial.name: [] for trial in made_up}
    for trial in made_up:
        completion = trial.sample(tags, [], {}).completion
        finals[trial.name].append(completion.final_text)
        if trial.name in ("gold_in_thinking", "unclosed_thinking"):
            assert "\\boxed{42}" in (completion.thinking or "")
            assert "42" not in completion.final_text
    assert finals[GOLD] == ["\\boxed{42}"]
    assert finals[NEAR_MISS] == ["\\boxed{43}"]
    assert finals["constant"] == ["\\boxed{0}", "\\boxed{1}", "\\boxed{A}", "\\boxed{yes}"]
    assert finals["prompt_numbers"] == ["\\boxed{40}", "\\boxed{2}"]
    assert finals["hedge"] == ["\\boxed{42 or 43}"]
    assert finals["every_box"][0].count("\\boxed{") == 101
    assert finals["look_alikes"] == ["\\bохеd{Чᒿ}"]
    assert [len(text) > 99_990 for text in finals["long_text"]] == [True] * 3
    assert len(finals["user_turn"]) == 4


def test_right_guesses_are_left_out() -> None:
    gold = Expectation("\\boxed{0}", ("\\boxed{1}",), "\\boxed{%s}", ("0",))
    texts = [
        trial.text for trial in trials(gold, "3 - 3 + 0", Thinking()) if trial.name in ("constant", "prompt_numbers")
    ]
    assert [text.rpartition("{")[2] for text in texts] == ["1}", "A}", "yes}", "3}"]


@pytest.mark.parametrize("gold", ["x > 5", "x \\geq 5", "x \\le 5", "1 or 2"])
def test_no_hedge_where_it_may_change_nothing(gold: str) -> None:
    expected = Expectation(f"\\boxed{{{gold}}}", ("\\boxed{7}",), "\\boxed{%s}", (gold,))
    assert "hedge" not in {trial.name for trial in trials(expected, "?", Thinking())}


def test_without_near_misses_the_attacks_that_need_one_are_left_out() -> None:
    names = {trial.name for trial in trials(Expectation("?", (), "%s", ("?",)), "", Thinking())}
    assert ATTACKS.keys() - names == {
        "gold_then_other", "other_then_gold", "hedge", "retraction", "echo", "prompt_numbers", "look_alikes"
    }  # fmt: skip


class Knows:
    requires = frozenset({"answer"})

    def reference(self, row: dict[str, str]) -> str | None:
        return f"Answer: {row['answer']}" if row["answer"] else None

    def near_misses(self, row: dict[str, str]) -> list[str]:
        return ["Answer: 7"]


class KnowsTheAnswerOnly:
    def reference(self, row: dict[str, str]) -> str | None:
        return f"\\boxed{{{row['answer']}}}"


class Broken(Knows):
    tolerates = frozenset({"ecko"})

    def reference(self, row: dict[str, str]) -> str | None:
        raise KeyError("solution")


class Mistyped(Knows):
    def near_misses(self, row: dict[str, str]) -> list[str]:
        return "7"  # type: ignore[return-value]


class Column:
    column = "gold"
    requires = frozenset({"gold"})


def test_what_a_reward_says_goes_before_its_column() -> None:
    assert expectation(Knows(), {"answer": "42"}) == Expectation(
        "Answer: 42", ("Answer: 7",), "%s", ("Answer: 42", "42")
    )
    assert expectation(Knows(), {"answer": ""}) is None
    assert expectation(KnowsTheAnswerOnly(), {"answer": "42"}) == Expectation(
        "\\boxed{42}", ("\\boxed{43}",), "\\boxed{%s}", ("42",)
    )


def test_a_column_in_a_form() -> None:
    assert answer_column(Column()) == "gold"
    assert expectation(Column(), {"gold": 42}, "#### %s") == Expectation("#### 42", ("#### 43",), "#### %s", ("42",))


@pytest.mark.parametrize("gold", [None, "", " ", True, ["42"], {}])
def test_a_column_without_an_answer(gold: object) -> None:
    assert expectation(Column(), {"gold": gold}) is None


def test_methods_that_are_broken() -> None:
    with pytest.raises(RewardPluginError, match=r"Broken\.reference\(row\) raised KeyError: 'solution'; let it return"):
        expectation(Broken(), {"answer": "42"})
    with pytest.raises(RewardPluginError, match=r"Mistyped\.near_misses\(row\): found '7', expected a list of texts"):
        expectation(Mistyped(), {"answer": "42"})
    with pytest.raises(RewardPluginError, match=r"Broken\.tolerates: found ecko, expected names among empty, "):
        tolerated(Broken())


HALF = Score(0.5, Verdict.PARTIAL)


@pytest.mark.parametrize(
    ("trial", "score", "near", "expected"),
    [
        (GOLD, Score.correct(), 0.0, None),
        (GOLD, Score(2.0, Verdict.PARTIAL), 0.0, None),
        (GOLD, HALF, 0.0, "scores 0.5 (partial), expected full marks"),
        (GOLD, Score.abstain(Verdict.NOT_APPLICABLE), 0.0, None),
        (GOLD, Score.abstain(Verdict.BAD_REFERENCE, reason="no"), 0.0, "abstains as bad_reference (no)"),
        (NEAR_MISS, HALF, 0.0, None),
        (NEAR_MISS, Score.correct(), 0.0, "scores full marks (1)"),
        ("echo", Score.wrong(), 0.0, None),
        ("echo", Score(-1.0, Verdict.WRONG), 0.0, None),
        ("echo", HALF, 0.0, "scores 0.5 (partial), expected nothing"),
        ("echo", HALF, 0.5, None),
        ("echo", HALF, -1.0, "scores 0.5 (partial), expected nothing"),
        ("echo", Score.correct(), 1.0, "scores 1 (correct), expected nothing"),
        ("echo", Score.abstain(Verdict.GRADER_ERROR), 0.0, "abstains as grader_error (no reason given)"),
    ],
)
def test_fault(trial: str, score: Score, near: float, expected: str | None) -> None:
    assert fault(trial, score, near) == expected


def test_a_trial_is_an_ordinary_sample() -> None:
    sample = Trial("echo", "<think>a</think>b").sample(Thinking(), [], {"x": 1}, "train/0/3")
    assert (sample.row, sample.row_id) == ({"x": 1}, "train/0/3")
    assert sample.completion == split_completion("<think>a</think>b", Thinking(), num_tokens=5, truncated=False)
