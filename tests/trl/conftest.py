"""Fixtures around the real engine and trainers, on tiny random policies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from log_probs import ENGINE  # pyright: ignore[reportAttributeAccessIssue]
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig
from trl.distributed import DistributedBackend

from reasoning_rl.api import Sample
from reasoning_rl.grading import Grader
from reasoning_rl.plugins import FunctionReward
from reasoning_rl.recipe import Recipe, Sampling
from reasoning_rl.scoring import RewardSet, WeightedReward
from reasoning_rl.trl_bridge.carrying import CarryingTrainer
from reasoning_rl.trl_bridge.choosing import ChoosingTrainer
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.policy import completion_reader
from reasoning_rl.trl_bridge.reward_func import CombinedReward
from reasoning_rl.trl_bridge.trainer import ReasoningTrainer


@pytest.fixture(scope="session")
def backend() -> DistributedBackend:
    return DistributedBackend(Accelerator(cpu=True))


@pytest.fixture(scope="module")
def start_engine() -> Iterator[Callable[..., Engine]]:
    """Starts engines and shuts the last one down before the next: one at a time per process."""
    running: list[Engine] = []

    def start(folder: Path | str, savings: dict[str, bool] | None = None, **vllm: Any) -> Engine:
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
                "savings": savings or {},
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


@pytest.fixture(scope="module")
def running(tiny_policy: Path, start_engine: Callable[..., Engine]) -> Engine:
    """One engine for all tests of a module: every trainer pushes its weights first."""
    return start_engine(tiny_policy, dtype="float32")


@pytest.fixture
def grader(recipe_tree: Callable[..., dict[str, Any]]) -> Iterator[Grader]:
    """Processes that grade completions as they are sampled."""
    recipe = Recipe.model_validate(
        recipe_tree(
            rewards={"right": {"use": f"{Path(__file__).parent}/streamed_rewards.py:by_text"}},
            eval={"accuracy": "right", "max_completion_length": 8},
            scoring={"num_workers": 1, "timeout_s": 60.0},
        )
    )
    with Grader(RewardSet.from_recipe(recipe), recipe.scoring) as running:
        yield running


@pytest.fixture
def make_trainer(
    tiny_policy: Path, running: Engine, recipe_tree: Callable[..., Any], tmp_path: Path
) -> Callable[..., ReasoningTrainer]:
    """A trainer on 10 prompts, 4 groups of 4 per batch, with a reward (or a grader, whose processes then take completions as they
    come); `ledger` gets the rollouts."""
    recipe = Recipe.model_validate(recipe_tree())

    def make(
        reward: Callable[[Sample], float] | Grader,
        sampling: dict[str, Any] | None = None,
        ledger: list[Any] | None = None,
        questions: Sequence[str] = tuple(f"What is {i} + {i}?" for i in range(10)),
        **args: Any,
    ) -> ReasoningTrainer:
        torch.manual_seed(0)
        tokenizer = AutoTokenizer.from_pretrained(tiny_policy)
        scorer = reward
        if not isinstance(scorer, Grader):
            scorer = RewardSet((WeightedReward("right", FunctionReward(scorer, {}), 1.0),))
        common = {"num_generations": 4, "max_completion_length": 12, "learning_rate": 1e-3}
        config = GRPOConfig(
            output_dir=str(tmp_path / "checkpoints"), use_cpu=True, bf16=False, report_to="none", seed=7,
            per_device_train_batch_size=16, gradient_checkpointing=False, remove_unused_columns=False, disable_tqdm=True,
            logging_steps=1, **{**common, **args},
        )  # fmt: skip
        choosing = {"sampling": Sampling.model_validate(sampling), "accuracy": "right"} if sampling else {}
        cls: Any = ChoosingTrainer if sampling else ReasoningTrainer
        if "extra_groups" in (sampling or {}):
            cls = CarryingTrainer
        return cls(
            engine=running,
            reward=CombinedReward(
                scorer, completion_reader(str(tiny_policy), tokenizer, recipe.prompt.thinking), recipe.scoring
            ),
            args=config,
            on_rollouts=(lambda rows: None) if ledger is None else ledger.extend,
            model=AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32),
            train_dataset=Dataset.from_list(
                [
                    {"prompt": [{"role": "user", "content": text}], "row": "{}", "row_id": str(i)}
                    for i, text in enumerate(questions)
                ]
            ),
            processing_class=tokenizer,
            **choosing,
        )

    return make
