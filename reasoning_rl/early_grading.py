"""Grades completions while others of their batch are still being sampled, and says how much of it nobody waited for.

A head start and nothing else: `score_batch` asks for the whole batch afterwards and gives what `Grader.score_batch` would
give. Knows nothing of engines and trainers; they say when a completion is finished.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from reasoning_rl.api import Sample
from reasoning_rl.grading import Grader
from reasoning_rl.scoring import ScoredSample


@dataclass(frozen=True, slots=True)
class GradingTime:
    """Seconds in which at least one completion was being graded or waited for a process, and those before anybody asked.

    `hidden_s` is at most `busy_s`.
    """

    busy_s: float = 0.0
    hidden_s: float = 0.0

    @property
    def hidden_share(self) -> float:
        """From 0 (the trainer waited for all of it) to 1; 1 when there was nothing to wait for."""
        return self.hidden_s / self.busy_s if self.busy_s else 1.0

    def __add__(self, other: GradingTime) -> GradingTime:
        return GradingTime(self.busy_s + other.busy_s, self.hidden_s + other.hidden_s)


@dataclass(slots=True, eq=False)
class _InGrading:
    """One completion on its way; `done_at` is set by the thread that brings its scores."""

    sample: Sample
    future: Future[ScoredSample]
    started_at: float
    done_at: float | None = None


class EarlyGrading:
    """A scorer of batches whose completions may be handed in one by one before.

    Args:
        grader: one with processes, since without them nothing runs beside the sampling.
    """

    def __init__(self, grader: Grader) -> None:
        assert grader.num_workers, "without grading processes there is nothing to overlap"
        self.grader = grader
        self.time = GradingTime()
        self._started: dict[int, _InGrading] = {}
        self._expected: Sequence[int] | None = None

    def start(self, position: int, sample: Sample) -> None:
        """Starts grading the completion at `position` of the batch that `score_batch` will ask for."""
        self._started[position] = self._submit(sample)

    def expect(self, positions: Sequence[int]) -> None:
        """Says where the completions of the next batch were started; those elsewhere are kept for a later one."""
        self._expected = positions

    def score_batch(self, samples: Iterable[Sample], /) -> list[ScoredSample]:
        """Scores of a whole batch, in order. A completion that was not started, or started as another, is graded now. Without
        `expect` they were started at 0, 1, …, and all others are forgotten.

        Raises:
            ScoringError: grading has broken down.
        """
        asked_at = time.monotonic()
        samples = list(samples)
        expected, self._expected = self._expected, None
        started = [self._started.pop(position, None) for position in expected or range(len(samples))]
        if expected is None:
            self._started = {}
        batch = [
            early if early and _is_same(early.sample, sample) else self._submit(sample)
            for early, sample in zip(started, samples, strict=True)
        ]
        scored = [item.future.result() for item in batch]
        now = time.monotonic()
        spans = [(item.started_at, item.done_at or now) for item in batch]
        self.time += GradingTime(covered(spans), covered((start, min(end, asked_at)) for start, end in spans))
        return scored

    def take_time(self) -> GradingTime:
        """The grading time since the last call."""
        taken, self.time = self.time, GradingTime()
        return taken

    def _submit(self, sample: Sample) -> _InGrading:
        started_at = time.monotonic()
        item = _InGrading(sample, self.grader.submit(sample), started_at)

        def note(_: Future[ScoredSample]) -> None:
            item.done_at = time.monotonic()

        item.future.add_done_callback(note)
        return item


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals `(start, end)`; those that end before they start count as empty."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _is_same(early: Sample, asked: Sample) -> bool:
    """Prompt and row come from the same place by position; what could differ is how the completion was read."""
    return early.completion == asked.completion and early.row_id == asked.row_id
