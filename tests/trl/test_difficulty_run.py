"""`reasoning-rl difficulty` with the real engine on a tiny random policy: rates, what a second call adds, the data set."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.run_dir import read_jsonl

pytestmark = pytest.mark.engine

CLI = [sys.executable, "-c", "from reasoning_rl.cli import main; main()"]


def test_rates_grow_and_make_a_data_set(
    tiny_policy: Path,
    recipe_tree: Callable[..., dict[str, Any]],
    write_recipe: Callable[..., Path],
    tmp_path: Path,
) -> None:
    rewards = tmp_path / "rewards.py"
    # Random text: about half of the completions of 8 tokens have an even number of characters.
    rewards.write_text("def even(sample) -> float:\n    return float(len(sample.completion.text) % 2 == 0)\n")
    tree = recipe_tree(
        model={"source": str(tiny_policy)},
        grpo={"num_generations": 4, "max_completion_length": 8, "per_device_train_batch_size": 4},
        rewards={"even": {"use": f"{rewards}:even"}},
        eval=None,
        vllm={"max_model_len": 128, "enforce_eager": True, "kv_cache_memory_bytes": 1 << 28, "max_num_seqs": 2},
    )
    out = tmp_path / "kept.jsonl"
    command = [*CLI, "difficulty", str(write_recipe(tree)), "-o", str(out), "--rows"]
    first = subprocess.run([*command, "5"], capture_output=True, text=True, timeout=400, check=False)
    assert first.returncode == 0, first.stderr[-3000:]
    rates = list(read_jsonl(tmp_path / "kept.jsonl.rates.jsonl"))
    assert len(rates) == 5 and all(rate["num_scored"] == 4 for rate in rates)
    assert all(0 <= rate["low"] <= rate["pass_rate"] <= rate["high"] <= 1 for rate in rates)
    assert all(0 < rate["mean_length"] <= 8 for rate in rates)
    assert f"over 5 rows × 4 samples: {sum(rate['pass_rate'] for rate in rates) / 5:.3f}" in first.stdout
    kept = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(kept) == sum(0 < rate["pass_rate"] < 1 for rate in rates) > 0
    assert {"prompt", "answer", "pass_rate"} <= kept[0].keys()

    # A call that was killed has left a line cut in two; the next one goes on after the last whole line.
    file = tmp_path / "kept.jsonl.rates.jsonl"
    whole = file.read_text()
    file.write_text(whole[: whole.rindex("{") + 20])
    second = subprocess.run([*command, "8"], capture_output=True, text=True, timeout=400, check=False)
    assert second.returncode == 0, second.stderr[-3000:]
    again = list(read_jsonl(file))
    assert again[:4] == rates[:4] and len(again) == 8 and len({rate["row_id"] for rate in again}) == 8
    assert again[4]["row_id"] == rates[4]["row_id"]
    assert "difficulty: 16/32 completions" in second.stderr
