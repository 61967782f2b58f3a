"""The LM head for CPUs computes what TRL's own computes, in values and gradients."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from trl.kernels import chunked_logprob
from trl.trainer import utils

from reasoning_rl.trl_bridge import lm_head

STOCK = {
    "_use_triton": chunked_logprob._use_triton,
    "_CHUNKED_LOGPROB_CHUNK_SIZE": 32768,
    "_ChunkedLogProbFunction": chunked_logprob.ChunkedLogProbFunction,
}


def outputs_and_gradients(folder: Path, *, lora: bool, saved: list[str]) -> tuple[Any, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    utils.add_fused_lm_head(model, temperature=0.9, outputs=("log_probs", "entropy", "is_top1"))
    if lora:
        config = LoraConfig(r=4, target_modules="all-linear", modules_to_save=saved, init_lora_weights=False)
        model = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(10, 49000, (3, 20), generator=generator)
    labels = ids.clone()
    labels[0, :7], labels[1, :12], labels[2, :] = -100, -100, -100  # unequal lengths; one row has nothing to train
    labels[1, 18:] = -100
    output = model(input_ids=ids, labels=labels, fused_lm_head=True)
    (output.log_probs.sum() + 0.3 * output.entropy.sum()).backward()
    return output, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("lora", "saved", "max_logits_mb"),
    [(True, [], 1024), (True, ["lm_head"], 1024), (False, [], 1024), (False, [], 0)],
    ids=["lora", "lora and head", "full", "full, TRL's tiles"],
)
def test_cpu_head_equals_stock(
    lora: bool, saved: list[str], max_logits_mb: int, tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in STOCK.items():
        monkeypatch.setattr(utils, name, value)
    stock, stock_gradients = outputs_and_gradients(tiny_policy, lora=lora, saved=saved)
    monkeypatch.setattr(lm_head, "MAX_LOGITS_MB", max_logits_mb)
    lm_head.use_cpu_lm_head()
    ours, our_gradients = outputs_and_gradients(tiny_policy, lora=lora, saved=saved)

    assert utils._ChunkedLogProbFunction is lm_head.CpuLogProb
    torch.testing.assert_close(ours.log_probs, stock.log_probs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.entropy, stock.entropy, rtol=1e-5, atol=1e-5)
    assert torch.equal(ours.is_top1, stock.is_top1)
    assert len(stock_gradients) > 10 and our_gradients.keys() == stock_gradients.keys()
    for name, gradient in stock_gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def head(rows: int, *, trained: bool = True) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states, weight and targets of a small head whose likeliest tokens are clear."""
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(rows, 16, generator=generator).requires_grad_()
    weight = torch.randn(100, 16, generator=generator).requires_grad_(trained)
    return hidden, weight, torch.randint(0, 100, (rows,), generator=generator)


@pytest.mark.parametrize("of", ["both", "log-probs", "entropy"])
@pytest.mark.parametrize("trained", [True, False], ids=["trained", "frozen"])
@pytest.mark.parametrize("rows", [0, 1, 32, 33, 70])
def test_values_and_gradients_equal_the_formula(
    rows: int, trained: bool, of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """log softmax(z / T) at the target and -sum(p log p), written out; several block sizes."""
    monkeypatch.setattr(lm_head, "_PROJECTED_ROWS", 20)
    hidden, weight, targets = head(rows, trained=trained)
    logprobs, entropy, _, _, is_top1 = lm_head.CpuLogProb.apply(
        hidden, weight, None, targets, 0.7, 4096, None, 1.3, ("log_probs", "entropy", "is_top1")
    )
    assert logprobs is not None and entropy is not None and is_top1 is not None
    log_p = (1.3 / 0.7 * hidden @ weight.T).log_softmax(-1)
    expected = log_p[torch.arange(rows), targets], -(log_p.exp() * log_p).sum(-1)
    torch.testing.assert_close(logprobs, expected[0])
    torch.testing.assert_close(entropy, expected[1])
    assert torch.equal(is_top1, log_p.argmax(-1) == targets)
    factors, wanted = torch.linspace(-2, 3, rows), (hidden, weight) if trained else (hidden,)
    losses = [
        {"log-probs": lp @ factors, "entropy": h.sum() / 2, "both": lp @ factors + h.sum() / 2}[of]
        for lp, h in ((logprobs, entropy), expected)
    ]
    gradients = [torch.autograd.grad(loss, wanted) for loss in losses]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def logprobs_of(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logprobs = lm_head.CpuLogProb.apply(hidden, weight, None, targets, 1.0, 4096, None, 1.0, ("log_probs",))[0]
    assert logprobs is not None
    return logprobs


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "frozen"])
def test_only_a_trained_head_keeps_logits(trained: bool) -> None:
    gc.collect()
    before = {id(t) for t in logits_in_memory()}
    given = head(70, trained=trained)
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        logprobs = logprobs_of(*given)
    kept = [t for t in [*saved, *logits_in_memory()] if id(t) not in before and t.size(-1) == 100]
    assert logprobs.requires_grad and len({t.untyped_storage().data_ptr() for t in kept}) == trained


def logits_in_memory() -> list[torch.Tensor]:
    """Tensors of Python's that are as wide as the vocabulary of `head`."""
    return [t for t in gc.get_objects() if type(t) is torch.Tensor and t.shape[-1:] == (100,)]


def test_a_frozen_head_may_be_asked_twice_and_without_gradients() -> None:
    hidden, weight, targets = head(70, trained=False)
    logprobs = logprobs_of(hidden, weight, targets)
    once, twice = (torch.autograd.grad(logprobs.sum(), hidden, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(once, twice)
    with torch.no_grad():
        again = logprobs_of(hidden, weight, targets)
    assert torch.equal(again, logprobs.detach()) and not again.requires_grad
    with pytest.raises(RuntimeError, match="once_differentiable"):  # a second derivative would be wrong
        gradient = torch.autograd.grad(logprobs_of(hidden, weight, targets).exp().sum(), hidden, create_graph=True)[0]
        gradient.sum().backward()


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "frozen"])
def test_under_autocast_it_is_near_to_float32(trained: bool) -> None:
    given = head(300, trained=trained)
    factors = torch.linspace(-2, 3, 300)
    expected, wanted = logprobs_of(*given), torch.autograd.grad(logprobs_of(*given) @ factors, given[0])[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = logprobs_of(*given)
    gradient = torch.autograd.grad(found @ factors, given[0])[0]
    assert found.dtype == gradient.dtype == torch.float32
    assert 0 < (found - expected).norm() / expected.norm() < 2**-8  # bfloat16's rounding error
    assert 0 < (gradient - wanted).norm() / wanted.norm() < 2**-6


def test_a_second_backward_pass_of_a_trained_head_is_refused() -> None:
    logprobs = logprobs_of(*head(3))
    logprobs.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass"):
        logprobs.sum().backward()
