"""The precision that a recipe leaves open, on processors with and without bfloat16 instructions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reasoning_rl.recipe import Recipe
from reasoning_rl.trl_bridge.args import grpo_config, sft_config
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.precision import describe, prefers_float32

pytestmark = pytest.mark.engine


@pytest.fixture(params=[False, True], ids=["with", "without"])
def lacks_bfloat16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A CPU that says it has the instructions, and one that says it has not."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    found = {"avx2": True, "avx512_bf16": not request.param}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    return request.param


@pytest.fixture
def make(recipe_tree: Callable[..., dict[str, Any]]) -> Callable[..., Recipe]:
    def make(section: dict[str, Any], vllm: dict[str, Any]) -> Recipe:
        stages = [{"name": "first", "kind": "sft"}, {"name": "second", "kind": "grpo"}]
        return Recipe.model_validate(recipe_tree(sft=section, grpo=section, vllm=vllm, stages=stages))

    return make


def configs(recipe: Recipe, folder: Path) -> list[Any]:
    return [sft_config(recipe, recipe.stages[0], folder), grpo_config(recipe, recipe.stages[1], folder)]


def test_what_is_left_open_follows_the_processor(
    lacks_bfloat16: bool, make: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = make({}, {})
    assert [config.bf16 for config in configs(recipe, tmp_path)] == [not lacks_bfloat16] * 2
    sentence = describe(recipe)
    assert (sentence is not None) == lacks_bfloat16
    assert sentence is None or sentence.endswith("training and sampling in float32")


def test_what_the_recipe_says_holds(lacks_bfloat16: bool, make: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = make({"bf16": True}, {"dtype": "bfloat16"})
    assert all(config.bf16 for config in configs(recipe, tmp_path))
    sentence = describe(recipe) or ""
    assert ("stage first (bf16), stage second (bf16), vllm.dtype is several times slower" in sentence) == lacks_bfloat16
    half = configs(make({"fp16": True}, {}), tmp_path)
    assert all(config.fp16 and not config.bf16 for config in half)


def test_an_accelerator_decides_for_itself(lacks_bfloat16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert not prefers_float32()


def test_the_engine_samples_in_it(tiny_policy: Path, start_engine: Callable[..., Engine]) -> None:
    """On this machine, whatever it is: vLLM alone would sample in bfloat16 on any CPU."""
    engine = start_engine(tiny_policy)
    expected = torch.float32 if prefers_float32() else torch.bfloat16
    assert engine.llm.llm_engine.model_config.dtype == expected
