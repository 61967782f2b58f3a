"""Work of TRL's step that changes no gradient, and when it can be left out.

Pure functions on a micro-batch; `trainer` calls them, tests/trl/test_savings.py holds them against TRL. Each has a switch
in the recipe's `savings` section.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

#: Losses for which the tests hold the savings against TRL. For any other, nothing that depends on the loss is left out.
TESTED_LOSSES = ("bnpo", "cispo", "dapo", "dr_grpo", "grpo", "luspo", "sapo", "vespo")
#: The savings that depend on the loss.
BY_LOSS = ("skip_idle_rows", "reuse_logprobs", "whole_groups")

#: Losses whose normaliser is the number of tokens of the whole generation batch, rows left out included.
GLOBAL_NORMALISER = ("dapo", "cispo", "vespo")


def importance_ratio(
    logprobs: torch.Tensor,  # (B, T) of the trainer
    sampling_logprobs: torch.Tensor,  # (B, T) of the engine, NaN where it gave none
    mask: torch.Tensor,  # (B, T)
    mode: str,
    clip_min: float | None,
    clip_max: float | None,
) -> torch.Tensor:
    """Trainer-to-engine importance ratio as TRL 1.16 computes it, (B, T) for `token_*` modes and (B, 1) for
    `sequence_*`: exp of the log-prob difference (summed over a sequence), clamped (`*_truncate`) or zeroed (`*_mask`)
    outside [clip_min, clip_max]."""
    difference = torch.nan_to_num((logprobs - sampling_logprobs) * mask, nan=0.0)
    if mode.startswith("sequence"):
        difference = difference.sum(dim=-1, keepdim=True)
    ratio = torch.exp(difference)
    if mode.endswith("truncate"):
        return torch.clamp(ratio, min=clip_min, max=clip_max)
    low = -math.inf if clip_min is None else clip_min
    high = math.inf if clip_max is None else clip_max
    return ratio.masked_fill((ratio < low) | (ratio > high), 0.0)


def equal_totals(totals: Sequence[float | None], group_size: int) -> list[bool]:
    """For each completion, whether all scored totals of its group are equal, so that its advantage is 0.

    Computed from the totals, because TRL's mean of equal float32 rewards differs from them by a rounding error, which its
    division by a standard deviation of 0 + 1e-4 makes 1e-4 instead of 0.
    """
    flags: list[bool] = []
    for start in range(0, len(totals), group_size):
        distinct = {total for total in totals[start : start + group_size] if total is not None}
        flags += [len(distinct) <= 1] * group_size
    return flags


def trained_rows(inputs: Mapping[str, Any]) -> torch.Tensor:
    """Indices of the rows that move the policy: a non-zero advantage and at least one unmasked token."""
    moves = (inputs["advantages"] != 0) & (inputs["completion_mask"].sum(dim=1) > 0)
    return moves.nonzero(as_tuple=True)[0]


def filled_up(rows: torch.Tensor, num_rows: int, batch: int) -> torch.Tensor:
    """`rows` and the first others of the micro-batch, so many in all, in order."""
    is_chosen = torch.zeros(batch, dtype=torch.bool, device=rows.device)
    is_chosen[rows] = True
    others = (~is_chosen).nonzero(as_tuple=True)[0]
    is_chosen[others[: num_rows - len(rows)]] = True
    return is_chosen.nonzero(as_tuple=True)[0]


def zero_loss(model: nn.Module) -> torch.Tensor:
    """A loss of 0 whose gradient is 0 for every trained parameter, not none at all: an optimiser with momentum moves on."""
    return (
        torch.stack([parameter.sum().float() for parameter in model.parameters() if parameter.requires_grad]).sum()
        * 0.0
    )


def select_rows(inputs: Mapping[str, Any], rows: torch.Tensor) -> dict[str, Any]:
    """The micro-batch with these rows only, without the columns that were padding for the others alone."""
    batch = inputs["completion_mask"].size(0)
    kept = {
        key: value[rows] if isinstance(value, torch.Tensor) and value.dim() and value.size(0) == batch else value
        for key, value in inputs.items()
    }
    prompt_length = max(1, int(kept["prompt_mask"].sum(dim=1).max()))
    completion_length = max(1, int(kept["completion_mask"].sum(dim=1).max()))
    width = inputs["completion_mask"].size(1)
    for key in ("prompt_ids", "prompt_mask"):
        kept[key] = kept[key][:, -prompt_length:]  # padded on the left
    for key, value in kept.items():
        if isinstance(value, torch.Tensor) and value.dim() == 2 and value.size(1) == width and "prompt" not in key:
            kept[key] = value[:, :completion_length]  # padded on the right
    return kept


def whole_groups(
    batches: Sequence[Mapping[str, Any]], *, evenly: bool = False, computes_idle: bool = True
) -> list[dict[str, Any]]:
    """The micro-batches of one optimiser step with their rows sorted: completions of a prompt beside each other, short
    ones first, idle ones last. The sum of the losses stays as it is where each of them is a sum or a mean over equally
    many rows; TRL shuffles the rows, so that no packed row finds a prompt twice.

    Args:
        batches: as TRL cut them.
        evenly: cut anew, into micro-batches of about as many tokens instead of as many rows: the largest decides how much
            memory a step takes, and memory is found again where sizes recur. For losses that are sums.
        computes_idle: whether idle rows count among the tokens. If not, micro-batches of idle rows alone come last.
    """
    sizes = [batch["completion_mask"].size(0) for batch in batches]
    rows = {key: _joined([batch[key] for batch in batches]) for key in batches[0]}
    length = rows["completion_mask"].sum(dim=1)
    is_idle = (rows["advantages"] == 0) | (length == 0)
    prompts = [
        tuple(ids[mask].tolist()) for ids, mask in zip(rows["prompt_ids"], rows["prompt_mask"].bool(), strict=True)
    ]
    order = sorted(range(sum(sizes)), key=lambda row: (bool(is_idle[row]), prompts[row], int(length[row])))
    if evenly:
        costs = [
            int(length[row]) + (len(prompts[row]) if at == 0 or prompts[order[at - 1]] != prompts[row] else 0)
            for at, row in enumerate(order)
        ]
        num_computed = len(order) if computes_idle else len(order) - int(is_idle.sum())
        sizes = _even_sizes(costs[:num_computed], len(order), len(sizes))
    ends = itertools.accumulate(sizes)
    parts = [order[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    return [{key: _picked(value, part) for key, value in rows.items()} for part in parts]


def _even_sizes(costs: Sequence[int], num_rows: int, num_batches: int) -> list[int]:
    """How many consecutive rows each micro-batch gets. The first rows, which have `costs`, are spread by cost over as few micro-batches
    as would hold them by number; the others, which cost nothing, over the remaining ones, or they go with the last."""
    num_used = -(-len(costs) * num_batches // num_rows)
    middles = torch.tensor(costs, dtype=torch.float64).cumsum(0) - torch.tensor(costs) / 2
    starts = [0] * min(num_used, 1)
    for number in range(1, num_used):
        start = int(torch.searchsorted(middles, sum(costs) * number / num_used))
        starts.append(min(max(start, starts[-1] + 1), len(costs) - num_used + number))  # none is empty
    num_free, num_idle = num_batches - num_used, num_rows - len(costs)
    starts += [len(costs) + num_idle * number // num_free for number in range(num_free)]
    return [end - start for start, end in itertools.pairwise([*starts, num_rows])]


def are_cut_freely(loss_type: str, batches: Sequence[Mapping[str, Any]]) -> bool:
    """Whether micro-batches may be cut in another way. Losses that are means over the rows of a micro-batch leave out rows that
    could not be scored, so that those have to stay where TRL's shuffle put them."""
    return loss_type in GLOBAL_NORMALISER or all(bool(batch["scored"].all()) for batch in batches if "scored" in batch)


def _joined(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, torch.Tensor) and first.dim():
        return torch.cat(list(values))
    return [item for value in values for item in value] if isinstance(first, list) else first


def _picked(value: Any, rows: list[int]) -> Any:
    if isinstance(value, torch.Tensor) and value.dim():
        return value[torch.tensor(rows, device=value.device)]
    return [value[row] for row in rows] if isinstance(value, list) else value


def loss_scale(loss_type: str, inputs: Mapping[str, Any], kept: Mapping[str, Any]) -> float:
    """What the loss of the kept rows is multiplied with to be the loss of all rows that could be scored (`void_rows`)."""
    if loss_type in GLOBAL_NORMALISER:
        return 1.0
    if loss_type == "bnpo":  # tokens of the micro-batch
        return float(kept["completion_mask"].sum() / inputs["completion_mask"].sum().clamp(min=1))
    num_rows = int(inputs["scored"].sum()) if "scored" in inputs else inputs["completion_mask"].size(0)
    return kept["completion_mask"].size(0) / max(1, num_rows)


def has_dropout(model: nn.Module) -> bool:
    """Whether two forward passes of the same input may differ."""
    return any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
