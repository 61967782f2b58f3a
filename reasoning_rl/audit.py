"""The audit: on a recipe's own rows, right answers score full, wrong ones do not, and attacks earn nothing.

Decides nothing about how completions are scored: that is one callable, `Sample` to `ScoredSample`. The completions come
from `trials`; what a right answer looks like comes from the rewards themselves.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from reasoning_rl.api import Sample, Score, Verdict
from reasoning_rl.data import Row, place_of
from reasoning_rl.errors import AuditError
from reasoning_rl.recipe import Recipe, Thinking
from reasoning_rl.scoring import RewardSet, ScoredSample, WeightedReward
from reasoning_rl.trials import (
    ATTACKS,
    FORMS,
    GOLD,
    NEAR_MISS,
    Trial,
    answer_column,
    expectation,
    fault,
    is_full,
    tolerated,
    trials,
)

logger = logging.getLogger(__name__)

ScoreOne = Callable[[Sample], ScoredSample]

#: Rows looked at before a run, and at most by `reasoning-rl audit` without `--rows`.
SAMPLE_ROWS, MAX_ROWS = 64, 1000

# The same 100 kB for every row: a few rows show whether the reward copes, all of them would take most of the time.
_LONG_TEXT_ROWS = 16
_FORM_ROWS = 16
_SHOWN_CHARS = 1000
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Offence:
    """One completion that was scored as it should not be. `origin` is the file and line of the row where it has one."""

    reward: str
    trial: str
    row_id: str
    origin: str
    problem: str
    completion: str
    value: float | None
    verdict: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tally:
    """How often a trial scored: full marks for `gold` and `near_miss`, more than a near miss for attacks."""

    reward: str
    trial: str
    tried: int
    scored: int
    is_tolerated: bool


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The result of an audit. `notes` say what could not be looked at."""

    num_rows: int
    tallies: tuple[Tally, ...] = ()
    offences: tuple[Offence, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether something was tried and nothing offends."""
        return bool(self.tallies) and not self.offences

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {"is_clean": self.is_clean, **asdict(self)}

    def lines(self) -> list[str]:
        """A table of all trials, the first offences, the notes."""
        lines = [f"{'reward':<16} {'trial':<18} {'tried':>6} {'scored':>6} {'share':>7}"]
        offending = Counter((offence.reward, offence.trial) for offence in self.offences)
        for tally in self.tallies:
            mark = offending[tally.reward, tally.trial]
            remark = (
                f"  {mark} offend" if mark else "  tolerated by the reward" * (tally.is_tolerated and tally.scored > 0)
            )
            share = f"{tally.scored / tally.tried:7.1%}"
            lines.append(f"{tally.reward:<16} {tally.trial:<18} {tally.tried:>6} {tally.scored:>6} {share}{remark}")
        for offence in self.offences[:_LISTED]:
            lines += [
                f"{offence.origin} ({offence.row_id}): {offence.reward}, {offence.trial}: {offence.problem}",
                f"    completion: {offence.completion[:200]!r}",
                f"    detail: {dict(offence.detail)!s:.200}",
            ]
        if len(self.offences) > _LISTED:
            lines.append(f"… and {len(self.offences) - _LISTED} more; --json lists them all")
        return [*lines, *(f"note: {note}" for note in self.notes)]


@dataclass(slots=True)
class _Subject:
    """One reward under audit, and what was counted of it."""

    item: WeightedReward
    form: str
    tags: Thinking
    score: ScoreOne
    tried: Counter[str] = field(default_factory=Counter)
    scored: Counter[str] = field(default_factory=Counter)

    def audit(self, row: Row, origin: Callable[[str], str], skipped: frozenset[str]) -> list[Offence]:
        """Tries everything but `skipped` on one row."""
        expected = expectation(self.item.reward, row.columns, self.form)
        if expected is None:
            return self._audit_without_gold(row, origin)
        allowed = tolerated(self.item.reward)
        question = next((message["content"] for message in reversed(row.prompt) if message["role"] == "user"), "")
        offences: list[Offence] = []
        near_miss_value = 0.0
        for trial in trials(expected, question, self.tags):
            if trial.name in skipped:
                continue
            score = self._score(trial, row)
            if trial.name == GOLD and score.verdict is Verdict.NOT_APPLICABLE:
                return []
            if trial.name == NEAR_MISS:
                near_miss_value = max(near_miss_value, score.value or 0.0)
            problem = fault(trial.name, score, near_miss_value)
            self.tried[trial.name] += 1
            must_be_full = trial.name in (GOLD, NEAR_MISS)
            self.scored[trial.name] += is_full(score) if must_be_full else bool(problem) and score.value is not None
            if problem and (score.value is None or trial.name not in allowed):
                offences.append(self._offence(trial, row, origin, problem, score))
            if score.verdict is Verdict.BAD_REFERENCE or (trial.name == GOLD and score.value is None):
                break  # every other trial of this row would say the same
        return offences

    def _audit_without_gold(self, row: Row, origin: Callable[[str], str]) -> list[Offence]:
        """The reward knows no right answer on this row; then the row must not be its fault either."""
        trial = Trial(GOLD, "")
        score = self._score(trial, row)
        if not score.verdict.is_our_fault:
            return []
        self.tried[GOLD] += 1
        return [self._offence(trial, row, origin, fault(GOLD, score) or "", score)]

    def _score(self, trial: Trial, row: Row) -> Score:
        return self.score(trial.sample(self.tags, row.prompt, row.columns, row.row_id)).scores[self.item.name]

    def _offence(self, trial: Trial, row: Row, origin: Callable[[str], str], problem: str, score: Score) -> Offence:
        return Offence(
            reward=self.item.name,
            trial=trial.name,
            row_id=row.row_id,
            origin=origin(row.row_id),
            problem=problem,
            completion=_abridged(trial.text),
            value=score.value,
            verdict=str(score.verdict),
            detail=score.detail,
        )

    def tallies(self) -> list[Tally]:
        """The counts, in the order of the trials."""
        allowed = tolerated(self.item.reward)
        return [
            Tally(self.item.name, trial, self.tried[trial], self.scored[trial], trial in allowed)
            for trial in (GOLD, NEAR_MISS, *ATTACKS)
            if self.tried[trial]
        ]


def audit_rows(
    rewards: RewardSet,
    rows: Sequence[Row],
    tags: Thinking,
    *,
    score: ScoreOne | None = None,
    names: Sequence[str] = (),
    origin: Callable[[str], str] = str,
    advance: Callable[[], None] = lambda: None,
) -> AuditReport:
    """Tries every reward that has a weight, or is in `names`, on every row.

    A reward is tried when it has a `reference` or a gold column (`trials.answer_column`). All others are only looked at
    on the right completions of those, and a note says so when they never give anything.

    Args:
        score: scores one completion; `rewards.score` unless given.
        origin: row id to the place of the row, for the list of offences.
        advance: called after every row.

    Raises:
        RewardPluginError: `reference`, `near_misses` or `tolerates` of a reward is broken.
    """
    score = score or rewards.score
    looked_at = [item for item in rewards.rewards if item.weight or item.name in names]
    forms = {item.name: _form(item, rows, tags, score) for item in looked_at}
    subjects = [_Subject(item, form, tags, score) for item in looked_at if (form := forms[item.name])]
    offences: list[Offence] = []
    for position, row in enumerate(rows):
        skipped = frozenset({"long_text"} if position >= _LONG_TEXT_ROWS else ())
        for subject in subjects:
            offences += subject.audit(row, origin, skipped)
        advance()
    notes = [
        f"{item.name}: not tried, it is not known how it reads answers; give it a method reference(row)"
        for item in looked_at
        if forms[item.name] is None and answer_column(item.reward)
    ]
    if not subjects:
        notes.append(
            "nothing was tried: no reward with a weight says what a right answer is, by reference(row) or "
            "by a required column with the answer"
        )
    notes += _never_given(subjects, [item for item in looked_at if forms[item.name] is None], rows)
    return AuditReport(len(rows), tuple(t for s in subjects for t in s.tallies()), tuple(offences), tuple(notes))


def audit_recipe(
    recipe: Recipe,
    data: Mapping[str, Sequence[Row]],
    rewards: RewardSet,
    *,
    max_rows: int = MAX_ROWS,
    score: ScoreOne | None = None,
    advance: Callable[[], None] = lambda: None,
) -> AuditReport:
    """Audits at most `max_rows` rows, drawn from all data sets that are rolled out or evaluated on."""
    rows = sampled_rows(recipe, data, max_rows)
    names = [recipe.eval.accuracy] if recipe.eval else []
    return audit_rows(
        rewards,
        rows,
        recipe.prompt.thinking,
        score=score,
        names=names,
        origin=lambda row_id: place_of(recipe, row_id),
        advance=advance,
    )


def refuse_bad_rewards(
    recipe: Recipe, data: Mapping[str, Sequence[Row]], rewards: RewardSet, *, score: ScoreOne | None = None
) -> None:
    """Audits a sample before a run, unless `scoring.audit` is false or nothing is trained on rewards.

    Raises:
        AuditError: something offends; names the first offences.
    """
    if not recipe.scoring.audit or not any(stage.kind == "grpo" for stage in recipe.stages):
        return
    report = audit_recipe(recipe, data, rewards, max_rows=SAMPLE_ROWS, score=score)
    for note in report.notes:
        logger.info("audit: %s", note)
    if report.offences:
        num_bad = len({offence.row_id for offence in report.offences})
        first = {(offence.reward, offence.trial): offence for offence in reversed(report.offences)}
        shown = "; ".join(
            f"{o.reward}, {o.trial} on {o.origin}: {o.problem}" for o in sorted(first.values(), key=_seriousness)[:3]
        )
        raise AuditError(
            f"audit: the rewards fail on {num_bad} of {report.num_rows} sampled rows: {shown}. See them all with "
            "`reasoning-rl audit`; mend the rows or the reward, or set scoring.audit=false to train anyway"
        )


def sampled_rows(recipe: Recipe, data: Mapping[str, Sequence[Row]], max_rows: int) -> list[Row]:
    """At most `max_rows` rows of the data sets that grpo and eval stages use, the same ones for the same seed."""
    names = dict.fromkeys(stage.dataset for stage in recipe.stages if stage.kind in ("grpo", "eval"))
    rows = [row for name in names for row in data[name]]
    if len(rows) <= max_rows:
        return rows
    return [rows[index] for index in sorted(random.Random(recipe.run.seed).sample(range(len(rows)), max_rows))]


def _form(item: WeightedReward, rows: Sequence[Row], tags: Thinking, score: ScoreOne) -> str | None:
    """How the answer is written for a reward without `reference`: the form that most often scores full.

    `None` when the reward cannot be tried; any form for a reward that knows itself.
    """
    if hasattr(item.reward, "reference"):
        return FORMS[0]
    full: Counter[str] = Counter()
    for row in rows[:_FORM_ROWS]:
        for form in FORMS:
            expected = expectation(item.reward, row.columns, form)
            if expected is not None:
                gold = next(trials(expected, "", tags)).sample(tags, row.prompt, row.columns, row.row_id)
                full[form] += is_full(score(gold).scores[item.name])
    best = max(full, key=lambda form: full[form], default=None)
    return best if best and full[best] else None


def _never_given(subjects: Sequence[_Subject], others: Sequence[WeightedReward], rows: Sequence[Row]) -> list[str]:
    """A note for every other reward that gives nothing to any right completion, such as one for a form with the wrong
    tags."""
    values: dict[str, list[float]] = {item.name: [] for item in others if item.weight > 0}
    for subject in subjects if values else ():
        for row in rows[:_FORM_ROWS]:
            expected = expectation(subject.item.reward, row.columns, subject.form)
            if expected:
                gold = next(trials(expected, "", subject.tags))
                scores = subject.score(gold.sample(subject.tags, row.prompt, row.columns, row.row_id)).scores
                for name, found in values.items():
                    found += [value] if (value := scores[name].value) is not None else []
    return [
        f"{name}: at most 0 for a right answer written as prompt.thinking asks; fine for a penalty, else look at its options"
        for name, found in values.items()
        if found and max(found) <= 0
    ]


def _seriousness(offence: Offence) -> int:
    return (GOLD, NEAR_MISS, *ATTACKS).index(offence.trial)


def _abridged(text: str) -> str:
    if len(text) <= 2 * _SHOWN_CHARS:
        return text
    return f"{text[:_SHOWN_CHARS]} … {len(text) - 2 * _SHOWN_CHARS} characters … {text[-_SHOWN_CHARS:]}"
