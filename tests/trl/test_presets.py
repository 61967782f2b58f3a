"""The shipped presets, run as written but for size: two steps on a tiny random policy, with every stage."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from whole_runs import run  # pyright: ignore[reportAttributeAccessIssue]

from reasoning_rl.recipe_io import load_recipe
from reasoning_rl.run_dir import RunDir, read_json, read_jsonl

pytestmark = [pytest.mark.engine, pytest.mark.slow]

RECIPES = Path(__file__).parents[2] / "recipes"
PRESETS = ("grpo", "dr_grpo", "dapo", "gspo", "cispo")

#: A quarter of the preset's batch in every direction: what it says about batches, groups and updates keeps its proportions.
SMALLER = [
    "grpo.max_steps=2",
    "grpo.per_device_train_batch_size=4",
    "grpo.gradient_accumulation_steps=4",
    "grpo.num_generations=4",
    "grpo.max_completion_length=16",
    "data.train.size=64",
    "data.eval.size=4",
    "eval.num_samples=2",
    "eval.max_completion_length=16",
    "model.dtype=float32",
    "vllm={dtype: float32, max_model_len: 512, enforce_eager: true, kv_cache_memory_bytes: 268435456, max_num_seqs: 16}",
    # A random policy never answers right; this gives the loss something to work on.
    f"rewards.luck={{use: '{Path(__file__).parent}/rank_reward.py:by_text'}}",
    "scoring={audit: false, num_workers: 1}",
]


def test_no_preset_is_forgotten() -> None:
    recipes = {path.stem: load_recipe(path).recipe for path in RECIPES.glob("*.yaml")}
    same_task = [
        name for name, recipe in recipes.items() if recipe.data["train"][0].source == "reasoning_gym:gsm_symbolic"
    ]
    assert sorted(same_task) == sorted(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_preset(name: str, tiny_policy: Path, tmp_path: Path) -> None:
    path = RECIPES / f"{name}.yaml"
    overrides = [*SMALLER, f"model.source={tiny_policy}", f"run.dir={tmp_path / 'run'}"]
    updates_per_rollout = 1
    if "steps_per_generation" in load_recipe(path).recipe.grpo:
        overrides.append("grpo.steps_per_generation=16")
        updates_per_rollout = 4
    result = run([sys.executable, "-m", "reasoning_rl.train", str(path), *overrides])
    assert result.returncode == 0, result.stderr[-3000:]

    run_dir = RunDir(tmp_path / "run")
    metrics = [row for row in read_jsonl(run_dir.metrics) if row["stage"] == "grpo"]
    rollouts = list(read_jsonl(run_dir.rollouts))
    assert [row["step"] for row in metrics] == [1, 2]
    assert len(rollouts) == (2 * 16 if updates_per_rollout == 1 else 64)
    assert any(row["advantage"] for row in rollouts)
    assert all(math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]) for row in metrics)
    if read_json(run_dir.recipe)["grpo"].get("mask_truncated_completions"):
        assert all(row["truncated"] for row in rollouts), "all of them are masked, so nothing may move"
        assert [row["grad_norm"] for row in metrics] == [0.0, 0.0]
    else:
        assert all(row["grad_norm"] > 0 for row in metrics)
    summary = read_json(run_dir.summary)
    assert [summary[stage]["num_samples"] for stage in ("before", "after")] == [8, 8]
    assert (run_dir.model / "model.safetensors").exists()
