"""Stops a run whose numbers have become NaN or infinite: nothing that comes after them means anything.

transformers leaves such losses out of what it logs, and TRL such log-probs out of its correction, so that without this a
run would go on to its end with weights that are no numbers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import Trainer

from reasoning_rl.errors import DivergenceError


def check_loss(loss: Any, trainer: Trainer) -> None:
    """Before it is used for an update.

    Args:
        loss: a tensor, or a tuple of which the first is.

    Raises:
        DivergenceError: it is not finite.
    """
    loss = loss[0] if isinstance(loss, tuple) else loss
    if not bool(torch.isfinite(loss).all()):
        raise _error("loss", loss.item(), trainer)


def check_grad_norm(norm: torch.Tensor | float | None, trainer: Trainer) -> None:
    """Of the gradients of a step, before the optimiser uses them. Left to the scaler of float16, which skips such steps, and
    to DeepSpeed where it names no norm (`None`).

    Raises:
        DivergenceError: it is not finite.
    """
    if norm is not None and trainer.accelerator.scaler is None and not math.isfinite(norm):
        raise _error("norm of the gradients", float(norm), trainer)


def _error(what: str, found: float, trainer: Trainer) -> DivergenceError:
    return DivergenceError(
        f"step {trainer.state.global_step + 1}: the {what} is {found}, expected a finite number; lower "
        f"learning_rate (found {trainer.args.learning_rate:g}) or max_grad_norm ({trainer.args.max_grad_norm:g}), and "
        "start the stage anew or from a checkpoint of before"
    )


def check_logprobs(completion: Any) -> None:
    """Of a finished completion of vLLM, which has them where they were asked for.

    Raises:
        DivergenceError: one is not finite.
    """
    if not completion.logprobs:
        return
    values = [step[token].logprob for step, token in zip(completion.logprobs, completion.token_ids, strict=True)]
    if not math.isfinite(sum(values)):
        raise DivergenceError(
            "sampling: the log-prob of a token is not a finite number, so the weights are not either, or the model "
            "overflows in vllm.dtype; start from a checkpoint of before, with a lower learning_rate, or from other weights"
        )
