"""Merged tensors: W + s·B·A as PEFT itself would merge it, without writing the module."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from trl.distributed import DistributedBackend

from reasoning_rl.errors import EngineError
from reasoning_rl.trl_bridge.weights import merged_tensors


@pytest.mark.parametrize(
    "config",
    [
        {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
        {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "use_rslora": True},
        {"r": 4, "target_modules": ["down_proj"], "modules_to_save": ["lm_head"]},
    ],
    ids=["all-linear", "rslora", "modules_to_save"],
)
def test_merged_tensors_equal_peft_merge(
    config: dict[str, Any], tiny_untied_policy: Path, backend: DistributedBackend
) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tiny_untied_policy, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(**config, init_lora_weights=False))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "modules_to_save" in name:
                parameter.add_(0.1)
    before = {name: parameter.clone() for name, parameter in adapted.named_parameters()}
    ours = dict(merged_tensors(adapted, backend))
    assert all(torch.equal(parameter, before[name]) for name, parameter in adapted.named_parameters())

    merged = copy.deepcopy(adapted).merge_and_unload()  # pyright: ignore[reportCallIssue]
    expected = dict(merged.named_parameters())
    assert ours.keys() == expected.keys() and len(expected) > 20
    for name, tensor in expected.items():
        torch.testing.assert_close(ours[name], tensor.detach(), rtol=1e-6, atol=1e-7, msg=name)


def test_full_policy_is_passed_as_it_is(tiny_policy: Path, backend: DistributedBackend) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)
    tensors = dict(merged_tensors(model, backend))
    assert tensors.keys() == dict(model.named_parameters()).keys()
    assert "lm_head.weight" not in tensors  # tied: once, as the embedding


def test_dora_is_refused(tiny_policy: Path, backend: DistributedBackend) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], use_dora=True))
    with pytest.raises(EngineError, match="DoRA"):
        dict(merged_tensors(adapted, backend))
