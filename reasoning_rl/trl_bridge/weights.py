"""The policy's weights as the engine and the export need them: merged, named like a plain model, one at a time.

The training module is never written to: LoRA layers yield W + s·B·A, computed on the fly. PEFT's merge and unmerge in
place would let the base weights drift by a rounding error per sync (TRL issue 6688).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel
from trl.distributed import DistributedBackend

from reasoning_rl.errors import EngineError


def merged_tensors(model: nn.Module, backend: DistributedBackend) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor of every parameter of the merged policy, in the dtype of the base weight.

    Gathering a ZeRO-3 shard is collective: every rank must exhaust the iterator. Tied weights appear once.

    Raises:
        EngineError: an adapter that is no plain LoRA (DoRA, bias, embeddings) and so has no W + s·B·A.
    """
    if not isinstance(model, PeftModel):
        for name, parameter in model.named_parameters():
            with backend.gather_params([parameter]):
                yield name, parameter.detach()
        return
    adapted = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if _is_adapter(name) or ".original_module." in name:
                continue
            layer = (
                adapted.get(name.removesuffix(".base_layer.weight")) if name.endswith(".base_layer.weight") else None
            )
            with backend.gather_params([parameter, *_adapter_parameters(layer)]):
                tensor = merged_weight(parameter, layer, name)
                yield plain_name(name), tensor.detach()


def adapter_tensors(model: nn.Module, backend: DistributedBackend) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor of every trained parameter of an adapter, named as PEFT does; nothing of a plain model. Collective
    like `merged_tensors`."""
    if isinstance(model, PeftModel):
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                with backend.gather_params([parameter]):
                    yield name, parameter.detach()


def plain_name(name: str) -> str:
    """The name of a parameter in the plain Hugging Face model."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".").replace(".modules_to_save.default.", ".")


def unwrapped(model: nn.Module) -> PreTrainedModel:
    """The Hugging Face model inside a PEFT model."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(inner, PreTrainedModel)
    return inner


def _adapter_parameters(layer: object) -> list[nn.Parameter]:
    """Those of a LoRA layer besides its base; none of any other."""
    if not isinstance(layer, LoraLayer):
        return []
    assert isinstance(layer, nn.Module)
    return [parameter for name, parameter in layer.named_parameters() if "lora_" in name]


def merged_weight(weight: torch.Tensor, layer: object, name: str) -> torch.Tensor:
    """W + Σ s·B·A over the active adapters, summed in float32, in W's dtype; W itself where there is no adapter.

    Raises:
        EngineError: the adapter of the layer `name` has no such sum.
    """
    if not isinstance(layer, LoraLayer):
        return weight
    total = weight.float()
    for adapter in layer.active_adapters:
        if adapter not in layer.lora_A:
            raise EngineError(
                f"{name}: the adapter {adapter!r} is no plain LoRA on a linear layer and cannot be pushed"
            )
        if layer.use_dora.get(adapter) or layer.lora_bias.get(adapter):
            raise EngineError(f"{name}: DoRA and lora_bias have no W + s·B·A; remove them from the lora section")
        up, down = layer.lora_B[adapter].weight, layer.lora_A[adapter].weight
        assert isinstance(up, torch.Tensor) and isinstance(down, torch.Tensor)
        up, down = up.float(), down.float()
        if getattr(layer, "fan_in_fan_out", False):
            up, down = down.T, up.T
        total = torch.addmm(total, up, down, alpha=layer.scaling[adapter])
    return total.to(weight.dtype)


def _is_adapter(name: str) -> bool:
    return ".lora_" in name
