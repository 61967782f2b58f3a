"""After the first sync of a LoRA policy only the layers that it changes are set, and the engine is what a reload makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from log_probs import gap, trainer_logprobs  # pyright: ignore[reportAttributeAccessIssue]
from peft import LoraConfig, PeftModel, get_peft_model
from test_savings import make_trainer
from test_weight_sync import LIMITS, STALE, batch, shake
from transformers import AutoModelForCausalLM
from trl.distributed import DistributedBackend

from reasoning_rl.recipe import Recipe
from reasoning_rl.trl_bridge import lora_layers
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.weights import merged_tensors

pytestmark = pytest.mark.engine


def adapted(folder: Path, **config: Any) -> PeftModel:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return get_peft_model(model, LoraConfig(**{"r": 8, "lora_alpha": 16, "target_modules": "all-linear", **config}))  # pyright: ignore


@pytest.mark.parametrize(
    ("modules", "dtype", "tied", "num_layers"),
    [("all-linear", "float32", True, 8), ("all-linear", "bfloat16", False, 8), (["q_proj", "v_proj"], "float32", True, 2)],
    ids=["all-float32-tied", "all-bfloat16-untied", "q-and-v"],
)  # fmt: skip
def test_pushed_layers_equal_a_reload(
    modules: str | list[str],
    dtype: str,
    tied: bool,
    num_layers: int,
    tiny_policy: Path,
    tiny_untied_policy: Path,
    start_engine: Callable[..., Engine],
    backend: DistributedBackend,
) -> None:
    folder = tiny_policy if tied else tiny_untied_policy
    engine = start_engine(folder, dtype=dtype)
    policy = adapted(folder, target_modules=modules)
    prompts, completions = batch()
    targets = engine.plan_layers(policy)
    assert isinstance(targets, list) and len(targets) == num_layers
    with lora_layers.compared(targets) as same:
        engine.load_weights(merged_tensors(policy, backend))
    assert {target.name for target in same} == {target.name for target in targets}
    for _ in range(3):
        shake(policy, only="lora_", scale=0.6)
        expected = trainer_logprobs(policy, prompts, completions)
        assert gap(expected, engine.score(prompts, completions))[0] > (STALE if num_layers == 8 else 1e-3)
        engine.push_layers(targets)
        pushed = engine.score(prompts, completions)
        assert gap(expected, pushed)[0] < LIMITS[dtype][0]
        engine.load_weights(merged_tensors(policy, backend))  # a reload finds everything as it needs it
        assert engine.score(prompts, completions) == pushed


def test_another_layout_is_found_out(
    tiny_policy: Path, start_engine: Callable[..., Engine], backend: DistributedBackend
) -> None:
    engine = start_engine(tiny_policy, dtype="float32")
    policy = adapted(tiny_policy)
    targets = engine.plan_layers(policy)
    assert isinstance(targets, list)
    swapped = [
        replace(target, parts=(target.parts[0], *reversed(target.parts[1:]))) if "qkv" in target.name else target
        for target in targets
    ]
    with lora_layers.compared(swapped) as same:
        engine.load_weights(merged_tensors(policy, backend))
    assert len(same) == 6 and not any("qkv" in target.name for target in same)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "the whole policy is trained"),
        ({"target_modules": ["embed_tokens", "q_proj"]}, "no linear layer model.embed_tokens"),
        ({"modules_to_save": ["norm"]}, "is trained beside the adapter"),
        ({"bias": "all", "target_modules": ["q_proj"]}, None),  # this model has no bias, so nothing else is trained
    ],
    ids=["full", "embedding", "norm-beside", "no-bias-there"],
)
def test_what_has_to_be_reloaded(
    config: dict[str, Any] | None, reason: str | None, tiny_policy: Path, start_engine: Callable[..., Engine]
) -> None:
    engine = start_engine(tiny_policy, dtype="float32")
    policy = AutoModelForCausalLM.from_pretrained(tiny_policy) if config is None else adapted(tiny_policy, **config)
    planned = engine.plan_layers(policy)
    if reason is None:
        assert isinstance(planned, list) and planned
    else:
        assert isinstance(planned, str) and reason in planned


def test_a_trainer_reloads_once_and_whenever_another_did(
    tiny_policy: Path, start_engine: Callable[..., Engine], recipe_tree: Callable[..., Any], tmp_path: Path
) -> None:
    engine = start_engine(tiny_policy, dtype="float32")
    trainer = make_trainer(engine, tiny_policy, Recipe.model_validate(recipe_tree()), tmp_path, lora=True)
    policy, generation = trainer.model, trainer.vllm_generation
    assert policy is not None
    prompts, completions = batch()

    def sync(expected_reloads: int) -> None:
        shake(policy, only="lora_")
        generation.sync_weights()
        assert engine.num_reloads == expected_reloads
        mean, _ = gap(trainer_logprobs(policy, prompts, completions), engine.score(prompts, completions))
        assert mean < LIMITS["float32"][0]

    sync(1)
    sync(1)
    sync(1)
    engine.load_folder(tiny_policy)
    sync(3)
    sync(3)
    generation.pushes_layers, generation._targets = False, []
    sync(4)
    sync(5)
