"""Completions graded before their batch is asked for: same scores, same order, and a true account of what was hidden."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.api import Completion, Sample, Verdict
from reasoning_rl.early_grading import EarlyGrading, GradingTime, covered
from reasoning_rl.errors import ScoringError
from reasoning_rl.grading import Grader
from reasoning_rl.plugins import resolve
from reasoning_rl.recipe import Scoring
from reasoning_rl.scoring import RewardSet, WeightedReward

HOSTILE = Path(__file__).parents[1] / "fixtures" / "hostile_rewards.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading processes are watched through /proc")


def sample(text: str, **row: Any) -> Sample:
    return Sample([], Completion(text, None, text, len(text), False), row)


def grader_of(name: str, workers: int = 2) -> Grader:
    reward = WeightedReward(name, resolve(f"{HOSTILE}:{name}", {}), 1.0, use=f"{HOSTILE}:{name}", timeout_s=30.0)
    return Grader(RewardSet((reward,)), Scoring(num_workers=workers))


@pytest.fixture
def echo() -> Iterator[EarlyGrading]:
    with grader_of("echo") as grader:
        yield EarlyGrading(grader)


def texts(early: EarlyGrading, samples: list[Sample]) -> list[str]:
    return [scored.scores["echo"].detail["text"] for scored in early.score_batch(samples)]


def wait_for(path: Path, size: int) -> None:
    end = time.monotonic() + 60
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_grading_is_over_before_anyone_asks(tmp_path: Path) -> None:
    count = tmp_path / "count"
    with grader_of("keyed") as grader:
        early = EarlyGrading(grader)
        samples = [sample(f"word{i}", count=str(count)) for i in range(3)]
        for position in (2, 0, 1):  # as they finish
            early.start(position, samples[position])
        wait_for(count, 3)
        while grader.stats()["scores"] < 3:  # the call is over; its answer may still be on its way
            time.sleep(0.01)
        time.sleep(0.1)
        scored = early.score_batch(samples)
        assert [item.scores["keyed"].detail["first"] for item in scored] == ["word0", "word1", "word2"]
        assert count.read_text() == "xxx"  # nothing was graded twice
        taken = early.take_time()
        assert taken.busy_s > 0 and taken.hidden_share == 1.0
        assert early.take_time() == GradingTime()


def test_what_was_not_started_is_graded_when_asked_for(echo: EarlyGrading) -> None:
    samples = [sample(text) for text in "abc"]
    assert texts(echo, samples) == ["a", "b", "c"]
    assert echo.take_time().hidden_share == 0.0
    echo.start(1, samples[1])
    assert texts(echo, samples) == ["a", "b", "c"]


def test_what_was_started_for_a_later_batch_is_kept(tmp_path: Path) -> None:
    count = tmp_path / "count"
    with grader_of("keyed") as grader:
        early = EarlyGrading(grader)
        samples = [sample(f"word{i}", count=str(count)) for i in range(5)]
        for number in (4, 0, 3, 1):
            early.start(number, samples[number])
        for batch in ([3, 0], [1, 2, 4]):  # the one that was not started is graded now
            early.expect(batch)
            scored = early.score_batch([samples[number] for number in batch])
            assert [item.scores["keyed"].detail["first"] for item in scored] == [f"word{number}" for number in batch]
        stats = grader.stats()
        assert (stats["scores"], stats["hits"] + stats["joined"]) == (5, 0)  # nothing was graded twice


def test_what_was_started_as_something_else_is_not_used(echo: EarlyGrading) -> None:
    asked = [sample("a"), sample("b"), sample("c")]
    echo.start(0, sample("something else"))
    echo.start(1, replace(asked[1], row_id="another row"))
    echo.start(7, sample("left over"))
    assert texts(echo, asked) == ["a", "b", "c"]
    assert texts(echo, [sample("d")]) == ["d"]  # nothing is carried into the next batch


def test_same_scores_as_the_batch(echo: EarlyGrading) -> None:
    samples = [sample(f"{i}") for i in range(20)]
    for position in reversed(range(0, 20, 2)):
        echo.start(position, samples[position])
    ours = echo.score_batch(samples)
    with grader_of("echo") as grader:
        theirs = grader.score_batch(samples)
    assert [item.total for item in ours] == [item.total for item in theirs] == [1.0] * 20
    assert [i.scores["echo"].detail["text"] for i in ours] == [i.scores["echo"].detail["text"] for i in theirs]


def test_a_grader_that_fails_abstains_as_ever() -> None:
    with grader_of("act") as grader:
        early = EarlyGrading(grader)
        samples = [sample("raise"), sample("nothing"), sample("exit 1")]
        for position, item in enumerate(samples):
            early.start(position, item)
        scored = early.score_batch(samples)
    assert [item.scores["act"].verdict for item in scored] == [Verdict.GRADER_ERROR, Verdict.CORRECT, Verdict.CRASH]
    assert [item.total for item in scored] == [None, 1.0, 0.0]
    assert "ZeroDivisionError" in scored[0].scores["act"].detail["reason"]


def test_broken_grading_is_said_when_the_batch_is_asked_for() -> None:
    grader = grader_of("act")
    early = EarlyGrading(grader)
    early.start(0, sample("sleep 50"))
    grader.close()
    early.start(1, sample("nothing"))  # the sampling goes on: all ranks stop together, later
    with pytest.raises(ScoringError, match="closed"):
        early.score_batch([sample("sleep 50"), sample("nothing")])


@pytest.mark.parametrize(
    ("spans", "length"),
    [
        ([], 0.0),
        ([(1.0, 3.0)], 2.0),
        ([(1.0, 3.0), (2.0, 5.0)], 4.0),
        ([(1.0, 9.0), (2.0, 3.0)], 8.0),
        ([(4.0, 5.0), (1.0, 2.0)], 2.0),
        ([(1.0, 2.0), (2.0, 3.0)], 2.0),
        ([(5.0, 4.0), (1.0, 2.0)], 1.0),
        ([(1.0, 6.0), (5.0, 4.0), (5.5, 7.0)], 6.0),
    ],
    ids=["none", "one", "overlap", "inside", "apart", "touch", "empty", "empty inside"],
)
def test_covered(spans: list[tuple[float, float]], length: float) -> None:
    assert covered(spans) == length


def test_hidden_share() -> None:
    assert GradingTime().hidden_share == 1.0
    assert (GradingTime(2.0, 1.0) + GradingTime(2.0, 2.0)).hidden_share == 0.75
