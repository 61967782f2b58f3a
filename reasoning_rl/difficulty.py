"""`reasoning-rl difficulty`: how often a policy solves each training prompt, and a data set of those worth training on.

`OUT.jsonl` holds the rows that are kept, in the order of the data, and can be the source of a recipe. `OUT.jsonl.rates.jsonl`
has a line for every row that was sampled and is the record of how far a call got; `OUT.jsonl.config.json` says with which
policy, rewards and settings, so that no file mixes two of them. Trains nothing and makes no run folder.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reasoning_rl import hub, recipe_check
from reasoning_rl.api import Sample
from reasoning_rl.data import Row, check_rows, load_data, place_of
from reasoning_rl.errors import DataError, RecipeError
from reasoning_rl.evals.intervals import wilson
from reasoning_rl.launch import process_environment
from reasoning_rl.progress import StageProgress
from reasoning_rl.recipe import Recipe, Stage
from reasoning_rl.recipe_io import RecipeFile
from reasoning_rl.run_dir import append_jsonl, read_jsonl, write_json, write_text
from reasoning_rl.scoring import FULL, RewardSet, ScoredSample

#: Upper ends of the inner bars of the histogram; 0 and 1 have bars of their own.
_BARS = (0.2, 0.4, 0.6, 0.8, 1.0)
_BAR_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Rate:
    """Completions of one row that pass the reward (score 1 or more), out of those that it could score. `low` and `high`
    bound the 95 % interval of the pass rate; all three are `None` where nothing could be scored."""

    row_id: str
    num_passed: int
    num_scored: int
    pass_rate: float | None
    low: float | None
    high: float | None
    mean_length: float
    truncated: float

    @classmethod
    def of(cls, row_id: str, values: Sequence[float | None], lengths: Sequence[int], num_truncated: int) -> Rate:
        """From the scores of one row's completions, `None` where one could not be scored."""
        scored = [value for value in values if value is not None]
        passed = sum(value >= FULL for value in scored)
        rate = passed / len(scored) if scored else None
        low, high = (None, None) if rate is None else wilson(rate, len(scored))
        count = len(values)
        return cls(row_id, passed, len(scored), rate, low, high, sum(lengths) / count, num_truncated / count)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Pass rates to keep, both ends included; without ends, those of rows that are solved sometimes and not always."""

    low: float | None = None
    high: float | None = None

    def keep(self, rate: float | None) -> bool:
        """Whether to keep a row; one that could not be scored is not."""
        if rate is None:
            return False
        above = rate > 0 if self.low is None else rate >= self.low
        return above and (rate < 1 if self.high is None else rate <= self.high)

    def __str__(self) -> str:
        low = "above 0" if self.low is None else f"from {self.low:g}"
        return f"{low} and {'below 1' if self.high is None else f'up to {self.high:g}'}"


@dataclass(frozen=True, slots=True)
class Job:
    """What to sample and how; `num_rows` is `None` for all."""

    recipe: Recipe
    stage: Stage
    reward: str
    output: Path
    num_samples: int
    num_rows: int | None = None
    bounds: Bounds = Bounds()

    @property
    def rates(self) -> Path:
        return self.output.with_name(self.output.name + ".rates.jsonl")

    @property
    def config_file(self) -> Path:
        return self.output.with_name(self.output.name + ".config.json")

    def config(self) -> dict[str, Any]:
        """What decides the rates; how many rows are wanted and which are kept does not."""
        recipe = self.recipe.model_dump(mode="json")
        return {
            "model": recipe["model"],
            "prompt": recipe["prompt"],
            "data": recipe["data"][self.stage.dataset],
            "rewards": recipe["rewards"],
            "reward": self.reward,
            "seed": self.recipe.run.seed,
            "grpo": {key: value for key, value in self.recipe.section_of(self.stage).items() if key in _SAMPLING_KEYS},
            "num_samples": self.num_samples,
        }


_SAMPLING_KEYS = ("temperature", "top_p", "max_completion_length")


def job_from(
    file: RecipeFile,
    output: Path | None = None,
    num_samples: int | None = None,
    num_rows: int | None = None,
    bounds: Bounds | None = None,
    stage: str | None = None,
    reward: str | None = None,
) -> Job:
    """The job that the command line describes; by default the first grpo stage, `eval.accuracy`, and as many samples as a
    group of the stage has.

    Raises:
        RecipeError: the recipe cannot be run as written, has no such stage or reward, or the bounds exclude everything.
    """
    recipe_check.check(file)
    recipe, bounds = file.recipe, bounds or Bounds()
    stages = {item.name: item for item in recipe.stages if item.kind == "grpo"}
    if not stages or (stage and stage not in stages):
        raise RecipeError(
            [f"difficulty: found no grpo stage {stage or ''}".rstrip() + f", the recipe has {sorted(stages)}"]
        )
    name = reward or recipe.accuracy_reward
    if name is None or name not in recipe.rewards:
        found = f"no reward {reward!r}" if reward else "several rewards with a weight and no eval.accuracy"
        raise RecipeError([f"difficulty: found {found}; say --reward with one of {sorted(recipe.rewards)}"])
    if (bounds.low or 0.0) > (1.0 if bounds.high is None else bounds.high):
        raise RecipeError([f"difficulty: no pass rate is {bounds}; give a --min that is at most --max"])
    chosen = stages[stage] if stage else next(iter(stages.values()))
    group = recipe.section_of(chosen).get("num_generations", 8)
    output = output or Path(f"{Path(file.path).stem}.difficulty.jsonl")
    return Job(recipe, chosen, name, output, num_samples or int(str(group)), num_rows, bounds)


def measure(job: Job) -> list[Rate]:
    """Samples and scores every row that the rates file does not have yet, then writes the data set; returns all rates.

    Where no row is kept, there is no data set afterwards.

    Raises:
        ReasoningRLError: data, model, engine or rewards are at fault, or the files belong to another job.
    """
    os.environ |= process_environment(os.environ)
    hub.go_offline_without(job.recipe)
    rewards = RewardSet.from_recipe(job.recipe)
    data = load_data(job.recipe, rewards.required_columns)
    rows = data[job.stage.dataset]
    check_rows(job.recipe, rewards, job.stage.dataset, rows)
    for row in rows:
        _refuse_what_json_cannot_say(row, place_of(job.recipe, row.row_id))
    ordered = sampling_order(job, rows)
    wanted = ordered[: job.num_rows]
    _check_config(job)
    rates = _read_rates(job, ordered)
    if len(rates) < len(wanted):
        from reasoning_rl.trl_bridge.requirements import require_training_stack

        require_training_stack(job.recipe)

        from reasoning_rl.trl_bridge.sample_rows import sample_rows

        missing = wanted[len(rates) :]
        total = len(wanted) * job.num_samples
        bar = StageProgress("difficulty", total, "completions")
        bar.set(len(rates) * job.num_samples)
        with bar:
            for results in sample_rows(job.recipe, job.stage, data, missing, rewards, job.num_samples, bar.advance):
                some = [_rate(job, row, found) for row, found in results]
                append_jsonl(job.rates, [asdict(rate) for rate in some])
                rates += some
    _write_kept(job, rows, {rate.row_id: rate for rate in rates})
    return rates


def sampling_order(job: Job, rows: Sequence[Row]) -> list[Row]:
    """Drawn from `run.seed`, so that the first so many are a fair sample of all."""
    order = list(rows)
    random.Random(job.recipe.run.seed).shuffle(order)
    return order


def nothing_kept(job: Job, rates: Sequence[Rate]) -> str | None:
    """What to say when no row is kept."""
    if any(job.bounds.keep(rate.pass_rate) for rate in rates):
        return None
    return (
        f"difficulty: none of {len(rates)} rows has a pass rate {job.bounds}, so there is no {job.output}; the rates are in "
        f"{job.rates}. Widen --min and --max, or take other rows or another policy"
    )


def summary_lines(job: Job, rates: Sequence[Rate]) -> list[str]:
    """What to tell the user: a histogram, what was kept, and how a recipe takes it."""
    known = [rate.pass_rate for rate in rates if rate.pass_rate is not None]
    lines = [f"pass rate of {job.reward} over {len(known)} rows × {job.num_samples} samples: {_mean(known)}"]
    counts = histogram(known)
    for label, count in counts.items():
        bar = "█" * round(_BAR_WIDTH * count / max(counts.values())) if count else ""
        lines.append(f"{label:>12} {bar:<{_BAR_WIDTH}} {count}")
    if len(known) < len(rates):
        lines.append(f"{len(rates) - len(known)} rows could not be scored through no fault of the policy; not kept")
    if kept := sum(map(job.bounds.keep, known)):
        lines.append(f"{kept} rows with a pass rate {job.bounds}: {job.output}")
        lines.append(f"to train on them, in the recipe: data: {{{job.stage.dataset}: {{source: {job.output}}}}}")
    return lines


def histogram(rates: Sequence[float]) -> dict[str, int]:
    """How many rates are 0, in each fifth between, and 1."""
    counts = {"0": sum(rate == 0 for rate in rates)}
    low = 0.0
    for high in _BARS:
        label = f"{low:g}–{high:g}"
        counts[label] = sum(low < rate <= high and rate < 1 for rate in rates)
        low = high
    return {**counts, "1": sum(rate == 1 for rate in rates)}


def earlier_stages(job: Job) -> list[str]:
    """Training stages before the one that is looked at: its policy is theirs, not `model.source`."""
    before = job.recipe.stages[: job.recipe.stages.index(job.stage)]
    return [stage.name for stage in before if stage.kind != "eval"]


def _rate(job: Job, row: Row, results: Sequence[tuple[Sample, ScoredSample]]) -> Rate:
    return Rate.of(
        row.row_id,
        [scored.scores[job.reward].value for _, scored in results],
        [sample.completion.num_tokens for sample, _ in results],
        sum(sample.completion.truncated for sample, _ in results),
    )


def _check_config(job: Job) -> None:
    config = json.loads(json.dumps(job.config()))
    again = f"delete {job.rates} and {job.config_file}, or choose another output"
    if job.rates.exists():
        before = json.loads(job.config_file.read_text(encoding="utf-8")) if job.config_file.exists() else {}
        changed = sorted(key for key in {*before, *config} if before.get(key) != config.get(key))
        if changed:
            raise DataError(f"{job.rates}: was made with another {' and '.join(changed)}; to start over, {again}")
    elif job.output.exists():
        raise DataError(f"{job.output}: exists and was not written by difficulty; choose another output")
    try:
        write_json(job.config_file, config)
    except OSError as error:
        raise DataError(f"{job.output}: cannot be written ({error.strerror}); choose another output") from None


def _read_rates(job: Job, rows: Sequence[Row]) -> list[Rate]:
    """The rates that an earlier call has written."""
    rates: list[Rate] = []
    for number, found in enumerate(read_jsonl(job.rates), start=1):
        try:
            rate = Rate(**found)
        except TypeError:
            raise DataError(f"{job.rates}:{number}: found no pass rate; choose another output") from None
        if number > len(rows) or rate.row_id != rows[number - 1].row_id:
            raise DataError(
                f"{job.rates}:{number}: has the row {rate.row_id}, which does not come at this place of the data; the data "
                "has changed, so choose another output"
            )
        rates.append(rate)
    return rates


def _write_kept(job: Job, rows: Sequence[Row], rates: dict[str, Rate]) -> None:
    kept = [
        {**row.columns, "pass_rate": rates[row.row_id].pass_rate}
        for row in rows
        if row.row_id in rates and job.bounds.keep(rates[row.row_id].pass_rate)
    ]
    if kept:
        write_text(job.output, "".join(json.dumps(row) + "\n" for row in kept))
    else:
        job.output.unlink(missing_ok=True)


def _refuse_what_json_cannot_say(row: Row, where: str) -> None:
    try:
        json.dumps(row.columns)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where}: cannot be written as JSON ({error}); turn the column into text with convert:"
        ) from None


def _mean(rates: Sequence[float]) -> str:
    return f"{sum(rates) / len(rates):.3f}" if rates else "unknown"
