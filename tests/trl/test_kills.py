"""kill -9 at any point of a run: the same call goes on from there and ends as if nothing had happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from whole_runs import CLI, kill, run, start, wait_until  # pyright: ignore[reportAttributeAccessIssue]

from reasoning_rl.run_dir import RunDir, read_json, read_jsonl

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SFT_STEPS, SFT_SAVE_STEPS, GRPO_STEPS, GRPO_SAVE_STEPS = 61, 20, 9, 3


def checkpoints(run_dir: RunDir, stage: str) -> list[int]:
    """Steps of the checkpoints of a stage that are complete."""
    found = (run_dir.root / "stages" / stage / "checkpoints").glob("checkpoint-*/trainer_state.json")
    return sorted(int(path.parent.name.rpartition("-")[2]) for path in found)


def steps(run_dir: RunDir, stage: str) -> list[int]:
    return [row["step"] for row in read_jsonl(run_dir.metrics) if row["stage"] == stage]


def test_kills_in_every_stage(tiny_recipe: Callable[..., Path], tmp_path: Path) -> None:
    common: dict[str, Any] = {"learning_rate": 1e-3, "gradient_checkpointing": False, "bf16": False}
    recipe = tiny_recipe(
        # Another precision than the next stage has.
        sft={
            **common,
            "bf16": True,
            "per_device_train_batch_size": 4,
            "max_steps": SFT_STEPS,
            "save_steps": SFT_SAVE_STEPS,
        },
        grpo={
            **common,
            "max_steps": GRPO_STEPS,
            "save_steps": GRPO_SAVE_STEPS,
            "per_device_train_batch_size": 4,
            "num_generations": 2,
            "max_completion_length": 8,
        },
        # Slow enough to be killed in the middle.
        eval={"accuracy": "correct", "num_samples": 40, "max_completion_length": 64},
        stages=[
            {"name": "sft", "kind": "sft", "policy": "full"},
            {"name": "grpo", "kind": "grpo"},
            {"name": "after", "kind": "eval"},
        ],
    )
    command = [*CLI, "train", str(recipe)]
    run_dir = RunDir(tmp_path / "run")

    def killed_when(condition: Callable[[], bool]) -> None:
        process = start(command)
        wait_until(condition, process)
        kill(process)

    killed_when(lambda: max(steps(run_dir, "sft"), default=0) > SFT_SAVE_STEPS)
    sft_saved = max(checkpoints(run_dir, "01_sft"))
    assert sft_saved >= SFT_SAVE_STEPS and not (run_dir.root / "stages" / "01_sft" / "done.json").exists()

    killed_when(lambda: max(steps(run_dir, "grpo"), default=0) > GRPO_SAVE_STEPS)
    grpo_saved = max(checkpoints(run_dir, "02_grpo"))
    assert grpo_saved >= GRPO_SAVE_STEPS and not (run_dir.root / "stages" / "02_grpo" / "done.json").exists()
    sft_done = read_json(run_dir.root / "stages" / "01_sft" / "done.json")
    assert sft_done["result"] == {"steps": SFT_STEPS, "resumed_at": sft_saved}

    grpo_done = run_dir.root / "stages" / "02_grpo" / "done.json"
    killed_when(grpo_done.exists)  # the evaluation has begun
    assert read_json(grpo_done)["result"] == {"steps": GRPO_STEPS, "resumed_at": grpo_saved}
    assert not (run_dir.root / "stages" / "03_after" / "done.json").exists()

    result = run(command)
    assert result.returncode == 0, result.stderr[-3000:]
    assert steps(run_dir, "sft") == list(range(1, SFT_STEPS + 1))
    assert steps(run_dir, "grpo") == list(range(1, GRPO_STEPS + 1))
    rollouts = Counter(row["step"] for row in read_jsonl(run_dir.rollouts))
    assert rollouts == dict.fromkeys(range(GRPO_STEPS), 4), "every rollout once, those after the checkpoint made again"
    evaluated = list(read_jsonl(run_dir.root / "stages" / "03_after" / "completions.jsonl"))
    assert len(evaluated) == 4 * 40 and read_json(run_dir.summary)["after"]["num_samples"] == 4 * 40
    assert len(read_json(run_dir.manifest)["started"]) == 4
    assert not list(run_dir.root.rglob("checkpoints")) and not list(run_dir.root.rglob("*.partial"))


def test_an_end_before_the_policy_is_handed_on(tiny_recipe: Callable[..., Path], tmp_path: Path) -> None:
    """The last checkpoint is written, the policy cannot be: then not one step more is trained, and the policy is that of the
    checkpoint.

    `max_steps` ends within an epoch, where transformers itself would train one step more than asked for.
    """
    common: dict[str, Any] = {"learning_rate": 1e-2, "gradient_checkpointing": False, "bf16": False}
    recipe = tiny_recipe(
        sft={**common, "per_device_train_batch_size": 2, "max_steps": 3, "save_steps": 1},
        stages=[{"name": "sft", "kind": "sft", "policy": "full"}],
    )
    command = [*CLI, "train", str(recipe)]
    run_dir = RunDir(tmp_path / "run")
    stage = run_dir.root / "stages" / "01_sft"
    process = start(command)
    wait_until(run_dir.manifest.exists, process)
    stage.mkdir(parents=True, exist_ok=True)
    in_the_way = stage / "model.partial"
    in_the_way.touch()
    _, stderr = process.communicate(timeout=300)
    assert process.returncode != 0 and "FileExistsError" in stderr
    assert checkpoints(run_dir, "01_sft")[-1] == 3 and not (stage / "done.json").exists()

    from safetensors.torch import load_file

    expected = load_file(stage / "checkpoints" / "checkpoint-3" / "model.safetensors")
    in_the_way.unlink()
    result = run(command)
    assert result.returncode == 0, result.stderr[-3000:]
    assert read_json(stage / "done.json")["result"] == {"steps": 3, "resumed_at": 3}
    assert steps(run_dir, "sft") == [1, 2, 3]
    tensors = load_file(run_dir.model / "model.safetensors")
    assert tensors.keys() == expected.keys() and all((tensors[name] == expected[name]).all() for name in expected)
