"""Casts that are kept are the casts that autocast makes: same outputs and gradients, bit for bit, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from reasoning_rl.trl_bridge.frozen_weights import keep_casts


def adapted(folder: Path) -> PeftModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    policy = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    assert isinstance(policy, PeftModel)
    return policy


def passes(policy: PeftModel, is_autocast: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    ids = torch.arange(10, 50).reshape(2, 20)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_autocast):
        hidden = policy(input_ids=ids, output_hidden_states=True).hidden_states[-1]
    hidden.float().square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    return hidden.detach(), gradients


@pytest.mark.parametrize("is_autocast", [True, False], ids=["autocast", "float32"])
def test_outputs_and_gradients_are_the_same(is_autocast: bool, tiny_policy: Path) -> None:
    policy = adapted(tiny_policy)
    state = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    hidden, gradients = passes(policy, is_autocast)
    assert keep_casts(policy, torch.bfloat16) == 14  # 2 layers × 7, without the head
    kept_hidden, kept_gradients = passes(policy, is_autocast)
    assert torch.equal(kept_hidden, hidden) and kept_gradients.keys() == gradients.keys() and gradients
    assert all(torch.equal(kept_gradients[name], gradient) for name, gradient in gradients.items())
    assert policy.state_dict().keys() == state.keys()
    assert all(torch.equal(policy.state_dict()[name], tensor) for name, tensor in state.items())


def test_trained_weights_are_left_alone(tiny_policy: Path) -> None:
    assert keep_casts(AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32), torch.bfloat16) == 0
