"""The CPU's layers compute what PEFT's and transformers' do, and leave to them what is not plain."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen2ForCausalLM
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaMLP

from reasoning_rl.trl_bridge.cpu_layers import use_cpu_layers
from reasoning_rl.trl_bridge.frozen_weights import keep_casts

IDS = torch.randint(10, 60, (8, 3, 9), generator=torch.Generator().manual_seed(0))
LINEAR, NORMS, MLPS = 7, 2, 1  # per layer: q, k, v, o, gate, up, down; before attention and MLP

SMALL: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}


def base_model(folder: Path, family: str = "llama") -> Any:
    torch.manual_seed(0)
    if family == "llama":
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    else:  # biases in q, k and v
        sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
        model = Qwen2ForCausalLM(Qwen2Config(**sizes, num_attention_heads=4, num_key_value_heads=2))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def adapted(folder: Path, family: str = "llama", **options: Any) -> Any:
    config = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "init_lora_weights": False} | options
    return get_peft_model(base_model(folder, family), LoraConfig(task_type="CAUSAL_LM", **config))


def results(model: Any, dtype: torch.dtype = torch.float32, ids: torch.Tensor = IDS[0]) -> dict[str, torch.Tensor]:
    """Logits and gradients of two micro-batches, one of them padded on the left."""
    model.zero_grad()
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    found = {}
    for name, given in (("padded", {"attention_mask": mask}), ("plain", {})):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = model(input_ids=ids, **given).logits.float()[:, 4:]
        logits.log_softmax(-1)[..., 3].sum().backward()
        found[name] = logits.detach()
    return found | {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def errors(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> torch.Tensor:
    """Those of logits and gradients, each as a share of the norm."""
    assert found.keys() == expected.keys() and len(found) > LINEAR
    return torch.stack([(found[name] - expected[name]).norm() / expected[name].norm() for name in expected])


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("alpha", [8, 12], ids=["scale 2", "scale 3"])
@pytest.mark.parametrize(
    "checkpoints", [{}, {"use_reentrant": False}, {"use_reentrant": True}], ids=["plain", "checkpoints", "reentrant"]
)
def test_lora_equals_peft(alpha: int, checkpoints: dict[str, bool], family: str, tiny_policy: Path) -> None:
    stock = adapted(tiny_policy, family, lora_alpha=alpha)
    ours = copy.deepcopy(stock)
    for model in (stock, ours):
        model.train()
        if checkpoints:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable(checkpoints)
    expected = results(stock)
    assert use_cpu_layers(ours) == (LINEAR + NORMS + MLPS) * ours.config.num_hidden_layers + 1
    assert errors(results(ours), expected).max() < 1e-5


def test_full_training_equals_transformers(tiny_policy: Path) -> None:
    stock = base_model(tiny_policy)
    ours = copy.deepcopy(stock)
    expected = results(stock)
    assert use_cpu_layers(ours) == (NORMS + MLPS) * ours.config.num_hidden_layers + 1
    assert sum("norm" in name for name in expected) == NORMS * ours.config.num_hidden_layers + 1
    assert errors(results(ours), expected).max() < 1e-5


@pytest.mark.parametrize("keeps", [False, True], ids=["casts made", "casts kept"])
@pytest.mark.parametrize("is_full", [False, True], ids=["lora", "full"])
def test_bfloat16_is_as_near_to_float32(is_full: bool, keeps: bool, tiny_policy: Path) -> None:
    """All in all: of a single batch, the errors of the two differ by chance."""
    stock = base_model(tiny_policy) if is_full else adapted(tiny_policy)
    ours = copy.deepcopy(stock)
    truth = [results(stock, ids=ids) for ids in IDS]

    def total(model: Any) -> float:
        found = [results(model, torch.bfloat16, ids) for ids in IDS]
        return float(torch.stack([errors(*pair) for pair in zip(found, truth, strict=True)]).norm())

    expected = total(stock)
    if keeps:
        keep_casts(ours, torch.bfloat16)
    use_cpu_layers(ours)
    assert 0 < total(ours) <= 1.2 * expected


def test_an_adapter_of_another_type_than_its_base_is_left_to_peft(tiny_policy: Path) -> None:
    """Of the weights of a policy that is loaded in bfloat16, PEFT keeps those of the adapter in float32."""
    base = base_model(tiny_policy).to(torch.bfloat16)
    options: dict[str, Any] = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False}
    stock = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **options))
    ours = copy.deepcopy(stock)
    expected = results(stock)
    use_cpu_layers(ours)
    assert errors(results(ours), expected).max() == 0


def test_a_cast_is_shared_by_the_layers_that_read_a_tensor_and_not_used_after_it_changed(tiny_policy: Path) -> None:
    model = adapted(tiny_policy)
    use_cpu_layers(model)
    attention = model.base_model.model.model.layers[0].self_attn
    hidden = torch.randn(1, 5, model.config.hidden_size, requires_grad=True) * 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = attention.q_proj(hidden)
        assert attention.k_proj(hidden).grad_fn.next_functions[0] == before.grad_fn.next_functions[0]
        with torch.no_grad():
            assert torch.equal(attention.q_proj(hidden), before) and not attention.q_proj(hidden).requires_grad
        assert attention.q_proj(hidden).requires_grad
        hidden.data.mul_(2)
        hidden.mul_(1)
        assert not torch.equal(attention.q_proj(hidden), before)


def test_without_the_adapter_it_is_the_base_model(tiny_policy: Path) -> None:
    model = adapted(tiny_policy)
    use_cpu_layers(model)
    with_adapter = model(input_ids=IDS[0]).logits
    with model.disable_adapter():
        base = model(input_ids=IDS[0]).logits
    assert not torch.allclose(base, with_adapter, atol=1e-3)
    torch.testing.assert_close(base, base_model(tiny_policy)(IDS[0]).logits, rtol=1e-4, atol=1e-4)
    model.merge_adapter()
    torch.testing.assert_close(model(input_ids=IDS[0]).logits, with_adapter, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{"lora_dropout": 0.5}, {"use_dora": True}, {"lora_bias": True}, {"bias": "all"}],
    ids=["dropout", "DoRA", "LoRA bias", "trained bias"],
)
def test_what_is_not_plain_is_left_to_peft(options: dict[str, Any], tiny_policy: Path) -> None:
    """Of Qwen2's layers, q, k and v have a bias that could be trained."""
    model = adapted(tiny_policy, "qwen2", **options)
    left = 3 if "bias" in options else LINEAR
    left += MLPS if "lora_dropout" in options else 0  # what it computes cannot be tried out
    assert use_cpu_layers(model) == (LINEAR + NORMS + MLPS - left) * model.config.num_hidden_layers + 1


