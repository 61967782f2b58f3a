"""LoRA's merged weights straight into the linear layers of an engine on CPUs, past vLLM's reload.

A reload takes every tensor of the model through Python several times; after a step of LoRA only the adapted layers have
changed. Each of them gets W + s·B·A of its parts, packed as vLLM packs it. What does not fit this is left to the reload
(`plan` says why), and so is a model whose first reload shows that it lays its weights out otherwise (`compared`). Owns the way in; `weights` owns the sums, `engine` decides when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

from reasoning_rl.trl_bridge.weights import merged_weight, plain_name


@dataclass(frozen=True, slots=True)
class Target:
    """A linear layer of the engine and the policy's layers whose weights it holds, one below the other."""

    name: str
    layer: Any
    parts: tuple[nn.Module, ...]


def plan(policy: nn.Module, engine_model: nn.Module, is_eager: bool) -> list[Target] | str:
    """The engine's layers that an adapter changes, or why they have to be reloaded.

    Args:
        policy: the training module.
        engine_model: vLLM's module.
        is_eager: whether the engine runs without compiled graphs, which would keep the packed weights of before.
    """
    from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
    from vllm.platforms import current_platform

    if not current_platform.is_cpu() or not is_eager:
        return "the engine is compiled or not on a CPU"
    if not isinstance(policy, PeftModel):
        return "the whole policy is trained"
    if any(hasattr(parameter, "ds_id") for parameter in policy.parameters()):
        return "parameters are sharded"
    changed = [name for name, p in policy.named_parameters() if p.requires_grad and ".lora_" not in name]
    if changed:
        return f"{changed[0]} is trained beside the adapter"
    layers = {plain_name(name): module for name, module in policy.named_modules()}
    waiting = {name for name, module in layers.items() if isinstance(module, LoraLayer)}
    packed: dict[str, list[str]] = getattr(engine_model, "packed_modules_mapping", None) or {}
    targets = []
    for name, module in engine_model.named_modules():
        if not isinstance(module, LinearBase):
            continue
        folder, _, last = name.rpartition(".")
        sources = [f"{folder}.{part}" for part in packed.get(last, [last])]
        if waiting.isdisjoint(sources):
            continue
        parts = tuple(layers[source] for source in sources if source in layers)
        if len(parts) < len(sources) or type(module.quant_method) is not UnquantizedLinearMethod:
            return f"{name} is not made of {', '.join(sources)}"
        shape = (sum(_weight(part).size(0) for part in parts), _weight(parts[0]).size(1))
        if shape != (getattr(module, "output_size_per_partition", module.output_size), _inputs(module)):
            return f"{name} has another shape than {', '.join(sources)}"
        targets.append(Target(name, module, parts))
        waiting -= set(sources)
    return f"the engine has no linear layer {min(waiting)}" if waiting else targets


@contextmanager
def compared(targets: list[Target]) -> Iterator[list[Target]]:
    """While the engine reloads the same weights: yields the list of those targets that were given, bit for bit, what `push`
    would have given them. A model that stores its parts in another order is found out here."""
    same: list[Target] = []
    by_layer = {id(target.layer): target for target in targets}
    methods = {id(target.layer.quant_method): target.layer.quant_method for target in targets}.values()

    def look(pack: Callable[[Any], None], layer: Any) -> None:
        target = by_layer.get(id(layer))
        if target and torch.equal(layer.weight.data, _merged(target)):
            same.append(target)
        pack(layer)

    for method in methods:
        method.process_weights_after_loading = partial(look, method.process_weights_after_loading)
    try:
        yield same
    finally:
        for method in methods:
            del method.process_weights_after_loading


def push(targets: list[Target]) -> None:
    """Puts the merged weights of now into the engine's layers.

    Raises:
        EngineError: an adapter has no W + s·B·A.
    """
    for target in targets:
        layer, packed = target.layer, target.layer.weight
        layer.weight = nn.Parameter(_merged(target), requires_grad=False)
        layer.quant_method.process_weights_after_loading(layer)
        if (
            layer.weight.numel() == packed.numel() == 0
        ):  # it is packed elsewhere; the empty one knows how to be reloaded
            layer.weight = packed


@torch.no_grad()
def _merged(target: Target) -> torch.Tensor:
    """The weight of a target, parts one below the other, in the engine's dtype."""
    parts = [merged_weight(_weight(part), part, target.name) for part in target.parts]
    return torch.cat([part.to(target.layer.params_dtype) for part in parts])


def _weight(part: nn.Module) -> nn.Parameter:
    base = part.get_base_layer() if isinstance(part, LoraLayer) else part
    assert isinstance(base.weight, nn.Parameter)
    return base.weight


def _inputs(module: Any) -> int:
    return getattr(module, "input_size_per_partition", module.input_size)
