"""On a GPU: the engine agrees with the trainer after LoRA and full updates. Runs unattended: `pytest -m gpu`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from trl.distributed import DistributedBackend

from reasoning_rl.recipe import Recipe
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.weights import merged_tensors

pytestmark = pytest.mark.gpu


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_engine_agrees_after_updates(tiny_policy: Path) -> None:
    recipe = Recipe.model_validate(
        {
            "run": {"dir": "unused"},
            "model": {"source": str(tiny_policy)},
            "data": {"sft": {"source": "unused:rows"}},
            "rewards": {},
            "stages": [{"name": "sft", "kind": "sft"}],
            "vllm": {"max_model_len": 128, "gpu_memory_utilization": 0.2, "dtype": "bfloat16"},
        }
    )
    engine = Engine(str(tiny_policy), recipe)
    backend = DistributedBackend(Accelerator())
    model = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32).cuda()  # pyright: ignore
    tokens = torch.randint(10, 40000, (4, 27), generator=torch.Generator().manual_seed(0))

    def mean_gap(policy: torch.nn.Module) -> float:
        with torch.no_grad():
            logprobs = policy(tokens.cuda()).logits.float().log_softmax(-1)[:, 6:-1]
        ours = logprobs.gather(-1, tokens[:, 7:, None].cuda()).squeeze(-1).cpu()
        theirs = torch.tensor(engine.score(tokens[:, :7].tolist(), tokens[:, 7:].tolist()))
        return (ours - theirs).abs().mean().item()

    assert mean_gap(model) < 0.1
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * parameter.std() * 0.3)
    assert mean_gap(model) > 0.3
    engine.load_weights(merged_tensors(model, backend))
    assert mean_gap(model) < 0.1
    adapted = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False))
    assert mean_gap(adapted) > 0.1
    engine.load_weights(merged_tensors(adapted, backend))
    assert mean_gap(adapted) < 0.1
    engine.close()
