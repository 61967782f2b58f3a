"""Fixtures around the real engine and trainers, on tiny random policies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from log_probs import ENGINE  # pyright: ignore[reportAttributeAccessIssue]
from trl.distributed import DistributedBackend

from reasoning_rl.recipe import Recipe
from reasoning_rl.trl_bridge.engine import Engine


@pytest.fixture(scope="session")
def backend() -> DistributedBackend:
    return DistributedBackend(Accelerator(cpu=True))


@pytest.fixture(scope="module")
def start_engine() -> Iterator[Callable[..., Engine]]:
    """Starts engines and shuts the last one down before the next: one at a time per process."""
    running: list[Engine] = []

    def start(folder: Path | str, **vllm: Any) -> Engine:
        while running:
            running.pop().close()
        recipe = Recipe.model_validate(
            {
                "run": {"dir": "unused"},
                "model": {"source": str(folder)},
                "data": {"eval": {"source": "unused:rows"}},
                "rewards": {"correct": {"use": "exact_answer"}},
                "eval": {"accuracy": "correct", "max_completion_length": 8},
                "stages": [{"name": "eval", "kind": "eval"}],
                "vllm": {**ENGINE, **vllm},
            }
        )
        running.append(Engine(str(folder), recipe))
        return running[0]

    yield start
    while running:
        running.pop().close()


@pytest.fixture
def tiny_recipe(
    tiny_policy: Path, recipe_tree: Callable[..., dict[str, Any]], write_recipe: Callable[..., Path]
) -> Callable[..., Path]:
    """A recipe that runs in seconds; keyword arguments replace sections."""

    def make(**sections: Any) -> Path:
        common: dict[str, Any] = {"learning_rate": 1e-3, "gradient_checkpointing": False, "bf16": False}
        tree = recipe_tree(
            model={"source": str(tiny_policy)},
            sft={**common, "per_device_train_batch_size": 4, "max_steps": 2},
            grpo={
                **common,
                "max_steps": 3,
                "per_device_train_batch_size": 4,
                "num_generations": 2,
                "max_completion_length": 8,
                "save_steps": 1,
            },
            vllm={"max_model_len": 128, "enforce_eager": True, "kv_cache_memory_bytes": 1 << 28, "max_num_seqs": 16},
        )
        return write_recipe({**tree, **sections})

    return make
