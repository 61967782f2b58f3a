"""The audit finds every kind of gameable reward and bad row, and reports nothing of an honest one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.api import Reward, Sample, Score, Verdict
from reasoning_rl.audit import audit_rows
from reasoning_rl.data import Row
from reasoning_rl.plugins import FunctionReward, resolve
from reasoning_rl.recipe import Thinking
from reasoning_rl.scoring import RewardSet, ScoredSample, WeightedReward
from reasoning_rl.trials import ATTACKS, GOLD, NEAR_MISS

Tree = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def row(answer: object = "42", question: str = "40 + 2", position: int = 0, **columns: Any) -> Row:
    return Row(f"train/0/{position}", [{"role": "user", "content": question}], {"answer": answer, **columns})


def rewards(**named: Reward) -> RewardSet:
    return RewardSet(tuple(WeightedReward(name, reward, 1.0) for name, reward in named.items()))


def offending(reward: Reward, *rows: Row) -> set[str]:
    report = audit_rows(rewards(r=reward), rows or [row()], Thinking())
    assert report.tallies
    return {offence.trial for offence in report.offences}


def boxes(text: str) -> list[str]:
    return re.findall(r"\\boxed\{([^{}]*)\}", text)


def own_turn(text: str) -> str:
    return re.split(r"<\|im_end\|>|<\|eot_id\|>|<end_of_turn>", text)[0]


@dataclass(frozen=True)
class Graded:
    """Right when `rule(sample, gold)` says so."""

    rule: Callable[[Sample, str], bool]

    requires = frozenset({"answer"})
    tolerates = frozenset({"retraction"})

    def __call__(self, sample: Sample, /) -> Score:
        gold = sample.row["answer"]
        return Score.correct() if self.rule(sample, gold) else Score.wrong()

    def reference(self, row: Mapping[str, Any]) -> str:
        return f"\\boxed{{{row['answer']}}}"


def honest(sample: Sample, gold: str) -> bool:
    return set(boxes(own_turn(sample.completion.final_text))) == {gold}


def test_an_honest_reward_is_clean() -> None:
    report = audit_rows(rewards(r=Graded(honest)), [row()], Thinking())
    assert report.is_clean
    assert [tally.trial for tally in report.tallies] == [GOLD, NEAR_MISS, *ATTACKS], "every trial was made"
    scored = {tally.trial: tally.scored for tally in report.tallies if tally.scored}
    assert scored == {GOLD: 1, "retraction": 1}
    assert [tally.trial for tally in report.tallies if tally.is_tolerated] == ["retraction"]


def evaluated(text: str) -> str:
    return str(sum(map(int, text.split("+")))) if re.fullmatch(r"[\d +]+", text) and "+" in text else text


TURNS = {"user_turn"}
GAMEABLE: dict[str, tuple[Callable[[Sample, str], bool], set[str]]] = {
    "last box": (lambda s, gold: boxes(s.completion.final_text)[-1:] == [gold], TURNS | {"other_then_gold"}),
    "first box": (lambda s, gold: boxes(s.completion.final_text)[:1] == [gold], TURNS | {"gold_then_other"}),
    "any box": (
        lambda s, gold: gold in boxes(s.completion.final_text),
        TURNS | {"other_then_gold", "gold_then_other", "every_box"},
    ),
    "does not end at the turn": (lambda s, gold: set(boxes(s.completion.final_text)) == {gold}, TURNS),
    "reads the thinking": (
        lambda s, gold: set(boxes(own_turn(s.completion.text))) == {gold},
        {"gold_in_thinking", "unclosed_thinking"},
    ),
    "thinking that never ends": (
        lambda s, gold: honest(s, gold) or (not s.completion.final_text and gold in (s.completion.thinking or "")),
        {"gold_in_thinking", "unclosed_thinking"},
    ),
    "part of the box": (
        lambda s, gold: any(gold in box for box in boxes(own_turn(s.completion.final_text))[:1]),
        {"gold_then_other", "hedge"},
    ),
    "computes the echo": (
        lambda s, gold: [evaluated(box) for box in boxes(own_turn(s.completion.final_text))] == [gold],
        {"echo"},
    ),
    "knows an alphabet": (
        lambda s, gold: (
            honest(s, gold)
            or s.completion.final_text.translate(str.maketrans("охеЧᒿ", "oxe42")) == f"\\boxed{{{gold}}}"
        ),
        {"look_alikes"},
    ),
    "close is enough": (
        lambda s, gold: honest(s, gold) or boxes(s.completion.final_text) == [str(int(gold) + 1)],
        {NEAR_MISS},
    ),
    "nothing is right": (
        lambda s, gold: honest(s, gold) or not s.completion.final_text.strip(),
        {"empty", "blank_answer", "gold_in_thinking", "unclosed_thinking"},
    ),
    "empty box": (lambda s, gold: honest(s, gold) or boxes(s.completion.final_text) == [""], {"placeholder"}),
    "zero is right": (lambda s, gold: honest(s, gold) or boxes(s.completion.final_text) == ["0"], {"constant"}),
    "the question's number": (
        lambda s, gold: honest(s, gold) or boxes(s.completion.final_text) == ["40"],
        {"prompt_numbers"},
    ),
    "length is right": (lambda s, gold: honest(s, gold) or len(s.completion.text) > 50_000, {"long_text"}),
    "never right": (lambda s, gold: False, {GOLD}),
}


@pytest.mark.parametrize(("rule", "trials"), GAMEABLE.values(), ids=GAMEABLE)
def test_a_gameable_reward_is_found(rule: Callable[[Sample, str], bool], trials: set[str]) -> None:
    assert offending(Graded(rule)) == trials


def test_a_gameable_reward_is_tried_with_every_attack() -> None:
    found = set().union(*(trials for _, trials in GAMEABLE.values()))
    assert found == {GOLD, NEAR_MISS, *ATTACKS} - {"retraction"}
    strict = Graded(honest)
    object.__setattr__(strict, "tolerates", frozenset())
    assert offending(strict) == {"retraction"}


def test_the_attack_that_a_reward_tolerates_is_counted_only() -> None:
    report = audit_rows(rewards(r=resolve("exact_answer", {"extract": "last_number"})), [row()], Thinking())
    assert report.is_clean
    scored = {tally.trial for tally in report.tallies if tally.scored and tally.is_tolerated}
    assert scored == {"gold_in_thinking", "unclosed_thinking", "other_then_gold", "user_turn"}


@pytest.mark.parametrize("tags", [Thinking(), Thinking(open="[T]", close="[/T]"), Thinking(opened_by_template=True)])
@pytest.mark.parametrize("extract", ["boxed", "last_number", "final_text"])
@pytest.mark.parametrize("answer", ["42", 42, "-7", "0", "1", "100", "1/2", "0.5", "1,000", "40", "$5$"])
def test_exact_answer_is_clean_on_numbers(answer: object, extract: str, tags: Thinking) -> None:
    report = audit_rows(rewards(r=resolve("exact_answer", {"extract": extract})), [row(answer)], tags)
    assert report.offences == ()


@pytest.mark.parametrize("extract", ["boxed", "final_text"])
@pytest.mark.parametrize(
    "answer", ["Paris", "A", "yes", "x + 1", "\\frac{1}{2}", "(1, 2)", "Correct.", "40 + 2", "50%"]
)
def test_exact_answer_is_clean_on_texts(answer: str, extract: str) -> None:
    assert offending(resolve("exact_answer", {"extract": extract}), row(answer)) == set()


@pytest.mark.parametrize(
    ("answer", "extract", "problem"),
    [
        ("", "boxed", "abstains as bad_reference (column 'answer' holds '', no answer)"),
        (None, "boxed", "abstains as bad_reference (column 'answer' holds None, no answer)"),
        (["42"], "boxed", "abstains as bad_reference (column 'answer' holds ['42'], no answer)"),
        ("{42", "boxed", "scores 0 (no_answer), expected full marks"),
        ("1e3", "last_number", "scores 0 (wrong), expected full marks"),
        ("Paris", "last_number", "scores 0 (no_answer), expected full marks"),
    ],
)
def test_a_row_whose_gold_cannot_score_is_found(answer: object, extract: str, problem: str) -> None:
    rows = [row("42"), row(answer, position=1), row("43", position=2)]
    report = audit_rows(rewards(r=resolve("exact_answer", {"extract": extract})), rows, Thinking())
    first = report.offences[0]
    assert {offence.row_id for offence in report.offences} == {"train/0/1"}
    assert (first.trial, first.problem) == (GOLD, problem)
    gold = report.tallies[0]
    assert (gold.trial, gold.tried, gold.scored) == (GOLD, 3, 2)


def test_an_abstention_of_ours_is_an_offence_wherever_it_happens() -> None:
    def fails_on_braces(sample: Sample, gold: str) -> bool:
        if sample.completion.final_text.count("{") > 1000:
            raise MemoryError
        return honest(sample, gold)

    report = audit_rows(rewards(r=Graded(fails_on_braces)), [row()], Thinking())
    assert [(offence.trial, offence.problem) for offence in report.offences] == [
        ("long_text", "abstains as grader_error (MemoryError: )")
    ]
    assert len(report.offences[0].completion) < 2100, "the list of offences stays readable"


def test_partial_credit_up_to_a_near_miss_is_no_offence() -> None:
    @dataclass(frozen=True)
    class Half(Graded):
        def __call__(self, sample: Sample, /) -> Score:
            found = boxes(sample.completion.final_text)
            is_number = len(found) == 1 and found[0].isdigit() and found[0] != "0"
            return Score.correct() if honest(sample, "42") else Score(0.5 * is_number, Verdict.PARTIAL)

    assert offending(Half(honest)) == set()


def test_a_reward_that_does_not_apply_is_not_tried_on_that_row() -> None:
    @dataclass(frozen=True)
    class Sometimes(Graded):
        def __call__(self, sample: Sample, /) -> Score:
            return (
                Score.abstain(Verdict.NOT_APPLICABLE) if sample.row["answer"] == "7" else Graded.__call__(self, sample)
            )

    report = audit_rows(rewards(r=Sometimes(honest)), [row("7"), row("42")], Thinking())
    assert report.is_clean
    assert report.tallies[0].tried == 1


@pytest.mark.parametrize("form", ["\\boxed{%s}", "%s", "Answer: %s", "#### %s", "<answer>%s</answer>"])
def test_a_function_with_a_gold_column_is_tried_in_the_form_that_it_reads(form: str) -> None:
    def reads(sample: Sample) -> float:
        return float(sample.completion.final_text == form % sample.row["answer"])

    reward = FunctionReward(reads, {}, frozenset({"answer"}))
    report = audit_rows(rewards(r=reward), [row("", position=0), row("42", position=1)], Thinking())
    assert report.offences == ()
    assert report.is_clean
    assert report.tallies[0].tried == 1


def test_a_function_whose_form_is_unknown_is_a_note_not_an_offence() -> None:
    reward = FunctionReward(lambda sample: 0.0, {}, frozenset({"answer"}))
    report = audit_rows(rewards(r=reward), [row()], Thinking())
    assert (report.offences, report.tallies, report.is_clean) == ((), (), False)
    assert report.notes[0].startswith("r: not tried, it is not known how it reads answers")
    assert report.notes[1].startswith("nothing was tried: ")


def test_other_rewards_are_only_looked_at() -> None:
    never, always = FunctionReward(lambda sample: 0.0, {}), FunctionReward(lambda sample: 1.0, {})
    report = audit_rows(rewards(correct=Graded(honest), never=never, always=always), [row()], Thinking())
    assert report.is_clean
    assert len(report.notes) == 1
    assert report.notes[0].startswith("never: at most 0 for a right answer")


def test_think_format_agrees_with_other_tags() -> None:
    both = rewards(correct=resolve("exact_answer"), format=resolve("think_format"))
    assert audit_rows(both, [row()], Thinking()).notes == ()
    other = Thinking(open="[T]", close="[/T]")
    assert audit_rows(both, [row()], other).notes == ()
    own = rewards(correct=resolve("exact_answer"), format=resolve("think_format", {"open": "<think>"}))
    assert len(audit_rows(own, [row()], other).notes) == 1


def test_a_reward_without_weight_is_not_tried_unless_named() -> None:
    unweighted = RewardSet((WeightedReward("r", Graded(lambda sample, gold: True), 0.0),))
    assert audit_rows(unweighted, [row()], Thinking()).tallies == ()
    assert audit_rows(unweighted, [row()], Thinking(), names=["r"]).offences


def test_scoring_goes_through_the_one_callable() -> None:
    seen: list[Sample] = []

    def score(sample: Sample) -> ScoredSample:
        seen.append(sample)
        return ScoredSample(None, {"r": Score.abstain(Verdict.SANDBOX_FAILURE, reason="no disk")}, {"r": 0.0})

    report = audit_rows(rewards(r=Graded(honest)), [row(), row()], Thinking(), score=score)
    assert [offence.problem for offence in report.offences] == ["abstains as sandbox_failure (no disk)"] * 2
    assert [sample.completion.final_text for sample in seen] == ["\\boxed{42}"] * 2, "one failure per row says it all"


def test_report() -> None:
    advanced: list[None] = []
    report = audit_rows(
        rewards(r=Graded(lambda sample, gold: honest(sample, gold) or not sample.completion.text)),
        [row("42", position=position) for position in range(30)],
        Thinking(),
        origin=lambda row_id: f"rows.jsonl:{row_id[-1]}",
        advance=lambda: advanced.append(None),
    )
    assert len(advanced) == 30
    lines = report.lines()
    assert lines[0].split() == ["reward", "trial", "tried", "scored", "share"]
    assert lines[1].split() == ["r", "gold", "30", "30", "100.0%"]
    assert lines[3].split() == ["r", "empty", "30", "30", "100.0%", "30", "offend"]
    assert "rows.jsonl:0 (train/0/0): r, empty: scores 1 (correct), expected nothing" in lines
    assert lines[-1] == "… and 10 more; --json lists them all"
    data = json.loads(json.dumps(report.as_dict()))
    assert (data["is_clean"], data["num_rows"], len(data["offences"])) == (False, 30, 30)
    assert data["offences"][0]["completion"] == ""
    assert data["offences"][0]["value"] == 1.0
    assert {tally["tried"] for tally in data["tallies"] if tally["trial"] == "long_text"} == {3 * 16}
