"""Recipe sections to upstream config objects. Adds what we own, restates no default.

Everything here is cheap and happens before any model loads, so that a value that the upstream class refuses is one
sentence that names the section.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import LoraConfig
from trl import GRPOConfig, SFTConfig

from reasoning_rl.errors import RecipeError
from reasoning_rl.recipe import Recipe, Stage
from reasoning_rl.trl_bridge.precision import prefers_float32

T = TypeVar("T")
C = TypeVar("C", SFTConfig, GRPOConfig)


def lora_config(recipe: Recipe, stage: Stage) -> LoraConfig | None:
    """The adapter of a training stage, or `None` when the whole policy is trained.

    Raises:
        RecipeError: PEFT refuses a value.
    """
    if recipe.policy_of(stage) == "full":
        return None
    return _build(LoraConfig, "lora", {"task_type": "CAUSAL_LM", **(recipe.lora or {})})


def sft_config(recipe: Recipe, stage: Stage, output_dir: Path) -> SFTConfig:
    """Arguments of an SFT stage.

    Raises:
        RecipeError: TRL refuses a value.
    """
    arguments = {**_ours(recipe, stage, output_dir), **recipe.section_of(stage)}
    return _without_cpu_number(_build(SFTConfig, f"sft (stage {stage.name})", arguments))


def grpo_config(recipe: Recipe, stage: Stage, output_dir: Path) -> GRPOConfig:
    """Arguments of a GRPO stage. `use_vllm` stays off: the trainer attaches the run's own engine after its construction.

    Raises:
        RecipeError: TRL refuses a value.
    """
    arguments = {**_ours(recipe, stage, output_dir), "remove_unused_columns": False, **recipe.section_of(stage)}
    return _without_cpu_number(_build(GRPOConfig, f"grpo (stage {stage.name})", arguments))


def build_all(recipe: Recipe, output_dir: Path) -> None:
    """Builds every config of a recipe once, to find refused values early.

    Raises:
        RecipeError: with every problem found.
    """
    problems: list[str] = []
    for stage in recipe.stages:
        builders: list[Callable[[], Any]] = []
        if stage.kind != "eval":
            builders.append(lambda stage=stage: lora_config(recipe, stage))
        if stage.kind == "sft":
            builders.append(lambda stage=stage: sft_config(recipe, stage, output_dir))
        if stage.kind == "grpo":
            builders.append(lambda stage=stage: grpo_config(recipe, stage, output_dir))
        for builder in builders:
            try:
                builder()
            except RecipeError as error:
                problems += error.problems
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))


def _ours(recipe: Recipe, stage: Stage, output_dir: Path) -> dict[str, Any]:
    precision = {"bf16": False} if prefers_float32() and not recipe.section_of(stage).get("fp16") else {}
    return {
        **precision,
        "output_dir": str(output_dir),
        "run_name": recipe.run.dir,
        "seed": recipe.run.seed,
        "report_to": list(recipe.run.report_to) or "none",
        "logging_steps": 1,
        "disable_tqdm": True,
        "use_cpu": not torch.accelerator.is_available(),
    }


def _without_cpu_number(config: C) -> C:
    """With several processes on a CPU accelerate calls it `cpu:0`, where torch can load no optimizer of a checkpoint."""
    if config.device.type == "cpu" and config.distributed_state:
        config.distributed_state.device = vars(config)["_setup_devices"] = torch.device("cpu")
    return config


def _build(cls: Callable[..., T], section: str, arguments: dict[str, Any]) -> T:
    try:
        return cls(**arguments)
    except (TypeError, ValueError, ImportError, RuntimeError) as error:
        raise RecipeError([f"{section}: {cls.__name__} refuses it: {error}"]) from error  # pyright: ignore
