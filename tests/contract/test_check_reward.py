"""The conformance kit passes sound rewards and names the rule that a broken one breaks, one sentence each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import broken_rewards as broken
import pytest

from reasoning_rl.api import Sample, Score
from reasoning_rl.plugins import FunctionReward, resolve
from reasoning_rl.recipe import Thinking
from reasoning_rl.testing import check_reward, make_sample

ROWS = [{"answer": "42", "tests": []}, {"answer": "Paris", "tests": []}]
FILE = Path(__file__).with_name("broken_rewards.py")


def problems(reward: Any, **arguments: Any) -> list[str]:
    """The sentences that come out of the kit, without their dashes."""
    with pytest.raises(AssertionError) as caught:
        check_reward(reward, ROWS, **arguments)
    first, *sentences = str(caught.value).splitlines()
    return [sentence.removeprefix("- ") for sentence in sentences] or [first]


@pytest.mark.parametrize(
    "reward",
    [
        broken.Sound,
        broken.Sound(bonus=0.5),
        f"{broken.__name__}:Sound",
        f"{FILE}:Sound",
        broken.ToleratesHedge,
        broken.brevity,
        broken.shout,
        FunctionReward(broken.brevity, {"max_words": 3}),
        resolve(f"{FILE}:Sound"),
        "exact_answer",
    ],
    ids=[
        "class",
        "instance",
        "module",
        "file",
        "tolerates",
        "function",
        "with gold",
        "built",
        "from file",
        "registered",
    ],
)
def test_a_sound_reward_passes(reward: Any) -> None:
    check_reward(reward, ROWS)


@pytest.mark.parametrize("extract", ["boxed", "last_number", "final_text"])
@pytest.mark.parametrize(
    "thinking", [Thinking(), Thinking(opened_by_template=True)], ids=["tags", "opened by template"]
)
def test_exact_answer_keeps_the_rules(extract: str, thinking: Thinking) -> None:
    rows = [{"answer": "42"}, {"answer": "1/2"}, {"answer": "-7"}]
    check_reward("exact_answer", rows, options={"extract": extract}, thinking=thinking)


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        (broken.Random, "scores the same sample differently the second time"),
        (broken.OtherInAnotherProcess, "differently in another process; use no hash order"),
        (broken.HashOrder, "differently in another process; use no hash order"),
        (broken.NotFinite, "a score must be finite, found nan"),
        (broken.Number, "returns float on the trial 'gold'"),
        (broken.AbstainsOnTheModel, "abstains as grader_error (no thinking) on the trial 'empty'"),
        (broken.RefusesGold, "scores 0 (wrong), expected full marks on the trial 'gold'"),
        (broken.PaysEmpty, "scores 1 (correct), expected nothing on the trial 'empty'"),
        (broken.PaysNearMiss, "scores full marks (1) on the trial 'near_miss'"),
        (broken.PaysHedge, "scores 1 (correct), expected nothing on the trial 'hedge'"),
        (broken.ToleratesNothingKnown, "ToleratesNothingKnown.tolerates: found hegde, expected names among empty, "),
        (broken.MutatesTheRow, "changes the sample that it scores"),
        (broken.MutatesDeep, "changes the sample that it scores"),
        (broken.CrashesWithoutTheColumn, "raises KeyError when column 'answer' is missing; return Score.abstain("),
        (broken.ScoresWithoutTheColumn, "scores 0 when column 'answer' is missing; a row without gold is our fault"),
        (broken.UndeclaredColumn, "reads the column 'tests', which requires does not name; add it"),
        (broken.DetailIsNoJson, "its detail on the trial 'near_miss'"),
        (broken.DetailIsNan, "Out of range float values are not JSON compliant"),
        (broken.RaisesOnSurrogates, "raises UnicodeEncodeError on a lone surrogate"),
        (broken.RaisesOnLongText, "raises OverflowError: too long on 1 MB of words"),
        (broken.Exits, "ends the process (exit code 3: no message) on 1 MB of words"),
        (broken.Unpicklable, "cannot be pickled ("),
        (broken.Thawed, "Thawed can be changed; declare it with @dataclass(frozen=True)"),
        (broken.RequiresText, "requires is 'answer', expected a frozenset of column names"),
        (broken.VersionText, "version is '1.0', expected an integer from 1 on"),
        (broken.BrokenReference, "BrokenReference.reference(row) raised KeyError: 'solution'"),
        (broken.ReferenceIsNoText, "ReferenceIsNoText.reference(row): found 42, expected text or None"),
        (broken.NotADataclass, "class NotADataclass must be a dataclass whose fields are its options"),
        (broken.NotADataclass(), "NotADataclass must be a dataclass whose fields are its options"),
        (broken.empty_is_best, "scores full marks (1) on the trial 'empty'"),
        ("exact_anser", "no reward is registered as 'exact_anser'"),
        (3, "int must be a dataclass"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_rule_is_named(reward: Any, expected: str) -> None:
    found = problems(reward)
    assert any(expected in sentence for sentence in found), found
    assert all("\n" not in sentence for sentence in found)


@pytest.mark.parametrize("reward", [broken.Quadratic, broken.Sleeps], ids=["regular expression", "sleep"])
def test_a_reward_that_does_not_return_is_named_and_killed(reward: Any) -> None:
    (sentence,) = problems(reward, timeout_s=1.0)
    assert sentence.startswith("does not return within 1 s on 1 MB of "), sentence


@pytest.mark.parametrize(
    "reward",
    [
        broken.PaysEmpty,
        broken.PaysHedge,
        broken.MutatesTheRow,
        broken.CrashesWithoutTheColumn,
        broken.UndeclaredColumn,
        broken.DetailIsNoJson,
        broken.RaisesOnSurrogates,
        broken.Unpicklable,
        broken.Thawed,
        broken.VersionText,
        broken.Exits,
    ],
)
def test_only_the_broken_rule_is_named(reward: Any) -> None:
    assert len(problems(reward)) == 1


def test_all_broken_rules_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broken.PaysHedge, "version", 0)
    with pytest.raises(AssertionError) as caught:
        check_reward(broken.PaysHedge, ROWS)
    first, *rest = str(caught.value).splitlines()
    assert first == "broken_rewards:PaysHedge breaks 2 of the rules for rewards:"
    assert [line[:2] for line in rest] == ["- ", "- "]


def test_an_import_of_the_training_stack_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jax.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    sentences = problems(f"{Path(__file__).with_name('imports_torch.py')}:ImportsJax")
    assert sentences == ["imports jax; rewards run where there is no training stack"]


def test_options_are_checked_and_used() -> None:
    check_reward(broken.brevity, ROWS, options={"max_words": 3})
    assert "unknown option 'max_word'; it takes: max_words" in problems(broken.brevity, options={"max_word": 3})[0]
    assert (
        "option 'bonus': found 'high', expected a valid number" in problems(broken.Sound, options={"bonus": "high"})[0]
    )


def test_given_golds_go_before_everything_else() -> None:
    check_reward("exact_answer", [{"answer": "42"}], golds=["so it is \\boxed{42}"])
    with pytest.raises(AssertionError, match="expected full marks on the trial 'gold'"):
        check_reward("exact_answer", [{"answer": "42"}], golds=["so it is 42"])


def test_a_class_inside_a_function() -> None:
    def local(sample: Sample) -> float:
        return 0.5

    assert problems(local)[0].startswith("test_a_class_inside_a_function.<locals>.local is defined inside a function; ")


@pytest.mark.parametrize(
    ("rows", "golds", "expected"),
    [
        ([], None, "check_reward needs at least one row"),
        (ROWS, ["42"], "check_reward needs one gold per row"),
        ([{"answr": "42"}], None, "the rows given to check_reward lack the required column 'answer'"),
    ],
)
def test_wrong_use(rows: list[dict[str, str]], golds: list[str] | None, expected: str) -> None:
    with pytest.raises(AssertionError, match=expected):
        check_reward(broken.Sound, rows, golds=golds)


def test_make_sample() -> None:
    sample = make_sample("<think>a b</think>42", {"answer": "42"}, truncated=True)
    assert broken.Sound()(sample) == Score.correct(extracted="42")
    assert (sample.completion.thinking, sample.completion.num_tokens) == ("a b", 2)
    assert sample.completion.truncated
