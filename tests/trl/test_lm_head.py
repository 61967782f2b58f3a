"""The compact LM head computes what TRL's own computes, in values and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from trl.kernels import chunked_logprob
from trl.trainer import utils

from reasoning_rl.trl_bridge import lm_head

STOCK = {"_use_triton": chunked_logprob._use_triton, "_CHUNKED_LOGPROB_CHUNK_SIZE": 32768}


def outputs_and_gradients(folder: Path, *, lora: bool) -> tuple[Any, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    utils.add_fused_lm_head(model, temperature=0.9, outputs=("log_probs", "entropy"))
    if lora:
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(10, 49000, (3, 20), generator=generator)
    labels = ids.clone()
    labels[0, :7], labels[1, :12], labels[2, :] = -100, -100, -100  # unequal lengths; one row has nothing to train
    labels[1, 18:] = -100
    output = model(input_ids=ids, labels=labels, fused_lm_head=True)
    (output.log_probs.sum() + 0.3 * output.entropy.sum()).backward()
    return output, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_compact_head_equals_stock(lora: bool, tiny_policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in STOCK.items():
        monkeypatch.setattr(utils, name, value)
    stock, stock_gradients = outputs_and_gradients(tiny_policy, lora=lora)
    lm_head.use_compact_lm_head()
    compact, compact_gradients = outputs_and_gradients(tiny_policy, lora=lora)

    assert utils._use_triton is not STOCK["_use_triton"]
    torch.testing.assert_close(compact.log_probs, stock.log_probs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(compact.entropy, stock.entropy, rtol=1e-5, atol=1e-5)
    assert len(stock_gradients) > 10 and compact_gradients.keys() == stock_gradients.keys()
    for name, gradient in stock_gradients.items():
        torch.testing.assert_close(compact_gradients[name], gradient, rtol=1e-4, atol=1e-5, msg=name)
