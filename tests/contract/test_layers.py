"""Imports go down only, and everything up to the checks of a recipe works without the training stack."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = Path(sys.executable).parent / "lint-imports"

TRAINING_STACK = ["torch", "transformers", "trl", "peft", "accelerate", "vllm", "deepspeed"]

#: Modules that the slim install must be able to import, lightest first.
SLIM = [
    "reasoning_rl",
    "reasoning_rl.api",
    "reasoning_rl.allocator",
    "reasoning_rl.compiler",
    "reasoning_rl.memory",
    "reasoning_rl.terminal",
    "reasoning_rl.hub",
    "reasoning_rl.errors",
    "reasoning_rl.recipe",
    "reasoning_rl.recipe_io",
    "reasoning_rl.recipe_check",
    "reasoning_rl.plugins",
    "reasoning_rl.prompts",
    "reasoning_rl.parsing",
    "reasoning_rl.upstream",
    "reasoning_rl.workers.child",
    "reasoning_rl.workers.dispatch",
    "reasoning_rl.scoring",
    "reasoning_rl.grading",
    "reasoning_rl.early_grading",
    "reasoning_rl.processes",
    "reasoning_rl.score_file",
    "reasoning_rl.curriculum",
    "reasoning_rl.difficulty",
    "reasoning_rl.run_dir",
    "reasoning_rl.launch",
    "reasoning_rl.progress",
    "reasoning_rl.evals.intervals",
    "reasoning_rl.code_rows",
    "reasoning_rl.math_rows",
    "reasoning_rl.data_check",
    "reasoning_rl.init_recipe",
    "reasoning_rl.data",
    "reasoning_rl.trials",
    "reasoning_rl.fresh_process",
    "reasoning_rl.audit",
    "reasoning_rl.testing",
    "reasoning_rl.scaffold",
    "reasoning_rl.reward_listing",
    "reasoning_rl.rewards_for_trl",
    "reasoning_rl.cli",
    "reasoning_rl.trl_bridge",
    "reasoning_rl.trl_bridge.requirements",
    "reasoning_rl_rewards.code_tests",
    "reasoning_rl_rewards.exact_answer",
    "reasoning_rl_rewards.think_format",
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LINTER, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_layers() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts: 4 kept, 0 broken." in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("reasoning_rl/api.py", "import reasoning_rl.recipe", "Arrows go down only BROKEN"),
        ("reasoning_rl/scoring.py", "import reasoning_rl_rewards", "The host knows no built-in reward BROKEN"),
        ("reasoning_rl/data.py", "import torch", "Only trl_bridge imports the training stack BROKEN"),
        (
            "reasoning_rl_rewards/exact_answer.py",
            "import reasoning_rl.recipe",
            "Rewards reach the host only through its public interface BROKEN",
        ),
        ("reasoning_rl/new_module.py", "", "Arrows go down only BROKEN"),
    ],
    ids=["up", "built-in reward", "torch", "host internals", "module without a layer"],
)
def test_the_linter_sees_a_breach(tmp_path: Path, module: str, line: str, contract: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "reasoning_rl", tmp_path / "reasoning_rl", ignore=ignore)
    shutil.copytree(ROOT / "rewards" / "reasoning_rl_rewards", tmp_path / "reasoning_rl_rewards", ignore=ignore)
    with (tmp_path / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert contract in done.stdout, done.stdout + done.stderr


def imported(modules: list[str]) -> list[str]:
    """What of the training stack is loaded after these imports in a fresh process."""
    script = (
        f"import json, sys, {', '.join(modules)}; print(json.dumps([m for m in {TRAINING_STACK} if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


def test_slim_modules_import_no_training_stack() -> None:
    assert imported(SLIM) == []


def test_the_list_of_slim_modules_is_complete() -> None:
    """A new module at the top level is either slim or said here to be not."""
    found = {f"reasoning_rl.{path.stem}" for path in (ROOT / "reasoning_rl").glob("*.py") if path.stem != "__init__"}
    assert len(found) > 10
    assert found - set(SLIM) == {"reasoning_rl.train"}


def test_the_guard_sees_an_import() -> None:
    assert {"torch", "accelerate"} <= set(imported(["accelerate"]))
