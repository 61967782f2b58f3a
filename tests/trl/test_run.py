"""Whole runs with the real launcher, engine and trainers on a tiny random policy: what they write, stop and resume."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from whole_runs import ACCELERATE, CLI, run  # pyright: ignore[reportAttributeAccessIssue]

from reasoning_rl.run_dir import RunDir, read_json, read_jsonl
from reasoning_rl.workers.proc import descendants

pytestmark = pytest.mark.engine

#: The lines that a run prints at the terminal.
OURS = re.compile(
    r" *(before|sft|grpo|after): |data\.\w+: |vLLM engine started|(model|report|summary) /|"
    r"other processes use |this CPU has no bfloat16|audit: "
)


def undocumented(metrics: Path) -> set[str]:
    """Names in the metrics of a run that docs/metrics.md does not explain."""
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    patterns = [re.sub("<[a-z]+>", "[^/]+", name) for name in re.findall("`([^`\\s]+)`", page)]
    names = {name for row in read_jsonl(metrics) for name in row}
    assert len(names) > 20
    return {name for name in names if not any(re.fullmatch(pattern, name) for pattern in patterns)}


def test_all_stages_and_both_ways_to_launch(tiny_recipe: Callable[..., Path], tmp_path: Path) -> None:
    recipe = tiny_recipe(
        stages=[
            {"name": "before", "kind": "eval"},
            {"name": "sft", "kind": "sft", "policy": "full"},
            {"name": "grpo", "kind": "grpo"},
            {"name": "after", "kind": "eval"},
        ],
        # A random policy never answers right; length gives it something to learn from.
        rewards={
            "correct": {"use": "exact_answer"},
            "length": {"use": f"{Path(__file__).parent}/length_reward.py:length"},
        },
    )
    result = run([*CLI, "train", str(recipe), "grpo.max_steps=2"])
    assert result.returncode == 0, result.stderr[-3000:]
    run_dir = RunDir(tmp_path / "run")
    assert result.stdout == "" and [line for line in result.stderr.splitlines() if not OURS.match(line)] == []
    log = run_dir.log.read_text()
    assert "Loading safetensors checkpoint shards" in log  # vLLM's
    assert "vLLM engine started" in log and "after: accuracy" in log  # ours
    first_json = run_dir.recipe.read_text()
    assert json.loads(first_json)["grpo"]["max_steps"] == 2

    summary = read_json(run_dir.summary)
    for stage in ("before", "after"):
        assert summary[stage]["num_problems"] == 4 and summary[stage]["num_samples"] == 8
        assert summary[stage]["ci95"][0] <= summary[stage]["accuracy"] <= summary[stage]["ci95"][1]
    assert set(summary["minutes"]) == {"before", "sft", "grpo", "after", "total"}

    metrics = [row for row in read_jsonl(run_dir.metrics) if row["stage"] == "grpo"]
    rollouts = list(read_jsonl(run_dir.rollouts))
    assert [row["step"] for row in metrics] == [1, 2] and len(rollouts) == 2 * 4
    for row in metrics:  # the ledger reconciles with what was logged and trained on
        step = [r for r in rollouts if r["step"] == row["step"] - 1]
        assert sum(r["total"] for r in step) / len(step) == pytest.approx(row["reward"], abs=1e-6)
        assert all(row[f"time/{phase}_s"] >= 0 for phase in ("sync", "rollout", "reward", "update", "grading"))
        assert row["sampled_tokens"] == sum(r["num_tokens"] for r in step)
        assert row["useful_sample_share"] == sum(r["advantage"] != 0 for r in step) / len(step)
        assert row["trained_tokens"] == sum(r["num_tokens"] for r in step if r["advantage"] != 0)
        assert row["sampled_tokens_per_s"] > 0 and row["memory/peak_rss_mb"] > 100
        if row["trained_tokens"]:
            assert row["update_tflops_per_s"] > 0 and "update_mfu" not in row  # nobody declared the peak of this CPU
        assert 0 <= row["rewards/hidden_share"] <= 1
        for first, second in zip(step[::2], step[1::2], strict=True):
            assert first["row_id"] == second["row_id"]  # a group
            assert first["advantage"] == pytest.approx(-second["advantage"], abs=1e-4)
    assert any(row["trained_tokens"] for row in metrics)
    assert undocumented(run_dir.metrics) == set()
    assert run_dir.report.stat().st_size > 10_000
    assert (run_dir.root / "stages" / "03_grpo" / "adapter" / "adapter_config.json").exists()

    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(run_dir.model)
    assert AutoTokenizer.from_pretrained(run_dir.model).chat_template

    # The same run by the other launcher: same resolved recipe, and nothing left to do.
    written = run_dir.metrics.read_text()
    again = run([*ACCELERATE, str(recipe), "grpo.max_steps=2"])
    assert again.returncode == 0, again.stderr[-3000:]
    assert run_dir.recipe.read_text() == first_json and run_dir.metrics.read_text() == written

    # Another recipe is refused and leaves the run as it was.
    refused = run([*CLI, "train", str(recipe), "grpo.max_steps=3"])
    assert refused.returncode == 2 and "grpo.max_steps: 2 → 3" in refused.stderr
    assert run_dir.recipe.read_text() == first_json


def test_ctrl_c_saves_and_the_same_call_resumes(tiny_recipe: Callable[..., Path], tmp_path: Path) -> None:
    recipe = tiny_recipe()
    command = [*CLI, "train", str(recipe), "grpo.max_steps=40", "grpo.save_steps=1000"]
    run_dir = RunDir(tmp_path / "run")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    while len(list(read_jsonl(run_dir.metrics))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr[-3000:]
    assert "finishing this step and saving" in stderr.replace("\n", " ") and "Resume with: reasoning-rl train" in stderr
    stopped_at = max(row["step"] for row in read_jsonl(run_dir.metrics))
    assert 2 <= stopped_at < 40
    checkpoints = list((run_dir.root / "stages" / "01_grpo" / "checkpoints").glob("checkpoint-*"))
    assert [path.name for path in checkpoints] == [f"checkpoint-{stopped_at}"]

    result = run(command)
    assert result.returncode == 0, result.stderr[-3000:]
    assert [row["step"] for row in read_jsonl(run_dir.metrics)] == list(range(1, 41))
    done = read_json(run_dir.root / "stages" / "01_grpo" / "done.json")
    assert done["result"] == {"steps": 40, "resumed_at": stopped_at}


@pytest.mark.slow
def test_a_second_ctrl_c_while_completions_are_graded_leaves_nothing(
    tiny_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    started = tmp_path / "started"
    endless = f"{Path(__file__).parent}/streamed_rewards.py:endless"
    recipe = tiny_recipe(
        rewards={
            "correct": {"use": "exact_answer"},
            "judge": {"use": endless, "options": {"started": str(started)}, "timeout_s": 900.0},
        },
        scoring={"audit": False, "num_workers": 3},
    )
    process = subprocess.Popen([*CLI, "train", str(recipe)], stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    while not started.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    below = descendants(process.pid)
    assert len(below) >= 7  # the trainer, three wardens, three graders
    try:
        for _ in range(2):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(2.0)  # two signals at once would count as one
        _, stderr = process.communicate(timeout=120)
    finally:
        process.kill()  # where it has not ended, what is below it ends too
    assert process.returncode == 130, stderr[-3000:]
    deadline = time.monotonic() + 30
    while (left := [pid for pid in below if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def is_running(pid: int) -> bool:
    """Whether a process runs, a zombie not counting."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
