"""What a step achieved: operations that the update needed, rates, the peak of the device, memory.

Adds up what it is told; measures no time itself (`trainer` and `callbacks` do). Every name is explained in
docs/metrics.md.
"""

from __future__ import annotations

import re
import resource
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import nn

#: Dense bfloat16 peak in TFLOP/s, from the vendors' data sheets, by words of the device's name; the first that fits counts.
PEAK_TFLOPS = {
    "B200": 2250.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
}


@dataclass(frozen=True, slots=True)
class UpdateCost:
    """Floating-point operations of one forward and backward pass, a multiplication and an addition counted as two.

    Args:
        body: per token, everything but embedding, LM head and attention scores.
        head: per position whose next token is scored.
        attention: per pair of a token and one that it attends to.
    """

    body: float
    head: float
    attention: float

    def of(self, prompts: Mapping[Any, int], rows: Sequence[tuple[Any, int]]) -> float:
        """Operations that a micro-batch needs: each distinct prompt once, no padding, no recomputation.

        Args:
            prompts: prompt -> its length.
            rows: prompt and number of completion tokens of each trained row.
        """
        tokens = sum(prompts.values()) + sum(length for _, length in rows)
        scored = sum(length for _, length in rows)
        pairs = sum(p * p / 2 for p in prompts.values()) + sum(prompts[p] * c + c * c / 2 for p, c in rows)
        return self.body * tokens + self.head * scored + self.attention * pairs


class StepMeter:
    """Collects what this process samples and trains, and its seconds by phase, until the step is logged."""

    def __init__(self, model: nn.Module) -> None:
        self._cost = update_cost(model)
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._counts: defaultdict[str, float] = defaultdict(float)

    def add_seconds(self, seconds: Mapping[str, float]) -> None:
        """Adds seconds by phase."""
        for phase, value in seconds.items():
            self._seconds[phase] += value

    def add_sampled(self, completion_ids: Sequence[Sequence[int]]) -> None:
        """Adds completions that were sampled."""
        self._counts["rows"] += len(completion_ids)
        self._counts["sampled_tokens"] += sum(map(len, completion_ids))

    def add_useful(self, advantages: torch.Tensor) -> None:
        """Adds the completions of a rollout batch that have an advantage."""
        self._counts["useful_rows"] += int((advantages != 0).sum())

    def add_trained(self, batch: Mapping[str, Any], *, only_useful: bool) -> None:
        """Adds a micro-batch of the update. With `only_useful`, the row that is kept for form's sake where none has an
        advantage does not count."""
        lengths = batch["completion_mask"].sum(dim=1).tolist()
        if only_useful and not batch["advantages"].any():
            lengths = []
        self._counts["trained_tokens"] += sum(lengths)
        if self._cost and sum(lengths):
            prompts = [tuple(ids) for ids in batch["prompt_ids"].tolist()]
            distinct = dict(zip(prompts, batch["prompt_mask"].sum(dim=1).tolist(), strict=True))
            self._counts["update_tflop"] += self._cost.of(distinct, list(zip(prompts, lengths, strict=True))) / 1e12

    def take(self) -> dict[str, float]:
        """The metrics since the last call: counts of all processes, which must all call, and seconds of this one."""
        counts: defaultdict[str, float] = defaultdict(float)
        for part in gather_object([dict(self._counts)]):
            for name, value in part.items():
                counts[name] += value
        rows, useful = counts.pop("rows", 0), counts.pop("useful_rows", 0)
        taken = {**counts, **{f"time/{phase}_s": value for phase, value in self._seconds.items()}}
        if rows:
            taken["useful_sample_share"] = useful / rows
        self._seconds.clear()
        self._counts.clear()
        return taken


def update_cost(model: nn.Module) -> UpdateCost | None:
    """What a pass of this model costs: 2 operations per weight forward, 2 for the gradient of the input, 2 more for the
    gradient of the weight where it is trained. `None` where that is not known: mixtures of experts, window or linear
    attention."""
    config = getattr(model, "config", None)
    config = config.get_text_config() if config is not None else None
    layers, heads = getattr(config, "num_hidden_layers", None), getattr(config, "num_attention_heads", None)
    experts = ("num_experts", "num_local_experts", "n_routed_experts")
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if not layers or not heads or any(getattr(config, name, None) for name in experts) or kinds != {"full_attention"}:
        return None
    width = getattr(config, "head_dim", None) or config.hidden_size // heads  # pyright: ignore[reportOptionalMemberAccess]
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    head = getattr(model, "get_output_embeddings", lambda: None)()
    tied_or_not = {id(p) for module in (*tables, head) if module is not None for p in module.parameters()}
    body = sum(_operations(p) for p in model.parameters() if id(p) not in tied_or_not)
    return UpdateCost(
        body=body,
        head=sum(_operations(p) for p in head.parameters()) if head is not None else 0.0,
        attention=3 * 4 * layers * heads * width,
    )


def rates(row: Mapping[str, Any], peak: float | None) -> dict[str, float]:
    """What follows from the counts and times of a logged step; nothing for what was not done in it.

    Args:
        row: the logged values, `time/update_s` included.
        peak: TFLOP/s of all devices together, where known.
    """
    found: dict[str, float] = {}
    sampled, trained = row.get("sampled_tokens"), row.get("trained_tokens")
    rollout_s, update_s = row.get("time/sampling_s") or row.get("time/rollout_s"), row.get("time/update_s")
    if sampled and rollout_s:
        found["sampled_tokens_per_s"] = round(sampled / rollout_s, 1)
    if trained and update_s:
        found["trained_tokens_per_s"] = round(trained / update_s, 1)
        if row.get("update_tflop"):
            speed = row["update_tflop"] / update_s
            found["update_tflops_per_s"] = round(speed, 6)
            if peak:
                found["update_mfu"] = round(speed / peak, 6)
    return found


def peak_tflops(declared: float | None) -> float | None:
    """Peak of one device: as declared in the recipe, else from the table, else unknown."""
    if declared is not None or not torch.cuda.is_available():
        return declared
    return known_peak(torch.cuda.get_device_name())


def known_peak(device: str) -> float | None:
    """Peak of a device by the name that CUDA gives it."""
    words = set(re.split(r"[ -]", device))
    return next((peak for name, peak in PEAK_TFLOPS.items() if set(name.split()) <= words), None)


def peak_memory() -> dict[str, float]:
    """Highest memory of this process so far, in MiB: resident, and on the GPU as torch counts it."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    found = {"memory/peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)}
    if torch.cuda.is_available():
        found["memory/peak_gpu_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return found


def _operations(parameter: nn.Parameter) -> float:
    size = getattr(parameter, "ds_numel", None) or parameter.numel()  # ZeRO-3 leaves an empty piece on each rank
    return float(size) * (6 if parameter.requires_grad else 4)
