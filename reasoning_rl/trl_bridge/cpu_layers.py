"""Layers of the policy in fewer passes over memory, for training on a CPU: what they compute is what PEFT and transformers do.

On a few cores an update is bound by memory more than by arithmetic. PEFT's LoRA layers make an intermediate result of every
sign in W x + s · B (A x), cast x for each of W and A, and so take as long again as the layers that they adapt, for a twentieth of
the multiply-adds; RMSNorm makes ten passes in the backward pass where four do; a gated MLP keeps silu(gate) and its product with up, a
quarter of what a layer keeps for the backward pass, where two passes make them again (docs/performance.md; tests/trl/test_cpu_layers.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers import Trainer
from transformers.activations import SiLUActivation

from reasoning_rl.trl_bridge.frozen_weights import weight_in


def has_whole_weights(trainer: Trainer) -> bool:
    """Whether a trainer computes on a CPU with weights that stay whole: not sharded by DeepSpeed or FSDP."""
    return not (trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled or torch.accelerator.is_available())


def use_cpu_layers(model: nn.Module) -> int:
    """Replaces the forward pass of every layer that can be; returns how many. Parameters, names and state dict stay.

    LoRA layers with dropout, biases of their own, several adapters, a variant such as DoRA or a trained base are left to PEFT,
    as is every pass without the adapter; norms that are not RMSNorm in float32 and MLPs that are not SwiGLU, whatever their class
    is called, to their class.
    """
    num_replaced = 0
    for layer in model.modules():
        replacement = _lora_forward if type(layer) is Linear and _plain_adapter(layer) else None
        replacement = _norm_forward if _is_rms_norm(layer) else replacement
        replacement = _mlp_forward if _is_gated_mlp(layer) else replacement
        if replacement:
            layer.forward = partial(replacement, layer, layer.forward)
            num_replaced += 1
    return num_replaced


def _plain_adapter(layer: Linear) -> str | None:
    """The one adapter that a layer has and that is active, if the two are plain."""
    names, base = list(layer.lora_A), layer.base_layer
    if len(names) != 1 or names != list(layer.active_adapters) or names[0] in layer.lora_variant:
        return None
    adapter = layer.lora_A[names[0]], layer.lora_B[names[0]], layer.lora_dropout[names[0]]
    has_bias = adapter[0].bias is not None or adapter[1].bias is not None  # pyright: ignore[reportAttributeAccessIssue]
    is_frozen = type(base) is nn.Linear and not any(p.requires_grad for p in base.parameters())
    is_plain = is_frozen and not has_bias and not layer.fan_in_fan_out and isinstance(adapter[2], nn.Identity)
    return names[0] if is_plain else None


def _lora_forward(layer: Linear, stock: Callable[..., Any], x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    name = None if args or kwargs or layer.disable_adapters or layer.merged else _plain_adapter(layer)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else _common_dtype(layer, x)
    if name is None or dtype is None:
        return stock(x, *args, **kwargs)
    base: Any = layer.base_layer
    a: Any = layer.lora_A[name].weight
    b: Any = layer.lora_B[name].weight
    bias = None if base.bias is None else base.bias.to(dtype)
    adapter = weight_in(base, dtype), bias, a, b, layer.scaling[name]
    version, *gate_and_up = getattr(x, "_made_of", (None, None, None))
    if version is None or version != x._version or x.dtype != dtype or not x.requires_grad:
        return _Lora.apply(_cast(x, dtype), None, None, *adapter)
    return _Lora.apply(x.detach(), *gate_and_up, *adapter)


def _common_dtype(layer: Linear, x: torch.Tensor) -> torch.dtype | None:
    """That of an input and all weights. Where they differ, PEFT computes base and adapter each in its own."""
    return x.dtype if all(p.dtype == x.dtype for p in layer.parameters()) else None


def _cast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`x` in `dtype`, the same tensor for all layers that read `x`, so that it is made and kept once; their gradients are
    then summed in `dtype`."""
    if x.dtype == dtype or x.is_inference():
        return x.to(dtype)
    key = x._version, dtype, x.requires_grad and torch.is_grad_enabled()
    known, kept = getattr(x, "_kept_cast", (None, x))
    if known != key:
        kept = x.to(dtype)
        if not x.is_leaf:  # the cast of a leaf would hold the leaf, which holds the cast
            x._kept_cast = key, kept  # pyright: ignore[reportAttributeAccessIssue]
    return kept


