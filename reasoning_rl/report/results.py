"""Results of the eval stages, as the summary of a run holds them, and the headline made of them.

Computes no accuracy and no interval (`evals` does); leaves out what the summary does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reasoning_rl.recipe import Recipe
from reasoning_rl.report.curves import number
from reasoning_rl.run_dir import RunDir, read_json


@dataclass(frozen=True, slots=True)
class EvalResult:
    """One eval stage. Accuracy, interval and `truncated` are shares in [0, 1]; `None` is not in the summary."""

    stage: str
    dataset: str
    accuracy: float
    interval: tuple[float, float] | None
    num_problems: int | None
    num_samples: int | None
    truncated: float | None
    rewards: Mapping[str, float | None]

    @property
    def basis(self) -> str:
        """What the accuracy was measured on: `256 problems × 4 samples`."""
        if not self.num_problems:
            return "an unknown number of problems"
        problems = f"{self.num_problems} problem{'s' if self.num_problems != 1 else ''}"
        if not self.num_samples:
            return problems
        per_problem = self.num_samples / self.num_problems
        return f"{problems} × {per_problem:.3g} sample{'s' if per_problem != 1 else ''}"


def read_summary(run_dir: RunDir) -> Mapping[str, Any]:
    """`summary.json`; empty as long as there is none."""
    return read_json(run_dir.summary) if run_dir.summary.exists() else {}


def eval_results(recipe: Recipe, summary: Mapping[str, Any]) -> list[EvalResult]:
    """The eval stages that have an accuracy, in the order of the recipe."""
    results: list[EvalResult] = []
    for stage in recipe.stages:
        entry = summary.get(stage.name)
        if stage.kind != "eval" or not isinstance(entry, dict):
            continue
        accuracy = number(entry.get("accuracy"))
        if accuracy is None:
            continue
        low, high = (number(bound) for bound in entry.get("ci95") or (None, None))
        rewards = entry.get("rewards") or {}
        results.append(
            EvalResult(
                stage=stage.name,
                dataset=stage.dataset,
                accuracy=accuracy,
                interval=None if low is None or high is None else (low, high),
                num_problems=_count(entry.get("num_problems")),
                num_samples=_count(entry.get("num_samples")),
                truncated=number(entry.get("truncated")),
                rewards={name: number(mean) for name, mean in rewards.items()},
            )
        )
    return results


def headline(results: Sequence[EvalResult]) -> str:
    """`accuracy 0.02 → 0.43 → 0.86 on 256 problems × 4 samples`.

    Arrows join only what was measured on the same data; several data sets give several clauses.
    """
    if not results:
        return "No eval stage has finished yet."
    clauses: dict[tuple[str, str], list[str]] = {}
    for result in results:
        clauses.setdefault((result.dataset, result.basis), []).append(f"{result.accuracy:.2f}")
    is_mixed = len({dataset for dataset, _ in clauses}) > 1
    return "; ".join(
        f"accuracy {' → '.join(values)} on {basis}{f' of {dataset}' if is_mixed else ''}"
        for (dataset, basis), values in clauses.items()
    )


def stage_minutes(summary: Mapping[str, Any]) -> dict[str, float]:
    """Minutes per stage in the order in which they ran, without the total."""
    minutes = {name: number(value) for name, value in (summary.get("minutes") or {}).items() if name != "total"}
    return {name: value for name, value in minutes.items() if value is not None}


def _count(value: Any) -> int | None:
    count = number(value)
    return None if count is None else int(count)
