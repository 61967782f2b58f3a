"""A run whose numbers have become NaN stops with a sentence, in both trainers and in the engine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from reasoning_rl import train
from reasoning_rl.errors import DivergenceError
from reasoning_rl.recipe_io import load_recipe
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.sft import PackedSFTTrainer


@pytest.fixture
def broken_policy(tiny_policy: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(tiny_policy, tmp_path / "broken")
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"][3] = torch.nan
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


def test_sft_stops_before_the_update(broken_policy: Path, tiny_recipe: Callable[..., Path]) -> None:
    recipe = tiny_recipe(model={"source": str(broken_policy)}, stages=[{"name": "sft", "kind": "sft"}])
    with pytest.raises(
        DivergenceError, match=r"step 1: the loss is nan, expected a finite number; lower learning_rate"
    ):
        train.run(load_recipe(recipe, []))


def test_gradients_that_are_no_numbers_are_not_used(
    tiny_recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is a number: the square root adds 0 to it, and NaN to its gradients."""
    original = PackedSFTTrainer.compute_loss

    def compute_loss(self: PackedSFTTrainer, model: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        total = next(each for each in model.parameters() if each.requires_grad).sum()
        return original(self, model, *args, **kwargs) + (total - total.detach()).abs().sqrt()

    monkeypatch.setattr(PackedSFTTrainer, "compute_loss", compute_loss)
    recipe = tiny_recipe(stages=[{"name": "sft", "kind": "sft"}])
    with pytest.raises(DivergenceError, match=r"step 1: the norm of the gradients is nan, expected a finite number"):
        train.run(load_recipe(recipe, []))


@pytest.mark.engine
def test_an_update_that_is_too_large_is_the_last(tiny_recipe: Callable[..., Path]) -> None:
    length = {"use": f"{Path(__file__).parent}/length_reward.py:length"}
    recipe = tiny_recipe(rewards={"length": length}, eval=None, stages=[{"name": "grpo", "kind": "grpo"}])
    with pytest.raises(DivergenceError, match=r"lower learning_rate|a lower learning_rate"):
        train.run(load_recipe(recipe, ["grpo.learning_rate=1e30"]))


@pytest.mark.engine
def test_sampling_stops(broken_policy: Path, start_engine: Callable[..., Engine]) -> None:
    engine = start_engine(broken_policy, dtype="float32")
    with pytest.raises(DivergenceError, match="sampling: the log-prob of a token is not a finite number"):
        engine.generate([[5, 6, 7]], num_samples=2, max_tokens=4)
