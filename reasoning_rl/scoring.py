"""The rewards of a run put together: which apply to a row, gates, clips, weights, totals, abstention, counters.

A reward that raises is our fault and abstains; it never scores 0. A non-zero-weight abstention through our own fault
voids the row, so that it moves no weight. `RewardSet.score` runs in the calling process, without deadlines; `grading` has
the same scores made in processes that can be killed.

A reward adds `weight × value` to the total. Its value is what it scored, clipped, then 0 unless its gate is open. A gate is
open when that reward scored at least 1 before clipping and its own gate is open; a gate that abstains makes what it gates
abstain too. Rewards that do not apply add nothing; a row on which no weighted reward applies is void.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reasoning_rl.api import Reward, Sample, Score, Verdict
from reasoning_rl.errors import DataError, ScoringError
from reasoning_rl.plugins import resolve
from reasoning_rl.recipe import Recipe, RewardUse
from reasoning_rl.workers.grade import call_reward, describe

#: From this score on a gate is open.
FULL = 1.0


@dataclass(frozen=True, slots=True)
class WeightedReward:
    """A reward, its name in the recipe and its part in the total; see `recipe.RewardUse` for the fields.

    `use` and `options` say how another process builds it; without `use` it can only be called here.
    """

    name: str
    reward: Reward
    weight: float
    use: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float | None = None
    when: Mapping[str, Any] = field(default_factory=dict)
    gate: str | None = None
    clip: tuple[float, float] | None = None

    @property
    def requires(self) -> frozenset[str]:
        """Columns that a row must have when the reward applies to it."""
        return frozenset(getattr(self.reward, "requires", ()))

    @property
    def version(self) -> int:
        """Version of the meaning of its scores."""
        return int(getattr(self.reward, "version", 1))

    def applies_to(self, row: Mapping[str, Any]) -> bool:
        """Whether every column of `when` has the value, or one of the values, given there."""
        return all(
            any(_same(row.get(column), value) for value in (values if isinstance(values, list) else [values]))
            for column, values in self.when.items()
        )


@dataclass(frozen=True, slots=True)
class Term:
    """What one reward adds to the total.

    `value` is the score after clip and gate, `None` when it abstains; `closed_by` is the gate that made it 0 or abstain.
    """

    weight: float
    value: float | None
    verdict: Verdict
    is_clipped: bool = False
    closed_by: str | None = None

    @property
    def contribution(self) -> float:
        """`weight × value`; 0 when it abstains."""
        return 0.0 if self.value is None else self.weight * self.value

    def explained(self) -> dict[str, Any]:
        """The term as keys of a ledger row: what is always there, and what clip and gate changed."""
        row: dict[str, Any] = {"weight": self.weight, "contribution": self.contribution}
        if self.is_clipped:
            row["clipped"] = True
        if self.closed_by:
            row["gated_by"] = self.closed_by
        return row


@dataclass(frozen=True, slots=True)
class ScoredSample:
    """All scores of one completion. `total` is `None` when the row is void; `terms` say how it came about."""

    total: float | None
    scores: Mapping[str, Score]
    seconds: Mapping[str, float]
    terms: Mapping[str, Term] = field(default_factory=dict)


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
        return cls.from_uses(recipe.rewards)

    @classmethod
    def from_uses(cls, uses: Mapping[str, RewardUse]) -> RewardSet:
        """Builds every reward of a recipe's `rewards` section.

        Raises:
            RewardPluginError: see `plugins.resolve`.
        """
        return cls(
            tuple(
                WeightedReward(
                    name,
                    resolve(use.use, use.options),
                    use.weight,
                    use=use.use,
                    options=use.options,
                    timeout_s=use.timeout_s,
                    when=use.when,
                    gate=use.gate,
                    clip=(use.clip[0], use.clip[1]) if use.clip else None,
                )
                for name, use in uses.items()
            )
        )

    @property
    def required_columns(self) -> frozenset[str]:
        """Columns that every row must have: those of the rewards without `when`."""
        return frozenset(column for item in self.rewards if not item.when for column in item.requires)

    def check_rows(
        self,
        where: str,
        rows: Mapping[str, Mapping[str, Any]],
        named: Callable[[str], str] = str,
        *,
        are_all: bool = True,
    ) -> None:
        """Looks for what `required_columns` leaves out: the columns of rewards that apply to some rows only.

        Args:
            where: the data set.
            rows: the columns of its rows, by their ids.
            named: what a row with an id is called in a message.
            are_all: whether there are no others.

        Raises:
            DataError: a row to which a reward applies lacks a column of it, or no row has a column that `when` names.
        """
        for item in (item for item in self.rewards if item.when):
            unknown = [column for column in item.when if not any(column in row for row in rows.values())]
            if rows and unknown and are_all:
                raise DataError(
                    f"{where}: no row has the column {unknown[0]!r} of rewards.{item.name}.when; the first has "
                    f"{sorted(next(iter(rows.values())))}"
                )
            for row_id, row in rows.items():
                missing = sorted(item.requires - row.keys())
                if missing and item.applies_to(row):
                    raise DataError(
                        f"{where}: {named(row_id)} has no column {missing[0]!r}, which rewards.{item.name} needs and whose "
                        f"when applies to it; it has {sorted(row)}"
                    )

    def score(self, sample: Sample) -> ScoredSample:
        """Scores one completion in this process."""
        scores: dict[str, Score] = {}
        seconds: dict[str, float] = {}
        for item in self.rewards:
            start = time.perf_counter()
            scores[item.name] = _call(item.reward, sample) if item.applies_to(sample.row) else NOT_APPLICABLE
            seconds[item.name] = time.perf_counter() - start
        return self.compose(scores, seconds)

    def score_batch(self, samples: Iterable[Sample]) -> list[ScoredSample]:
        """Scores completions in order."""
        return [self.score(sample) for sample in samples]

    def compose(self, scores: Mapping[str, Score], seconds: Mapping[str, float]) -> ScoredSample:
        """Puts the scores of one completion together."""
        by_name = {item.name: item for item in self.rewards}
        terms = {item.name: _term(item, by_name, scores) for item in self.rewards}
        weighted = [term for term in terms.values() if term.weight]
        is_void = any(term.verdict.is_our_fault for term in weighted) or all(term.value is None for term in weighted)
        total = None if is_void else sum(term.contribution for term in weighted)
        in_order = {name: scores[name] for name in by_name}
        return ScoredSample(total, in_order, {name: seconds[name] for name in by_name}, terms)


NOT_APPLICABLE = Score.abstain(Verdict.NOT_APPLICABLE)


def verdict_rates(scored: Sequence[ScoredSample]) -> dict[str, dict[str, float]]:
    """Reward name -> verdict -> share of the batch, over every verdict, so that all ranks log the same keys."""
    names = list(scored[0].scores) if scored else []
    return {
        name: {str(v): sum(s.scores[name].verdict is v for s in scored) / len(scored) for v in Verdict}
        for name in names
    }


def top_causes(scored: Iterable[ScoredSample], limit: int = 3) -> str:
    """The most frequent reasons of our own failures: `3× correct: grader_error (no disk); …`."""
    causes = Counter(
        f"{name}: {s.verdict} ({s.detail.get('reason', 'no reason given')})"
        for item in scored
        for name, s in item.scores.items()
        if s.verdict.is_our_fault
    )
    return "; ".join(f"{count}× {cause}" for cause, count in causes.most_common(limit))


def refuse_broken_grading(scored: Sequence[ScoredSample], max_abstain_fraction: float) -> None:
    """Stops a run whose grading is broken.

    Raises:
        ScoringError: more than `max_abstain_fraction` of the completions are void through our own fault, with the most
            frequent causes.
    """
    void = [s for s in scored if s.total is None and any(score.verdict.is_our_fault for score in s.scores.values())]
    if len(void) <= max_abstain_fraction * len(scored):
        return
    raise ScoringError(
        f"{len(void)} of {len(scored)} completions could not be scored through no fault of the model, more than "
        f"scoring.max_abstain_fraction = {max_abstain_fraction}; nothing was trained on them. Causes: {top_causes(void)}"
    )


def _call(reward: Reward, sample: Sample) -> Score:
    try:
        return call_reward(reward, sample)
    except MemoryError as error:  # there is no limit here that the completion could have exceeded
        return Score.abstain(Verdict.GRADER_ERROR, reason=describe(error))


def _term(item: WeightedReward, by_name: Mapping[str, WeightedReward], scores: Mapping[str, Score]) -> Term:
    score = scores[item.name]
    if score.value is None:
        return Term(item.weight, None, score.verdict)
    value = score.value
    if item.clip:
        value = min(max(value, item.clip[0]), item.clip[1])
    is_clipped = value != score.value
    if item.gate is None:
        return Term(item.weight, value, score.verdict, is_clipped)
    gate = _term(by_name[item.gate], by_name, scores)
    if gate.value is None:
        return Term(item.weight, None, gate.verdict, is_clipped, closed_by=item.gate)
    if gate.closed_by or (scores[item.gate].value or 0.0) < FULL:
        return Term(item.weight, 0.0, score.verdict, is_clipped, closed_by=item.gate)
    return Term(item.weight, value, score.verdict, is_clipped)


def _same(found: Any, expected: Any) -> bool:
    """Equality in which true is not 1."""
    return found == expected and isinstance(found, bool) == isinstance(expected, bool)
