"""`reasoning-rl train` and an `accelerate launch` of one's own read the same recipe. Loads no model."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from whole_runs import ACCELERATE_CONFIGS, cli_that_launches, run  # pyright: ignore[reportAttributeAccessIssue]

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1"]
BY_HAND = {
    "alone": [*ACCELERATE, "-m", "show_recipe"],
    "with a file": [*ACCELERATE, "--config_file", str(ACCELERATE_CONFIGS / "zero3.yaml"), "-m", "show_recipe"],
}


@pytest.mark.parametrize("launcher", BY_HAND)
def test_same_recipe(launcher: str, tmp_path: Path) -> None:
    arguments = [str(QUICKSTART), "grpo.max_steps=2", "sft.learning_rate=1e-6", f"run.dir={tmp_path}/a run"]
    shown = {}
    commands = {
        "ours": [*cli_that_launches("show_recipe"), "train", *arguments],
        "theirs": BY_HAND[launcher] + arguments,
    }
    for name, command in commands.items():
        file = tmp_path / name
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        result = run(command, SHOW_RECIPE=str(file), PYTHONPATH=path)
        assert result.returncode == 0, result.stderr[-3000:]
        shown[name] = file.read_text()
    assert shown["ours"] == shown["theirs"]
    recipe = json.loads(shown["ours"])
    assert recipe["grpo"]["max_steps"] == 2 and recipe["sft"]["learning_rate"] == 1e-6
    assert recipe["run"]["dir"] == f"{tmp_path}/a run"
    assert {path.name for path in tmp_path.iterdir()} == set(commands), "nothing else was written"