def test_two_adapters_are_left_to_peft(tiny_policy: Path) -> None:
    model = adapted(tiny_policy)
    use_cpu_layers(model)
    one = model(input_ids=IDS[0]).logits
    model.add_adapter("ref", LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    torch.testing.assert_close(model(input_ids=IDS[0]).logits, one, rtol=1e-4, atol=1e-4)
    model.set_adapter("ref")
    assert not torch.allclose(model(input_ids=IDS[0]).logits, one, atol=1e-3)


def test_a_norm_that_computes_something_else_is_left_alone() -> None:
    assert use_cpu_layers(GemmaRMSNorm(8)) == 0  # 1 + weight
    assert use_cpu_layers(nn.RMSNorm(8)) == 0  # torch's own, without `variance_epsilon`


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_swiglu_is_the_stock_one_to_the_bit_and_keeps_two_tensors(dtype: torch.dtype) -> None:
    stock = LlamaMLP(LlamaConfig(**SMALL)).to(dtype)
    ours = copy.deepcopy(stock)
    assert use_cpu_layers(ours) == MLPS
    x = torch.randn(3, 5, 16, dtype=dtype)
    found, kept = [], []
    for mlp in (stock, ours):
        kept.append([])
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept[-1].append(t) or t, lambda t: t):
            output = mlp(x)
        found.append([output, *torch.autograd.grad(output.sum(), list(mlp.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    wide = [{t.data_ptr() for t in tensors if t.size(-1) == 24 and t.numel() == 15 * 24} for tensors in kept]
    assert [len(tensors) for tensors in wide] == [4, 3]  # gate, up and their product, for the weight behind it


def test_an_adapted_swiglu_keeps_no_product() -> None:
    mlp = LlamaMLP(LlamaConfig(**SMALL))
    options: dict[str, Any] = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False}
    model: Any = get_peft_model(nn.Sequential(mlp), LoraConfig(**options))  # pyright: ignore[reportArgumentType]
    stock = copy.deepcopy(model)
    assert use_cpu_layers(model) == 3 + MLPS
    kept: list[torch.Tensor] = []
    x = torch.randn(3, 5, 16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        output = model(x)
    assert len({t.data_ptr() for t in kept if t.numel() == 15 * 24}) == 2  # gate and up
    for ours, theirs in zip(gradients_of(model, output, x), gradients_of(stock, stock(x), x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_swiglu_that_was_changed_on_its_way_is_not_made_again(tiny_policy: Path) -> None:
    def double(layer: nn.Module, given: tuple[torch.Tensor]) -> None:
        given[0].mul_(2)

    stock = adapted(tiny_policy)
    stock.base_model.model.model.layers[0].mlp.down_proj.register_forward_pre_hook(double)
    ours = copy.deepcopy(stock)
    expected = results(stock)
    use_cpu_layers(ours)
    assert errors(results(ours), expected).max() < 1e-5


def gradients_of(model: nn.Module, output: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(output.square().sum(), [x, *(p for p in model.parameters() if p.requires_grad)])


def test_an_mlp_that_computes_something_else_is_left_alone() -> None:
    assert use_cpu_layers(LlamaMLP(LlamaConfig(**SMALL, hidden_act="gelu"))) == 0
    assert use_cpu_layers(DoubledMLP(LlamaConfig(**SMALL))) == 0


class DoubledMLP(LlamaMLP):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)
