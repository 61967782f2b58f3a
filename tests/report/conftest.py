"""A small but realistic run folder, written through `RunDir` as a run writes it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.recipe import Recipe
from reasoning_rl.run_dir import RunDir, append_jsonl, write_json, write_text

Row = dict[str, Any]
MakeRun = Callable[..., RunDir]

STAGES = [
    {"name": "before", "kind": "eval"},
    {"name": "warmup", "kind": "sft"},
    {"name": "after_sft", "kind": "eval"},
    {"name": "grpo", "kind": "grpo"},
    {"name": "after", "kind": "eval"},
]
ATTACK = "<script>alert(1)</script>"


def recipe(stages: list[dict[str, str]]) -> Recipe:
    return Recipe.model_validate(
        {
            "run": {"dir": "runs/example"},
            "model": {"source": "package:smollm2-135m-instruct"},
            "data": {
                name: {"source": "reasoning_gym:basic_arithmetic", "size": 8} for name in ("sft", "train", "eval")
            },
            "rewards": {"exact": {"use": "exact_answer"}, "format": {"use": "think_format", "weight": 0.1}},
            "grpo": {"num_generations": 8, "learning_rate": 1.0e-5},
            "eval": {"accuracy": "exact", "max_completion_length": 256},
            "stages": stages,
        }
    )


def eval_entry(accuracy: float, low: float, high: float) -> Row:
    return {
        "accuracy": accuracy, "ci95": [low, high], "num_problems": 256, "num_samples": 1024, "truncated": 0.05,
        "rewards": {"exact": accuracy, "format": 0.9},
    }  # fmt: skip


def summary() -> Row:
    return {
        "before": eval_entry(0.0195, 0.011, 0.033),
        "after_sft": eval_entry(0.43, 0.39, 0.47),
        "after": eval_entry(0.86, 0.83, 0.89),
        "minutes": {"before": 2.1, "warmup": 3.4, "after_sft": 2.0, "grpo": 31.7, "after": 1.9, "total": 41.1},
        "versions": {"python": "3.11.7"},
        "model": "runs/example/model",
    }


def sft_rows(num_steps: int = 30, stage: str = "warmup") -> list[Row]:
    return [
        {"stage": stage, "kind": "sft", "step": step, "elapsed_s": 2.0 * step, "loss": 2.5 * math.exp(-step / 12) + 0.3}
        for step in range(1, num_steps + 1)
    ]


def grpo_rows(num_steps: int = 60, stage: str = "grpo") -> list[Row]:
    rows: list[Row] = []
    for step in range(1, num_steps + 1):
        wobble = math.sin(step * 2.3) * 0.06
        rollout, update = 9 + 2 * math.cos(step / 9), 6 + wobble * 4
        rows.append(
            {
                "stage": stage, "kind": "grpo", "step": step, "elapsed_s": 20.0 * step,
                "reward": 0.45 + 0.45 * (1 - math.exp(-step / 25)) + wobble, "reward_std": 0.3,
                "completions/mean_length": 120 - step * 0.6 + wobble * 80, "completions/min_length": 30 + wobble * 40,
                "completions/max_length": 256 - step * 0.8, "completions/clipped_ratio": max(0, 0.2 - step / 300 + wobble),
                "entropy": 0.9 * math.exp(-step / 60) + wobble / 3, "useful_group_share": max(0, 0.8 - step / 120),
                "rewards/exact/mean": 0.5, "verdicts/exact/correct": 0.5, "time/sync_s": 1.1, "time/rollout_s": rollout,
                "time/reward_s": 0.4, "time/update_s": update, "time/step_s": rollout + update + 2.0, "tokens_per_s": 900.0,
                "sampled_tokens_per_s": 300.0 + 20 * wobble, "trained_tokens_per_s": 220.0,
            }
        )  # fmt: skip
    return rows


def completion_row(text: str, value: float | None, row_id: str = "basic_arithmetic-17", **extra: Any) -> Row:
    verdict = "correct" if value == 1 else "wrong" if value is not None else "grader_error"
    return {
        "stage": "grpo", "row_id": row_id,
        "prompt": [{"role": "system", "content": "Think first, then answer."},
                   {"role": "user", "content": "What is 12 - (3 + 4)?"}],
        "completion": text, "num_tokens": len(text) // 4, "truncated": False, "total": value, "advantage": 0.5,
        "scores": {
            "exact": {"value": value, "verdict": verdict, "detail": {"extracted": "5", "gold": 5}, "seconds": 0.001},
            "format": {"value": 1.0, "verdict": "correct", "detail": {}, "seconds": 0.0},
        },
    } | extra  # fmt: skip


def rollout_rows(num_steps: int = 12) -> list[Row]:
    right = "<think>3 + 4 is 7.\nAnd 12 - 7 is 5.</think>\nThe answer is \\boxed{5}."
    wrong = f"<think>12 - 3 is 9, and 9 + 4 is 13. {ATTACK}</think>\nSo it is \\boxed{{13}} & <b>not</b> less."
    return [
        completion_row(f"{text}\n(step {step})", value, f"basic_arithmetic-{step * 4 + index}", step=step)
        for step in range(1, num_steps + 1)
        for index, (text, value) in enumerate([(right, 1.0), (wrong, 0.0), (right, None), (wrong, 0.1)])
    ]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes the parts of a run that are passed; by default those of a finished one."""

    def make(
        stages: list[dict[str, str]] = STAGES,
        summary: Row | None = None,
        metrics: list[Row] | None = None,
        rollouts: list[Row] | None = None,
        wrong: list[Row] | None = None,
    ) -> RunDir:
        run_dir = RunDir(tmp_path / "arithmetic-135m")
        resolved = recipe(stages)
        write_text(run_dir.recipe, json.dumps(resolved.model_dump(mode="json"), indent=2))
        write_json(run_dir.manifest, {
            "started": ["2026-01-05T09:00:00+0000"], "recipe": "recipes/arithmetic.yaml", "overrides": ["run.seed=1"],
            "rewards": {"exact": {"use": "exact_answer", "version": 1}}, "versions": {"python": "3.11.7", "trl": "1.16.0"},
            "git": {"commit": "0123456789abcdef", "dirty": True},
        })  # fmt: skip
        if summary is not None:
            write_json(run_dir.summary, summary)
        if metrics is not None:
            append_jsonl(run_dir.metrics, metrics)
        if rollouts is not None:
            append_jsonl(run_dir.rollouts, rollouts)
        if wrong is not None:
            append_jsonl(run_dir.stage(resolved, resolved.stages[-1]).completions, wrong)
        return run_dir

    return make


@pytest.fixture
def finished_run(make_run: MakeRun) -> RunDir:
    """A run with everything in it."""
    wrong = completion_row(f"<think>Nobody closes this. {ATTACK}", 0.0, "eval-3", stage="after", truncated=True)
    right = completion_row("<think>7</think> \\boxed{5}", 1.0, "eval-4", stage="after")
    run_dir = make_run(STAGES, summary(), sft_rows() + grpo_rows(), rollout_rows(), [right, wrong])
    for stage in recipe(STAGES).stages:
        write_json(run_dir.stage(recipe(STAGES), stage).done, {})
    return run_dir
