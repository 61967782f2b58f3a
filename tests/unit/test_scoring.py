"""Totals, abstention and the stop of a run whose grading is broken, all computed by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.api import Completion, Reward, Sample, Score, Verdict
from reasoning_rl.errors import DataError, ScoringError
from reasoning_rl.recipe import Recipe
from reasoning_rl.scoring import RewardSet, ScoredSample, WeightedReward, refuse_broken_grading, verdict_rates

SAMPLE = Sample([], Completion("text", None, "text", 1, False), {})
BROKEN = Score.abstain(Verdict.GRADER_ERROR, reason="no disk")
BAD_ROW = Score.abstain(Verdict.BAD_REFERENCE, reason="no answer")
SILENT = Score.abstain(Verdict.NOT_APPLICABLE)


def always(score: Any) -> Reward:
    return lambda sample: score


def reward_set(*weighted: tuple[Score, float]) -> RewardSet:
    return RewardSet(tuple(WeightedReward(f"r{i}", always(score), w) for i, (score, w) in enumerate(weighted)))


def partial(value: float) -> Score:
    return Score(value, Verdict.PARTIAL)


@pytest.mark.parametrize(
    ("weighted", "total"),
    [
        ([(Score.correct(), 1.0)], 1.0),
        ([(Score.wrong(), 1.0)], 0.0),
        ([(Score.correct(), 2.5), (partial(0.5), 0.2)], 2.6),
        ([(Score.correct(), 1.0), (Score.correct(), -0.25)], 0.75),
        ([(Score.correct(), 1.0), (Score.correct(), 0.0)], 1.0),
        ([(Score.correct(), 1.0), (BROKEN, 0.0)], 1.0),
        ([(Score.correct(), 1.0), (BROKEN, 0.1)], None),
        ([(BAD_ROW, 1.0), (Score.correct(), 1.0)], None),
        ([(Score.correct(), 1.0), (SILENT, 5.0)], 1.0),
        ([(SILENT, 1.0), (SILENT, 1.0)], None),
        ([(SILENT, 1.0), (Score.correct(), 0.0)], None),
        ([(Score.correct(), 0.0)], None),
        ([], None),
    ],
    ids=[
        "one", "wrong", "weights", "negative weight", "weight 0", "fault at weight 0", "fault", "bad row",
        "not applicable", "nothing applies", "only the unweighted applies", "all weights 0", "no reward",
    ],
)  # fmt: skip
def test_total(weighted: list[tuple[Score, float]], total: float | None) -> None:
    scored = reward_set(*weighted).score(SAMPLE)
    assert scored.total == (None if total is None else pytest.approx(total))
    assert list(scored.scores.values()) == [score for score, _ in weighted]
    assert scored.seconds.keys() == scored.scores.keys()


def raises(sample: Sample) -> Score:
    raise KeyError("answer")


def recurses(sample: Sample) -> Score:
    return recurses(sample)


@pytest.mark.parametrize(
    ("reward", "reason"),
    [
        (raises, "KeyError: 'answer'"),
        (recurses, "RecursionError: "),
        (always(0.5), "returned float, expected Score"),
        (always(None), "returned NoneType, expected Score"),
    ],
    ids=["raises", "recurses", "returns a number", "returns nothing"],
)
def test_a_reward_that_fails_abstains(reward: Reward, reason: str) -> None:
    rewards = RewardSet((WeightedReward("bad", reward, 1.0), WeightedReward("good", always(Score.correct()), 1.0)))
    scored = rewards.score(SAMPLE)
    assert scored.total is None
    assert scored.scores["bad"].verdict is Verdict.GRADER_ERROR
    assert scored.scores["bad"].detail["reason"].startswith(reason)
    assert scored.scores["good"] == Score.correct()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_stopping_the_run_is_no_fault_of_a_reward(stop: type[BaseException]) -> None:
    def reward(sample: Sample) -> Score:
        raise stop

    with pytest.raises(stop):
        RewardSet((WeightedReward("r", reward, 1.0),)).score(SAMPLE)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_abstains(value: float) -> None:
    scored = RewardSet((WeightedReward("r", lambda sample: Score(value, Verdict.PARTIAL), 1.0),)).score(SAMPLE)
    assert scored.total is None
    assert "a score must be finite" in scored.scores["r"].detail["reason"]


@pytest.mark.parametrize(
    ("value", "verdict"), [(None, Verdict.WRONG), (0.0, Verdict.GRADER_ERROR), (1.0, Verdict.NOT_APPLICABLE)]
)
def test_value_and_verdict_must_agree(value: float | None, verdict: Verdict) -> None:
    with pytest.raises(ValueError, match="contradict each other"):
        Score(value, verdict)


def test_batch_keeps_its_order() -> None:
    rewards = RewardSet((WeightedReward("r", lambda sample: partial(sample.row["value"]), 1.0),))
    samples = [Sample([], SAMPLE.completion, {"value": value}) for value in (0.1, 0.3, 0.2)]
    assert [item.total for item in rewards.score_batch(samples)] == [0.1, 0.3, 0.2]


def test_from_recipe(recipe_tree: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(sample, *, a):\n    return a\nf.requires = {'b'}\n")
    uses = {
        "z": {"use": "exact_answer", "weight": 2.0, "options": {"column": "gold"}},
        "a": {"use": f"{tmp_path}/mine.py:f", "options": {"a": 0.25}},
    }
    rewards = RewardSet.from_recipe(
        Recipe.model_validate(recipe_tree(rewards=uses, eval=None, stages=[{"name": "g", "kind": "grpo"}]))
    )
    assert [(item.name, item.weight, item.requires) for item in rewards.rewards] == [
        ("z", 2.0, {"gold"}),
        ("a", 1.0, {"b"}),
    ]
    assert rewards.score(Sample([], Completion("", None, "\\boxed{3}", 1, False), {"gold": "3", "b": 1})).total == 2.25


def scored(*scores: Score, total: float | None = 0.0) -> ScoredSample:
    names = [f"r{i}" for i in range(len(scores))]
    return ScoredSample(total, dict(zip(names, scores, strict=True)), dict.fromkeys(names, 0.0))


@pytest.mark.parametrize(
    "batch",
    [
        [scored(Score.correct(), BROKEN)],
        [scored(Score.wrong(), Score.no_answer())] * 3,
        [scored(SILENT, BAD_ROW), scored(partial(0.5), Score.correct())],
    ],
    ids=["one", "three", "mixed"],
)
def test_verdict_rates_have_the_same_keys_whatever_happened(batch: list[ScoredSample]) -> None:
    rates = verdict_rates(batch)
    assert list(rates) == ["r0", "r1"]
    for shares in rates.values():
        assert list(shares) == [str(verdict) for verdict in Verdict]
        assert sum(shares.values()) == pytest.approx(1)


def test_verdict_rates_by_hand() -> None:
    rates = verdict_rates([scored(Score.correct()), scored(Score.wrong()), scored(Score.wrong()), scored(BROKEN)])
    assert {name: share for name, share in rates["r0"].items() if share} == {
        "correct": 0.25,
        "wrong": 0.5,
        "grader_error": 0.25,
    }
    assert verdict_rates([]) == {}


def batch(num_fine: int, num_void: int, fault: Score = BROKEN) -> list[ScoredSample]:
    return [scored(Score.correct(), total=1.0)] * num_fine + [scored(fault, total=None)] * num_void


@pytest.mark.parametrize(
    ("samples", "limit"),
    [
        (batch(10, 0), 0.0),
        (batch(9, 1), 0.1),
        (batch(8, 2), 0.2),
        (batch(0, 4), 1.0),
        (batch(0, 4, SILENT), 0.0),
        ([scored(BROKEN, total=1.0)] * 4, 0.0),
        (batch(5, 1) + batch(0, 4, SILENT), 0.1),
        ([], 0.0),
    ],
    ids=["none", "at the limit", "at 20 %", "all allowed", "not applicable", "weight 0", "fault among others", "empty"],
)
def test_grading_that_works_well_enough(samples: list[ScoredSample], limit: float) -> None:
    refuse_broken_grading(samples, limit)


@pytest.mark.parametrize(
    ("samples", "limit", "expected"),
    [
        (batch(9, 1), 0.0, ["1 of 10 completions", "max_abstain_fraction = 0.0", "1× r0: grader_error (no disk)"]),
        (batch(8, 2), 0.19, ["2 of 10 completions", "2× r0: grader_error (no disk)"]),
        (batch(0, 3, BAD_ROW), 0.5, ["3 of 3 completions", "3× r0: bad_reference (no answer)"]),
        (batch(0, 1, Score.abstain(Verdict.SANDBOX_FAILURE)), 0.5, ["1× r0: sandbox_failure (no reason given)"]),
        (batch(1, 1) + batch(0, 2, BAD_ROW), 0.5, ["Causes: 2× r0: bad_reference (no answer); 1× r0: grader_error"]),
    ],
    ids=["none allowed", "above", "bad rows", "no reason", "most frequent first"],
)
def test_broken_grading_stops_the_run(samples: list[ScoredSample], limit: float, expected: list[str]) -> None:
    with pytest.raises(ScoringError) as caught:
        refuse_broken_grading(samples, limit)
    for part in expected:
        assert part in str(caught.value)


def composed(*rewards: WeightedReward, row: dict[str, Any] | None = None) -> ScoredSample:
    return RewardSet(rewards).score(Sample([], SAMPLE.completion, row or {}))


def weighted(name: str, score: Score, weight: float = 1.0, **composition: Any) -> WeightedReward:
    return WeightedReward(name, always(score), weight, **composition)


@pytest.mark.parametrize(
    ("value", "clip", "total", "is_clipped"),
    [(0.5, (0.0, 1.0), 1.0, False), (3.0, (0.0, 1.0), 2.0, True), (-3.0, (-0.5, 1.0), -1.0, True)],
    ids=["inside", "above", "below"],
)
def test_clip(value: float, clip: tuple[float, float], total: float, is_clipped: bool) -> None:
    scored = composed(weighted("a", partial(value), 2.0, clip=clip))
    assert scored.total == total
    assert scored.scores["a"].value == value
    expected = {"weight": 2.0, "contribution": total, **({"clipped": True} if is_clipped else {})}
    assert scored.terms["a"].explained() == expected


@pytest.mark.parametrize(
    ("gate", "total", "gated_by"),
    [
        (Score.correct(), 2.1, None),
        (partial(1.5), 2.15, None),
        (partial(0.99), 0.099, "format"),
        (Score.wrong(), 0.0, "format"),
        (BROKEN, None, "format"),
        (SILENT, None, "format"),
    ],
    ids=["open", "more than full", "not full", "closed", "fault", "not applicable"],
)
def test_gate(gate: Score, total: float | None, gated_by: str | None) -> None:
    scored = composed(weighted("correct", Score.correct(), 2.0, gate="format"), weighted("format", gate, 0.1))
    assert scored.total == (None if total is None else pytest.approx(total))
    assert scored.scores["correct"] == Score.correct()
    assert scored.terms["correct"].explained().get("gated_by") == gated_by


def test_a_gate_that_does_not_apply_leaves_the_others() -> None:
    rewards = (weighted("a", Score.correct(), 2.0, gate="g"), weighted("g", SILENT, 0.0), weighted("b", partial(0.5)))
    assert composed(*rewards).total == 0.5


def test_gates_of_gates_and_clipped_gates() -> None:
    """`c` is open only when `b` scored full and its own gate is open; a clip of the gate closes nothing."""
    a, b = weighted("a", Score.wrong(), 0.0), weighted("b", Score.correct(), 0.0, gate="a")
    assert composed(a, b, weighted("c", Score.correct(), gate="b")).total == 0.0
    a = weighted("a", Score.correct(), 0.0, clip=(0.0, 0.2))
    assert composed(a, b, weighted("c", Score.correct(), gate="b")).total == 1.0


def test_a_gate_holds_back_a_penalty_too() -> None:
    assert composed(weighted("p", partial(-1.0), gate="g"), weighted("g", Score.wrong(), 0.0)).total == 0.0


@pytest.mark.parametrize(
    ("when", "row", "applies"),
    [
        ({"kind": "math"}, {"kind": "math"}, True),
        ({"kind": "math"}, {"kind": "code"}, False),
        ({"kind": "math"}, {}, False),
        ({"kind": ["math", "code"]}, {"kind": "code"}, True),
        ({"kind": ["math", "code"], "level": 3}, {"kind": "math", "level": 2}, False),
        ({"level": 1}, {"level": True}, False),
        ({"level": 1}, {"level": 1.0}, True),
        ({"hard": True}, {"hard": 1}, False),
        ({"kind": None}, {}, True),
    ],
)
def test_when(when: dict[str, Any], row: dict[str, Any], applies: bool) -> None:
    scored = composed(weighted("a", Score.correct(), 2.0, when=when), weighted("b", Score.correct(), 1.0), row=row)
    assert scored.total == (3.0 if applies else 1.0)
    assert scored.scores["a"].verdict is (Verdict.CORRECT if applies else Verdict.NOT_APPLICABLE)


def test_a_row_to_which_nothing_applies_is_void() -> None:
    assert composed(weighted("a", Score.correct(), when={"kind": "math"}), row={"kind": "code"}).total is None


def needs(column: str) -> Any:
    def reward(sample: Sample) -> Score:
        return Score.correct()

    setattr(reward, "requires", frozenset({column}))  # noqa: B010
    return reward


def test_columns_of_rewards_that_apply_to_some_rows() -> None:
    math_reward = WeightedReward("m", needs("answer"), 1.0, when={"kind": "math"})
    code_reward = WeightedReward("c", needs("tests"), 1.0, when={"kind": "code"})
    rewards = RewardSet((math_reward, code_reward, WeightedReward("f", needs("x"), 1.0)))
    rows = [{"kind": "math", "answer": "1"}, {"kind": "code", "tests": []}]
    assert rewards.required_columns == {"x"}
    rewards.check_rows("data.train", dict(zip("abc", rows, strict=False)))
    with pytest.raises(DataError, match=r"data\.train: c has no column 'tests', which rewards\.c needs"):
        rewards.check_rows("data.train", dict(zip("abc", [*rows, {"kind": "code"}], strict=True)))
    with pytest.raises(DataError, match=r"no row has the column 'kind' of rewards\.m\.when"):
        rewards.check_rows("data.train", {"a": {"answer": "1"}})


def test_composition_from_a_recipe(recipe_tree: Callable[..., dict[str, Any]]) -> None:
    uses = {
        "correct": {"use": "exact_answer", "gate": "format", "clip": [0, 0.5], "when": {"a": [1, 2]}, "timeout_s": 2},
        "format": {"use": "think_format", "weight": 0.25},
    }
    (correct, fmt) = RewardSet.from_recipe(Recipe.model_validate(recipe_tree(rewards=uses))).rewards
    assert (correct.gate, correct.clip, correct.when, correct.timeout_s) == ("format", (0, 0.5), {"a": [1, 2]}, 2)
    assert (correct.use, fmt.use, fmt.gate, fmt.clip, fmt.when, fmt.weight) == (
        "exact_answer", "think_format", None, None, {}, 0.25,
    )  # fmt: skip
