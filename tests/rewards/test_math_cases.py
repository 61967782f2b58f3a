"""`math_answer` on labelled cases and attacks, through real grading processes.

The case files lie where `math_rows` says. Contested cases, whose label is a
matter of policy, count in no score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from math_rows import load

from reasoning_rl.api import Verdict
from reasoning_rl.grading import Grader
from reasoning_rl.plugins import resolve
from reasoning_rl.recipe import Scoring
from reasoning_rl.scoring import RewardSet, ScoredSample, WeightedReward
from reasoning_rl.testing import make_sample


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    reward = WeightedReward("math_answer", resolve("math_answer"), 1.0, use="math_answer")
    with Grader(RewardSet((reward,)), Scoring(num_workers=1)) as made:
        yield made


def graded(grader: Grader, rows: list[dict[str, Any]]) -> list[ScoredSample]:
    return grader.score_batch([make_sample(row["response"], {"answer": row["gold"]}, question="") for row in rows])


def test_labelled_cases(grader: Grader) -> None:
    rows = [row for row in load("math_cases") if not row.get("contested")]
    counts: Counter[tuple[bool, bool]] = Counter()
    for row, scored in zip(rows, graded(grader, rows), strict=True):
        counts[(row["expect"], scored.scores["math_answer"].value == 1)] += 1
    right, false_positives, missed = counts[True, True], counts[False, True], counts[True, False]
    assert (right + counts[False, False]) / counts.total() >= 0.98
    assert right / (right + false_positives) >= 0.997
    assert right / (right + missed) >= 0.96


def test_attacks(grader: Grader) -> None:
    rows = load("math_attacks")
    pwned = Path("/tmp/mv_pwned")
    assert not pwned.exists()
    for row, scored in zip(rows, graded(grader, rows), strict=True):
        score = scored.scores["math_answer"]
        assert score.value is not None, row["id"]
        assert row.get("contested") or (score.value == 1) is row["expect"], row["id"]
        assert scored.seconds["math_answer"] <= row["max_seconds"], row["id"]
    assert not pwned.exists()
    assert grader.stats()["kills"] == 0


def test_no_case_is_our_fault(grader: Grader) -> None:
    """Every gold of the cases can be read, or is refused whatever is answered."""
    rows = load("math_cases")
    for row, scored in zip(rows, graded(grader, rows), strict=True):
        verdict = scored.scores["math_answer"].verdict
        assert verdict not in (Verdict.GRADER_ERROR, Verdict.TIMEOUT, Verdict.CRASH, Verdict.MEMORY_LIMIT), row["id"]
        if verdict is Verdict.BAD_REFERENCE:
            own = {**row, "response": "\\boxed{0}"}
            assert graded(grader, [own])[0].scores["math_answer"].verdict is Verdict.BAD_REFERENCE