class _Lora(torch.autograd.Function):
    """W x + bias + scale · B (A x), where W and bias are frozen. If x is silu(gate) · up, those two are kept in its place."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,  # (..., in)
        gate: torch.Tensor | None,  # (..., in)
        up: torch.Tensor | None,  # (..., in)
        weight: torch.Tensor,  # (out, in)
        bias: torch.Tensor | None,  # (out,)
        a: torch.Tensor,  # (r, in)
        b: torch.Tensor,  # (out, r)
        scale: float,
    ) -> torch.Tensor:
        inputs = x.flatten(0, -2)
        a_cast, b_cast = a.to(x.dtype), (b * scale).to(x.dtype)
        reduced = inputs @ a_cast.T
        output = functional.linear(inputs, weight, bias).addmm_(reduced, b_cast.T)
        kept = (inputs,) if gate is None else (gate, up)
        ctx.save_for_backward(reduced, a_cast, b_cast, weight, *kept)
        ctx.scale, ctx.shape, ctx.dtypes = scale, x.shape, (a.dtype, b.dtype)
        return output.view(*x.shape[:-1], output.size(-1))

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        reduced, a_cast, b_cast, weight, *kept = ctx.saved_tensors
        gradient = gradients[0].flatten(0, -2)
        of_reduced = gradient @ b_cast
        of_x = (gradient @ weight).addmm_(of_reduced, a_cast).view(ctx.shape) if any(ctx.needs_input_grad[:3]) else None
        of_gate = of_up = None
        inputs = kept[0]
        if len(kept) == 2:
            gate, up = kept
            activated = functional.silu(gate)
            inputs = (activated * up).flatten(0, -2)
            if of_x is not None:
                of_gate, of_up, of_x = _of_gate(of_x, gate, up), activated.mul_(of_x), None
        of_a = (of_reduced.T @ inputs).to(ctx.dtypes[0])
        of_b = (reduced.T @ gradient).T.to(ctx.dtypes[1]) * ctx.scale
        return of_x, of_gate, of_up, None, None, of_a, of_b, None


def _is_rms_norm(layer: nn.Module) -> bool:
    """Whether a norm of float32 weights computes what `_RmsNorm` does, tried on some numbers."""
    weight, epsilon = getattr(layer, "weight", None), getattr(layer, "variance_epsilon", None)
    if not type(layer).__name__.endswith("RMSNorm") or not isinstance(weight, torch.Tensor) or epsilon is None:
        return False
    if weight.dtype != torch.float32 or weight.dim() != 1 or "forward" in vars(layer):
        return False
    x = torch.linspace(-1, 3, 2 * len(weight)).view(2, -1)
    with torch.no_grad():
        expected, found = layer(x), _norm_forward(layer, layer, x)
    return expected.dtype == torch.float32 and torch.allclose(found, expected, rtol=1e-5)


def _norm_forward(layer: nn.Module, stock: Callable[..., Any], x: torch.Tensor) -> Any:
    return _RmsNorm.apply(x, layer.weight, layer.variance_epsilon) if x.dtype == torch.float32 else stock(x)


class _RmsNorm(torch.autograd.Function):
    """weight · x / sqrt(mean(x²) + epsilon), in float32."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:  # (..., H), (H,)
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.size(-1))
        inverse = mean_square.add_(epsilon).rsqrt_()  # (..., 1)
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        of_x = gradients[0] * weight
        along = (of_x * x).sum(-1, keepdim=True).mul_(inverse.pow(3)).div_(-x.size(-1))
        of_x.mul_(inverse).addcmul_(x, along)
        wants_weight = ctx.needs_input_grad[1]
        of_weight = (gradients[0] * x).mul_(inverse).flatten(0, -2).sum(0) if wants_weight else None
        return of_x, of_weight, None


def _is_gated_mlp(layer: nn.Module) -> bool:
    """Whether an MLP computes what `_mlp_forward` does, tried on some numbers."""
    gate, *others = (getattr(layer, name, None) for name in ("gate_proj", "up_proj", "down_proj"))
    if not type(layer).__name__.endswith("MLP") or not all(isinstance(part, nn.Module) for part in (gate, *others)):
        return False
    if not isinstance(getattr(layer, "act_fn", None), nn.SiLU | SiLUActivation) or "forward" in vars(layer):
        return False
    weight: torch.Tensor = next(gate.parameters())  # pyright: ignore[reportOptionalMemberAccess]
    x = torch.linspace(-1, 3, 2 * weight.size(-1), dtype=weight.dtype).view(2, -1)
    with torch.no_grad():
        return torch.equal(layer(x), _mlp_forward(layer, layer, x))


def _mlp_forward(layer: Any, stock: Callable[..., Any], x: torch.Tensor) -> Any:
    gate, up = layer.gate_proj(x), layer.up_proj(x)
    product: Any = _SwiGlu.apply(gate, up)
    if not product.is_inference():
        product._made_of = product._version, gate, up  # for `_lora_forward`
    return layer.down_proj(product)


class _SwiGlu(torch.autograd.Function):
    """silu(gate) · up."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        return _of_gate(gradients[0], gate, up), functional.silu(gate).mul_(gradients[0])


def _of_gate(gradient: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return torch.ops.aten.silu_backward(gradient * up, gate)
