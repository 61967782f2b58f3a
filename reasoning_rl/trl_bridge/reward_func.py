"""The one callable that TRL sees as its reward function.

One for all rewards, because with several TRL counts a partial `None` as 0, which turns a grader outage into a penalty.
Scores are kept for the trainer to write down with their advantages.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from accelerate.utils import gather_object

from reasoning_rl.api import Message, Sample
from reasoning_rl.early_grading import EarlyGrading, GradingTime
from reasoning_rl.errors import ScoringError
from reasoning_rl.grading import Grader
from reasoning_rl.parsing import Reader
from reasoning_rl.recipe import Scoring
from reasoning_rl.scoring import ScoredSample, refuse_broken_grading, verdict_rates

#: Metrics of a step, and the counters of `Grader.stats` that each adds up.
COUNTS = {
    "grading/scores_made": ("scores",),
    "grading/scores_shared": ("hits", "joined"),
    "grading/kills": ("kills",),
    "grading/crashes": ("crashes",),
    "grading/out_of_memory": ("out_of_memory",),
    "time/graders_busy_s": ("busy_s",),
}


class Scorer(Protocol):
    """Scores a batch in order: the run's `Grader`, or a bare `RewardSet` without deadlines."""

    def score_batch(self, samples: Iterable[Sample], /) -> list[ScoredSample]: ...


class CombinedReward:
    """Scores a local batch: completions in, totals out (`None` for a void row).

    `early` takes completions before the batch is asked for; `None` when the recipe or the scorer does without.

    Args:
        rewards: scores the completions with the rewards of the run.
        reader: makes samples of completions.
        scoring: whether completions are graded while others are sampled, and the limit of abstentions.
    """

    __name__ = "total"

    def __init__(self, rewards: Scorer, reader: Reader, scoring: Scoring) -> None:
        self.rewards = rewards
        self.reader = reader
        self.max_abstain_fraction = scoring.max_abstain_fraction
        self.early: EarlyGrading | None = None
        if scoring.stream and isinstance(rewards, Grader) and rewards.num_workers:
            self.early = EarlyGrading(rewards)
        self.last: list[tuple[Sample, ScoredSample]] = []
        self.seconds = 0.0
        self._counts: dict[str, float] = {}

    def __call__(
        self,
        prompts: Sequence[list[Message]],
        completions: Sequence[list[Message]],
        completion_ids: Sequence[list[int]],
        row: Sequence[str],
        row_id: Sequence[str],
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float | None]:
        start = time.perf_counter()
        samples = [
            self.reader.read_text(prompt, completion[0]["content"], json.loads(columns), name, token_ids=ids)
            for prompt, completion, ids, columns, name in zip(
                prompts, completions, completion_ids, row, row_id, strict=True
            )
        ]
        scored = self.score(samples)
        if log_metric:
            _log(scored, log_metric)
        self.last = list(zip(samples, scored, strict=True))
        self.seconds += time.perf_counter() - start
        return [item.total for item in scored]

    def score(self, samples: Sequence[Sample]) -> list[ScoredSample]:
        """Scores of the local batch; see `score_on_all_ranks`."""
        return score_on_all_ranks(self.early or self.rewards, samples, self.max_abstain_fraction)

    def take_seconds(self) -> float:
        """The seconds spent here since the last call."""
        taken, self.seconds = self.seconds, 0.0
        return taken

    def take_counts(self) -> dict[str, float]:
        """What the grading processes of all ranks did since the last call; see `COUNTS`. All ranks must call it."""
        if not isinstance(self.rewards, Grader):
            return {}
        now = self.rewards.stats()
        counts = {name: sum(now.get(key, 0.0) for key in keys) for name, keys in COUNTS.items()}
        since = {name: count - self._counts.get(name, 0.0) for name, count in counts.items()}
        self._counts = counts
        everywhere: list[dict[str, float]] = gather_object([since])
        return {name: sum(one[name] for one in everywhere) for name in COUNTS}

    def take_grading_time(self) -> GradingTime | None:
        """What of the grading since the last call was hidden; `None` when nothing starts early."""
        return self.early.take_time() if self.early else None


def score_on_all_ranks(rewards: Scorer, samples: Sequence[Sample], max_abstain_fraction: float) -> list[ScoredSample]:
    """Scores of the local samples; whether grading is broken is decided on all ranks together, because a rank that
    stopped alone would leave the others waiting for it.

    Raises:
        ScoringError: grading broke down on some rank, or too much of the global batch could not be scored.
    """
    scored: list[ScoredSample] = []
    problem: str | None = None
    try:
        scored = rewards.score_batch(samples)
    except ScoringError as error:
        problem = str(error)
    everywhere: list[tuple[str | None, list[ScoredSample]]] = gather_object([(problem, scored)])
    for other, _ in everywhere:
        if other:
            raise ScoringError(other)
    refuse_broken_grading([item for _, items in everywhere for item in items], max_abstain_fraction)
    return scored


def ledger_row(sample: Sample, scored: ScoredSample) -> dict[str, Any]:
    """One completion with its scores, as written to `rollouts.jsonl` and `completions.jsonl`."""
    return {
        "row_id": sample.row_id,
        "prompt": list(sample.prompt),
        "completion": sample.completion.text,
        "num_tokens": sample.completion.num_tokens,
        "truncated": sample.completion.truncated,
        "total": scored.total,
        "scores": {
            name: {
                "value": score.value,
                "verdict": str(score.verdict),
                "detail": dict(score.detail),
                "seconds": round(scored.seconds[name], 6),
                **(scored.terms[name].explained() if name in scored.terms else {}),
            }
            for name, score in scored.scores.items()
        },
    }


def _log(scored: Sequence[ScoredSample], log_metric: Callable[[str, float], None]) -> None:
    for name, rates in verdict_rates(scored).items():
        values = [s.scores[name].value for s in scored]
        present = [value for value in values if value is not None]
        # TRL averages over ranks, so a rank without a single score must log a number too.
        log_metric(f"rewards/{name}/mean", sum(present) / len(present) if present else 0.0)
        log_metric(f"rewards/{name}/abstained", sum(s.scores[name].verdict.is_our_fault for s in scored) / len(scored))
        log_metric(f"time/rewards/{name}_s", sum(s.seconds[name] for s in scored) / len(scored))
        for verdict, rate in rates.items():
            log_metric(f"verdicts/{name}/{verdict}", rate)
