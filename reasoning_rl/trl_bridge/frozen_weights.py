"""Frozen linear layers keep their weight in the type that autocast would cast it to, pass after pass.

Autocast keeps casts of trained parameters only; those of frozen ones, nearly all of a LoRA policy, it makes anew in every
forward pass of every micro-batch. The numbers are the same (tests/trl/test_frozen_weights.py), and so is the peak of
memory, since the cast is held until the backward pass anyway. The float32 weights stay where they are and are what is
merged and saved.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional

from reasoning_rl.trl_bridge.weights import unwrapped


def keep_casts(model: nn.Module, dtype: torch.dtype) -> int:
    """Gives each frozen linear layer a cast of its weight for CPU autocast to `dtype`; returns how many.

    The weights must not change from now on. Layers whose class computes something of its own are left alone, and so is the
    head, whose weight TRL takes without its layer.
    """
    layers = [
        layer
        for layer in model.modules()
        if type(layer) is nn.Linear and not layer.weight.requires_grad and layer.weight.dtype != dtype
    ]
    head = unwrapped(model).get_output_embeddings()
    layers = [layer for layer in layers if layer is not head]
    for layer in layers:
        layer.kept_cast = layer.weight.detach().to(dtype)  # pyright: ignore[reportAttributeAccessIssue]
        layer.forward = partial(_forward, layer)  # pyright: ignore[reportAttributeAccessIssue]
    return len(layers)


def weight_in(layer: nn.Linear, dtype: torch.dtype) -> torch.Tensor:
    """The weight of a layer in `dtype`: the cast that is kept, where there is one."""
    kept = getattr(layer, "kept_cast", None)
    return kept if kept is not None and kept.dtype == dtype else layer.weight.to(dtype)


def _forward(layer: nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else layer.weight.dtype
    return functional.linear(hidden, weight_in(layer, dtype), layer.bias)
