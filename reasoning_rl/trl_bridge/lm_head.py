"""A faster LM head for TRL's trainers on CPUs: the same log-probs, entropies and gradients.

Off Triton, TRL projects prompts and padding too, in vocabulary tiles that the backward pass projects again and multiplies
in float32. Here only the positions that are trained are projected, once: the logits are kept and turned into their own
gradient in place (tests/trl/test_lm_head.py; benchmarks/update.py has the gain). Nothing changes with an accelerator.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from trl.kernels.chunked_logprob import ChunkedLogProbFunction
from trl.trainer import utils

#: Logits of more than this are not kept; TRL's tiles compute them twice.
MAX_LOGITS_MB = 1024
#: Vocabulary columns per tile where TRL's tiles are used on a CPU.
CPU_CHUNK_SIZE = 4096
#: Rows that the element-wise passes take at once, so that they stay in the caches.
_BLOCK_ROWS = 8
#: The logits have room for a multiple of this many rows, so that few sizes occur (as `packing.ROUNDED_FROM` does for rows).
_ROOM_STEP = 128

_OUTPUTS = {"log_probs", "entropy", "is_top1"}


def use_cpu_lm_head() -> None:
    """Switches the fused LM head of every trainer built from now on; a no-op with an accelerator."""
    if torch.accelerator.is_available():
        return
    utils._use_triton = lambda device: True  # what TRL asks before it leaves the other positions out
    utils._CHUNKED_LOGPROB_CHUNK_SIZE = CPU_CHUNK_SIZE
    utils._ChunkedLogProbFunction = CpuLogProb


class CpuLogProb:
    """Takes the place of TRL's `ChunkedLogProbFunction`, and hands on to it what it does not do itself."""

    @staticmethod
    def apply(
        hidden: torch.Tensor,  # (N, H)
        weight: torch.Tensor,  # (V, H)
        bias: torch.Tensor | None,  # (V,)
        targets: torch.Tensor,  # (N,)
        temperature: float,
        chunk_size: int,
        final_logit_softcapping: float | None,
        logit_scale: float,
        outputs: tuple[str, ...],
    ) -> tuple[torch.Tensor | None, ...]:
        """Log-probs, entropies, and whether the target is the likeliest token, (N,) each; in TRL's order, `None` between."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden.dtype
        size_mb = hidden.size(0) * weight.size(0) * dtype.itemsize / (1 << 20)
        is_plain = bias is None and final_logit_softcapping is None and set(outputs) <= _OUTPUTS
        if not is_plain or size_mb > MAX_LOGITS_MB or hidden.device.type != "cpu":
            return ChunkedLogProbFunction.apply(  # pyright: ignore[reportReturnType]
                hidden,
                weight,
                bias,
                targets,
                temperature,
                chunk_size,
                final_logit_softcapping,
                logit_scale,
                outputs,
            )
        wants_entropy, wants_top1 = "entropy" in outputs, "is_top1" in outputs
        logprobs, entropy, is_top1 = _KeptLogits.apply(  # pyright: ignore[reportGeneralTypeIssues]
            hidden, weight, targets, logit_scale / temperature, dtype, wants_top1
        )
        return logprobs, entropy if wants_entropy else None, None, None, is_top1 if wants_top1 else None


class _KeptLogits(torch.autograd.Function):
    """Log-prob of the target, entropy and top-1 of softmax(scale · hidden · weightᵀ), row by row."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,  # (N, H)
        weight: torch.Tensor,  # (V, H)
        targets: torch.Tensor,  # (N,)
        scale: float,
        dtype: torch.dtype,
        wants_top1: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ctx.set_materialize_grads(False)  # an entropy that is only logged has no gradient
        inputs = hidden.to(dtype)
        num_rows = inputs.size(0)
        room = torch.empty(-(-num_rows // _ROOM_STEP) * _ROOM_STEP, weight.size(0), dtype=dtype)
        logits = torch.mm(inputs, weight.to(dtype).t(), out=room[:num_rows])  # (N, V)
        log_z, logprobs, entropy = (torch.empty(num_rows) for _ in range(3))
        is_top1 = torch.zeros(num_rows, dtype=torch.bool)
        for rows in _blocks(num_rows):
            z = logits[rows].to(torch.float32, copy=True).mul_(scale)
            log_z[rows] = z.logsumexp(-1)
            logprobs[rows] = z.gather(-1, targets[rows, None]).squeeze(-1) - log_z[rows]
            if wants_top1:
                is_top1[rows] = z.argmax(-1) == targets[rows]
            log_p = z.sub_(log_z[rows, None])
            entropy[rows] = -log_p.exp().mul_(log_p).sum(-1)
        ctx.save_for_backward(inputs, weight, targets, log_z, entropy)
        ctx.logits, ctx.scale, ctx.dtype, ctx.hidden_dtype = logits, scale, dtype, hidden.dtype
        ctx.mark_non_differentiable(is_top1)
        return logprobs, entropy, is_top1

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_logprobs: torch.Tensor | None, grad_entropy: torch.Tensor | None, _: None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None, None, None]:
        inputs, weight, targets, log_z, entropy = ctx.saved_tensors
        gradient, ctx.logits = ctx.logits, None  # overwritten below, so that a second backward pass has nothing to read
        if gradient is None:
            raise RuntimeError("the LM head keeps its logits for one backward pass only; do not retain the graph")
        for rows in _blocks(gradient.size(0)):
            log_p = gradient[rows].to(torch.float32, copy=True).mul_(ctx.scale).sub_(log_z[rows, None])
            p = log_p.exp()
            d_z = torch.zeros_like(p)
            if grad_logprobs is not None:
                g = grad_logprobs[rows, None].float()
                d_z.addcmul_(p, g, value=-1).scatter_add_(-1, targets[rows, None], g)
            if grad_entropy is not None:
                d_z.sub_(log_p.add_(entropy[rows, None]).mul_(p).mul_(grad_entropy[rows, None].float()))
            gradient[rows] = d_z.mul_(ctx.scale).to(gradient.dtype)
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        with utils.maybe_gather_lm_head_ctx(weight):  # ZeRO-3 has taken it apart since the forward pass
            d_hidden = (gradient @ weight.to(ctx.dtype)).to(ctx.hidden_dtype) if wants_hidden else None
        d_weight = (gradient.t() @ inputs).to(weight.dtype) if wants_weight else None
        return d_hidden, d_weight, None, None, None, None


def _blocks(num_rows: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK_ROWS) for start in range(0, num_rows, _BLOCK_ROWS))
