"""Rows that could not be scored through our own fault, taken out of a rollout as if they had not been sampled.

TRL keeps them out of their group's baseline and gives them no advantage, but it counts their tokens in the normaliser of the
loss and trains them on its KL and entropy terms. Pure functions on a rollout; `trainer` calls them,
tests/trl/test_void_rows.py holds the gradients against TRL's on the other rows alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def leave_out(rollout: dict[str, Any], is_void: torch.Tensor) -> torch.Tensor:
    """Masks the completions of void rows and marks the others in a new entry `scored`, (B,).

    Args:
        rollout: what TRL made of the local rows; changed in place.
        is_void: (B,), in the order of the rows.

    Returns:
        The number of local tokens that no longer belong in `num_items_in_batch`.
    """
    mask = rollout["completion_mask"]
    num_tokens = (mask * rollout.get("tool_mask", 1))[is_void].sum()
    rollout["completion_mask"] = mask.masked_fill(is_void[:, None], 0)
    rollout["scored"] = ~is_void
    return num_tokens


def scored_rows(inputs: Mapping[str, Any]) -> torch.Tensor:
    """Indices of the rows of a micro-batch that are not void."""
    scored = inputs.get("scored")
    return (
        torch.arange(len(inputs["advantages"]), device=inputs["advantages"].device)
        if scored is None
        else scored.nonzero()[:, 0]
    )
