"""`math_answer` on labelled cases, on attacks through the real worker pool, and against the rules for rewards."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.grading import Grader
from reasoning_rl.plugins import resolve
from reasoning_rl.recipe import RewardUse, Scoring
from reasoning_rl.scoring import RewardSet
from reasoning_rl.testing import check_reward, make_sample

CASES = Path(os.environ.get("REASONING_RL_CASES", Path(__file__).parents[3] / "shared" / "cases"))
pytestmark = pytest.mark.skipif(
    not (CASES / "math_cases.jsonl").exists(),
    reason="labelled cases are missing; set REASONING_RL_CASES to their folder",
)


def cases(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASES / name).read_text().splitlines()]


def test_labelled_cases() -> None:
    reward = resolve("math_answer")
    counts = {(expect, got): 0 for expect in (True, False) for got in (True, False)}
    for case in cases("math_cases.jsonl"):
        if not case.get("contested"):
            score = reward(make_sample(case["response"], {"answer": case["gold"]}))
            counts[case["expect"], score.value == 1.0] += 1
    right, paid = counts[True, True], counts[False, True]
    assert (right + counts[False, False]) / sum(counts.values()) >= 0.98, counts
    assert right / (right + paid) >= 0.997, counts
    assert right / (right + counts[True, False]) >= 0.96, counts


def test_attacks_are_scored_in_time() -> None:
    rewards = RewardSet.from_uses({"correct": RewardUse(use="math_answer")})
    with Grader(rewards, Scoring()) as grader:
        grader.submit(make_sample("\\boxed{1}", {"answer": "1"})).result(timeout=60)  # processes are up
        for case in cases("math_attacks.jsonl"):
            start = time.monotonic()
            scored = grader.submit(make_sample(case["response"], {"answer": case["gold"]})).result(timeout=60)
            seconds = time.monotonic() - start
            if not case.get("contested"):
                assert (scored.scores["correct"].value == 1.0) == case["expect"], (case["id"], scored)
            assert seconds <= case["max_seconds"], case["id"]


def test_rules_for_rewards() -> None:
    rows = [{"answer": gold} for gold in ("42", r"\frac{1}{2}", "(1, 2)", r"x^2+1", r"\{1, 2, 3\}", "3.5 cm", "-7")]
    check_reward("math_answer", rows)
