"""The rewards of a run, applied to one completion or a batch: totals, abstention, counters.

A reward that raises is our fault and abstains; it never scores 0. A non-zero-weight abstention through our own fault
voids the row, so that it moves no weight. Runs in the calling process; deadlines and isolation are not its business.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reasoning_rl.api import Reward, Sample, Score, Verdict
from reasoning_rl.errors import ScoringError
from reasoning_rl.plugins import resolve
from reasoning_rl.recipe import Recipe


@dataclass(frozen=True, slots=True)
class WeightedReward:
    """A reward, its name in the recipe and its weight in the total."""

    name: str
    reward: Reward
    weight: float

    @property
    def requires(self) -> frozenset[str]:
        """Columns that a row must have."""
        return frozenset(getattr(self.reward, "requires", ()))


@dataclass(frozen=True, slots=True)
class ScoredSample:
    """All scores of one completion. `total` is `None` when the row is void."""

    total: float | None
    scores: Mapping[str, Score]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RewardSet:
    """The rewards of a run, in recipe order."""

    rewards: tuple[WeightedReward, ...]

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> RewardSet:
        """Builds every reward of a recipe.

        Raises:
            RewardPluginError: see `plugins.resolve`.
        """
        return cls(tuple(WeightedReward(n, resolve(u.use, u.options), u.weight) for n, u in recipe.rewards.items()))

    def score(self, sample: Sample) -> ScoredSample:
        """Scores one completion."""
        scores: dict[str, Score] = {}
        seconds: dict[str, float] = {}
        for item in self.rewards:
            start = time.perf_counter()
            scores[item.name] = _call(item.reward, sample)
            seconds[item.name] = time.perf_counter() - start
        return ScoredSample(self._total(scores), scores, seconds)

    def score_batch(self, samples: Iterable[Sample]) -> list[ScoredSample]:
        """Scores completions in order."""
        return [self.score(sample) for sample in samples]

    def _total(self, scores: Mapping[str, Score]) -> float | None:
        weighted = [(item.weight, scores[item.name]) for item in self.rewards if item.weight]
        if any(score.verdict.is_our_fault for _, score in weighted):
            return None
        values = [weight * score.value for weight, score in weighted if score.value is not None]
        return sum(values) if values else None


def verdict_rates(scored: Sequence[ScoredSample]) -> dict[str, dict[str, float]]:
    """Reward name -> verdict -> share of the batch, over every verdict, so that all ranks log the same keys."""
    names = list(scored[0].scores) if scored else []
    return {
        name: {str(v): sum(s.scores[name].verdict is v for s in scored) / len(scored) for v in Verdict}
        for name in names
    }


def refuse_broken_grading(scored: Sequence[ScoredSample], max_abstain_fraction: float) -> None:
    """Stops a run whose grading is broken.

    Raises:
        ScoringError: more than `max_abstain_fraction` of the completions are void through our own fault, with the most
            frequent causes.
    """
    void = [s for s in scored if s.total is None and any(score.verdict.is_our_fault for score in s.scores.values())]
    if len(void) <= max_abstain_fraction * len(scored):
        return
    causes = Counter(
        f"{name}: {s.verdict} ({s.detail.get('reason', 'no reason given')})"
        for item in void
        for name, s in item.scores.items()
        if s.verdict.is_our_fault
    )
    top = "; ".join(f"{count}× {cause}" for cause, count in causes.most_common(3))
    raise ScoringError(
        f"{len(void)} of {len(scored)} completions could not be scored through no fault of the model, more than "
        f"scoring.max_abstain_fraction = {max_abstain_fraction}; nothing was trained on them. Causes: {top}"
    )


def _call(reward: Reward, sample: Sample) -> Score:
    try:
        score = reward(sample)
    except Exception as error:  # noqa: BLE001 - whatever a reward raises is our fault, not the model's
        return Score.abstain(Verdict.GRADER_ERROR, reason=f"{type(error).__name__}: {error}")
    if not isinstance(score, Score):
        return Score.abstain(Verdict.GRADER_ERROR, reason=f"returned {type(score).__name__}, expected Score")
    return score
