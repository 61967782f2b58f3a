"""Runs of several processes on CPUs, plain and under DeepSpeed: what they share, and that they stay one policy."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from log_probs import gap, trainer_logprobs  # pyright: ignore[reportAttributeAccessIssue]
from watched_run import COMPLETIONS, PROMPTS, digest  # pyright: ignore[reportAttributeAccessIssue]
from whole_runs import (  # pyright: ignore[reportAttributeAccessIssue]
    ACCELERATE_CONFIGS,
    CLI,
    cli_that_launches,
    run,
    start,
    wait_until,
    watched,
)

from reasoning_rl.run_dir import RunDir, read_json, read_jsonl

pytestmark = [pytest.mark.engine, pytest.mark.slow]

FLOAT32 = (1e-5, 1e-4)  # mean and largest gap of log-probs, docs/weight-sync.md
STEPS = 2
ENGINE = {  # by itself vLLM would sample in bfloat16
    "dtype": "float32",
    "max_model_len": 128,
    "enforce_eager": True,
    "kv_cache_memory_bytes": 1 << 28,
    "max_num_seqs": 16,
}

Recipe = Callable[..., Path]


def several(recipe: Recipe, config: str, number: int, policy: str = "lora", **sections: Any) -> Path:
    """SFT, GRPO and evaluation on so many processes; with two, the group in the middle lies on both."""
    per_process = 4 if number == 1 else 3
    common: dict[str, Any] = {"learning_rate": 1e-3, "gradient_checkpointing": False, "bf16": False}
    grpo = {"max_steps": STEPS, "per_device_train_batch_size": per_process, "num_generations": 2, "save_steps": 1}
    return recipe(
        rewards={
            "correct": {"use": "exact_answer"},
            "luck": {"use": f"{Path(__file__).parent}/rank_reward.py:by_text"},
        },
        scoring={"audit": False, "num_workers": 1},
        grpo={**common, **grpo, "max_completion_length": 8},
        stages=[
            {"name": "sft", "kind": "sft", "policy": "full"},
            {"name": "grpo", "kind": "grpo", "policy": policy},
            {"name": "after", "kind": "eval"},
        ],
        launch={"config_file": str(ACCELERATE_CONFIGS / f"{config}.yaml"), "num_processes": number},
        **{"vllm": ENGINE, **sections},
    )


@pytest.mark.parametrize(
    ("config", "number", "policy"),
    [
        ("cpu_2", 2, "lora"),
        ("zero2", 1, "lora"),
        ("zero2", 2, "full"),
        ("zero3", 1, "full"),
        ("zero3", 2, "lora"),
    ],
    ids=lambda value: str(value),
)
def test_processes_are_one_run(config: str, number: int, policy: str, tiny_recipe: Recipe, tmp_path: Path) -> None:
    result = run(
        [*cli_that_launches("watched_run"), "train", str(several(tiny_recipe, config, number, policy))],
        WATCH_FOLDER=str(tmp_path),
        PYTHONPATH=os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
    )
    assert result.returncode == 0, result.stderr[-3000:]
    run_dir = RunDir(tmp_path / "run")
    check_ledger(run_dir, number)
    check_weights(run_dir, watched(tmp_path), number)
    evaluated = list(read_jsonl(run_dir.root / "stages" / "03_after" / "completions.jsonl"))
    assert Counter(row["scores"]["luck"]["detail"]["rank"] for row in evaluated) == dict.fromkeys(
        range(number), 8 // number
    )
    assert Counter(row["row_id"] for row in evaluated) == dict.fromkeys({row["row_id"] for row in evaluated}, 2)
    assert read_json(run_dir.summary)["after"]["num_problems"] == 4
    has_adapter = (run_dir.root / "stages" / "02_grpo" / "adapter" / "adapter_model.safetensors").exists()
    assert has_adapter is (policy == "lora")
    assert not list(run_dir.root.rglob("checkpoints"))


def check_ledger(run_dir: RunDir, number: int) -> None:
    """Every completion once, groups whole, each process has graded its own, metrics are those of all."""
    metrics = [row for row in read_jsonl(run_dir.metrics) if row["stage"] == "grpo"]
    rollouts = list(read_jsonl(run_dir.rollouts))
    per_process = 4 if number == 1 else 3
    assert [row["step"] for row in metrics] == list(range(1, STEPS + 1))
    assert len(rollouts) == STEPS * per_process * number
    for row in metrics:
        step = [r for r in rollouts if r["step"] == row["step"] - 1]
        assert [r["scores"]["luck"]["detail"]["rank"] for r in step] == [
            rank for rank in range(number) for _ in range(per_process)
        ]
        for first, second in zip(step[::2], step[1::2], strict=True):
            assert first["row_id"] == second["row_id"]
            assert first["advantage"] == pytest.approx(-second["advantage"], abs=1e-4)
        assert set(Counter(r["row_id"] for r in step).values()) == {2}
        assert row["reward"] == pytest.approx(sum(r["total"] for r in step) / len(step), abs=1e-6)
        luck = [r["scores"]["luck"]["value"] for r in step]
        assert row["rewards/luck/mean"] == pytest.approx(sum(luck) / len(luck), abs=1e-6)
        lengths = [r["num_tokens"] for r in step]
        assert row["completions/mean_length"] == pytest.approx(sum(lengths) / len(lengths), abs=1e-4)
        assert 0 <= row["sampling/sampling_logp_difference/mean"] < FLOAT32[0]
    assert any(r["advantage"] for r in rollouts)


def check_weights(run_dir: RunDir, seen: dict[int, list[dict[str, Any]]], number: int) -> None:
    """After each sync and at the end every engine and every trainer hold the same policy, which is the exported one."""
    assert sorted(seen) == list(range(number))
    assert [row["what"] for row in seen[0]] == ["sft", *["sync"] * STEPS, "grpo", "close"]
    for rows in seen.values():
        assert [row.get("digest") for row in rows] == [row.get("digest") for row in seen[0]]
        for row in rows:
            if row["what"] == "sync":
                assert_equal(row["engine"], row["trainer"])
    digests = [row["digest"] for row in seen[0] if "digest" in row]
    assert digests[0] == digests[1] and len(set(digests)) == STEPS + 1, "every step moved the policy"

    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    assert digest(load_file(run_dir.model / "model.safetensors")) == digests[-1]
    plain = AutoModelForCausalLM.from_pretrained(run_dir.model, dtype=torch.float32)
    exported = trainer_logprobs(plain, PROMPTS, COMPLETIONS)
    for rows in seen.values():
        assert_equal(rows[-1]["engine"], exported)  # what was evaluated


def assert_equal(ours: list[list[float]], theirs: list[list[float]]) -> None:
    mean, largest = gap(ours, theirs)
    assert mean < FLOAT32[0] and largest < FLOAT32[1]


@pytest.mark.parametrize("config", ["cpu_2", "zero3"])
def test_ctrl_c_stops_all_after_the_same_step(config: str, tiny_recipe: Recipe, tmp_path: Path) -> None:
    command = [*CLI, "train", str(several(tiny_recipe, config, 2)), "grpo.max_steps=12", "grpo.save_steps=1000"]
    run_dir = RunDir(tmp_path / "run")
    process = start(command)
    wait_until(lambda: any(row["stage"] == "grpo" for row in read_jsonl(run_dir.metrics)), process)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130, stderr[-3000:]
    assert stderr.count("Resume with: reasoning-rl train") == 1 and "Traceback" not in stderr
    stopped_at = max(row["step"] for row in read_jsonl(run_dir.metrics) if row["stage"] == "grpo")
    assert 1 <= stopped_at < 12
    checkpoints = run_dir.root / "stages" / "02_grpo" / "checkpoints"
    assert [path.name for path in checkpoints.glob("checkpoint-*")] == [f"checkpoint-{stopped_at}"]
    result = run(command)
    assert result.returncode == 0, result.stderr[-3000:]
    assert [row["step"] for row in read_jsonl(run_dir.metrics) if row["stage"] == "grpo"] == list(range(1, 13))
    assert read_json(run_dir.root / "stages" / "02_grpo" / "done.json")["result"] == {
        "steps": 12,
        "resumed_at": stopped_at,
    }


def test_a_refusal_is_one_sentence(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """What only the launched processes can find out is said once, by the first of them, and torchrun adds nothing."""
    recipe = several(tiny_recipe, "cpu_2", 2, vllm={"max_model_len": 20})
    result = run([*CLI, "train", str(recipe)])
    assert result.returncode == 2, result.stderr[-3000:]
    (said,) = [line for line in result.stderr.splitlines() if "error" in line.lower()]
    assert said.startswith("error: data.train: row ") and "vllm.max_model_len = 20" in said
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()
