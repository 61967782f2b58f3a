"""A faster LM head for TRL's trainers on CPUs: the same log-probs, entropies and gradients.

Off Triton, TRL projects prompts and padding too, in vocabulary tiles that the backward pass projects again and multiplies
in float32. Here only the positions that are trained are projected, once. A head that is trained keeps its logits and turns them
into their own gradient; one that is not, as under LoRA, makes the gradient of the hidden states right after projecting them and keeps
no logits (tests/trl/test_lm_head.py; benchmarks/update.py has the gain). Nothing changes with an accelerator.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable
from trl.kernels.chunked_logprob import ChunkedLogProbFunction
from trl.trainer import utils

#: Logits of more than this are not kept for a trained head; TRL's tiles compute them twice.
MAX_LOGITS_MB = 1024
#: Positions that a head that is not trained projects at once.
_PROJECTED_ROWS = 256
#: Vocabulary columns per tile where TRL's tiles are used on a CPU.
CPU_CHUNK_SIZE = 4096
#: Rows that the element-wise passes take at once, so that they stay in the caches.
_BLOCK_ROWS = 8
#: Logits have room for a multiple of this many rows, so that few sizes occur (as `packing.ROUNDED_FROM` does for rows).
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
        is_trained = weight.requires_grad and torch.is_grad_enabled()  # its gradient will be wanted
        is_plain = bias is None and final_logit_softcapping is None and set(outputs) <= _OUTPUTS
        if not is_plain or (is_trained and size_mb > MAX_LOGITS_MB) or hidden.device.type != "cpu":
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
        logprobs, entropy, is_top1 = (_TrainedHead if is_trained else _FrozenHead).apply(  # pyright: ignore[reportGeneralTypeIssues]
            hidden, weight, targets, logit_scale / temperature, dtype, wants_top1
        )
        return logprobs, entropy if wants_entropy else None, None, None, is_top1 if wants_top1 else None


class _Outputs(NamedTuple):
    """Of softmax(scale · logits), (N,) each: log of the normaliser, log-prob of the target, entropy, and top-1 where asked for."""

    log_z: torch.Tensor
    logprobs: torch.Tensor
    entropy: torch.Tensor
    is_top1: torch.Tensor

    @classmethod
    def empty(cls, num_rows: int) -> _Outputs:
        log_z, logprobs, entropy = (torch.empty(num_rows) for _ in range(3))
        return cls(log_z, logprobs, entropy, torch.zeros(num_rows, dtype=torch.bool))

    def put(
        self, rows: slice, logits: torch.Tensor, targets: torch.Tensor, scale: float, wants_top1: bool
    ) -> torch.Tensor:
        """Fills in the outputs of some rows and returns their probabilities, (rows, V) float32."""
        z = logits.to(torch.float32, copy=True).mul_(scale)
        self.log_z[rows] = z.logsumexp(-1)
        self.logprobs[rows] = z.gather(-1, targets[rows, None]).squeeze(-1) - self.log_z[rows]
        if wants_top1:
            self.is_top1[rows] = z.argmax(-1) == targets[rows]
        log_p = z.sub_(self.log_z[rows, None])
        p = log_p.exp()
        self.entropy[rows] = -log_p.mul_(p).sum(-1)
        return p


class _FrozenHead(torch.autograd.Function):
    """Log-probs, entropies and top-1 where the weight is not trained.

    The gradient of a log-prob is known but for a factor once its row is projected, so it is made then. That of an entropy, which
    few losses have, is made in the backward pass from logits that are projected again.
    """

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
        inputs, table = hidden.to(dtype), weight.to(dtype)
        outputs = _Outputs.empty(len(inputs))
        of_logprobs = torch.empty_like(inputs) if ctx.needs_input_grad[0] else None  # (N, H): each row's gradient
        for projected, logits in _projected(inputs, table):
            for rows, block in _blocks(projected, logits):
                p = outputs.put(rows, block, targets, scale, wants_top1)
                if of_logprobs is not None:
                    d_z = p.mul_(-scale).scatter_add_(-1, targets[rows, None], torch.full((len(p), 1), scale))
                    block.copy_(d_z)
            if of_logprobs is not None:
                torch.mm(logits, table, out=of_logprobs[projected])
        ctx.save_for_backward(inputs, weight, of_logprobs, outputs.log_z, outputs.entropy)
        ctx.scale, ctx.dtype, ctx.hidden_dtype = scale, dtype, hidden.dtype
        ctx.mark_non_differentiable(outputs.is_top1)
        return outputs.logprobs, outputs.entropy, outputs.is_top1

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_logprobs: torch.Tensor | None, grad_entropy: torch.Tensor | None, _: None
    ) -> tuple[torch.Tensor | None, ...]:
        inputs, weight, of_logprobs, log_z, entropy = ctx.saved_tensors
        d_hidden = torch.zeros(inputs.shape)
        if grad_logprobs is not None:
            d_hidden += of_logprobs * grad_logprobs[:, None].float()
        if grad_entropy is not None:
            with utils.maybe_gather_lm_head_ctx(weight):  # ZeRO-3 has taken it apart since the forward pass
                table = weight.to(ctx.dtype)
                for projected, logits in _projected(inputs, table):
                    for rows, block in _blocks(projected, logits):
                        log_p = block.to(torch.float32, copy=True).mul_(ctx.scale).sub_(log_z[rows, None])
                        d_z = _of_entropy(log_p, log_p.exp(), entropy[rows], grad_entropy[rows])
                        block.copy_(d_z.mul_(ctx.scale))
                    d_hidden[projected] += logits @ table
        return d_hidden.to(ctx.hidden_dtype), None, None, None, None, None


class _TrainedHead(torch.autograd.Function):
    """The same where the weight's gradient is wanted, which needs those of the log-probs: the logits are kept."""

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
        ctx.set_materialize_grads(False)
        inputs, table = hidden.to(dtype), weight.to(dtype)
        logits = torch.mm(inputs, table.T, out=_room(len(inputs), table))  # (N, V)
        outputs = _Outputs.empty(len(inputs))
        for rows, block in _blocks(slice(0, len(inputs)), logits):
            outputs.put(rows, block, targets, scale, wants_top1)
        ctx.save_for_backward(inputs, weight, targets, outputs.log_z, outputs.entropy)
        ctx.logits, ctx.scale, ctx.dtype, ctx.hidden_dtype = logits, scale, dtype, hidden.dtype
        ctx.mark_non_differentiable(outputs.is_top1)
        return outputs.logprobs, outputs.entropy, outputs.is_top1

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_logprobs: torch.Tensor | None, grad_entropy: torch.Tensor | None, _: None
    ) -> tuple[torch.Tensor | None, ...]:
        inputs, weight, targets, log_z, entropy = ctx.saved_tensors
        gradient, ctx.logits = ctx.logits, None  # overwritten below, so that a second backward pass has nothing to read
        if gradient is None:
            raise RuntimeError("the LM head keeps its logits for one backward pass only; do not retain the graph")
        for rows, block in _blocks(slice(0, len(gradient)), gradient):
            log_p = block.to(torch.float32, copy=True).mul_(ctx.scale).sub_(log_z[rows, None])
            p = log_p.exp()
            d_z = torch.zeros_like(p)
            if grad_logprobs is not None:
                g = grad_logprobs[rows, None].float()
                d_z.addcmul_(p, g, value=-1).scatter_add_(-1, targets[rows, None], g)
            if grad_entropy is not None:
                d_z.add_(_of_entropy(log_p, p, entropy[rows], grad_entropy[rows]))
            block.copy_(d_z.mul_(ctx.scale))
        with utils.maybe_gather_lm_head_ctx(weight):  # ZeRO-3 has taken it apart since the forward pass
            d_hidden = (gradient @ weight.to(ctx.dtype)).to(ctx.hidden_dtype) if ctx.needs_input_grad[0] else None
        return d_hidden, (gradient.t() @ inputs).to(weight.dtype), None, None, None, None


def _of_entropy(log_p: torch.Tensor, p: torch.Tensor, entropy: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """What entropies with the gradient g, (rows,), give the logits, (rows, V); `log_p` is overwritten."""
    return log_p.add_(entropy[:, None]).mul_(p).mul_(g[:, None].float()).neg_()


def _projected(inputs: torch.Tensor, table: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Some rows after the others with their logits, which all stand in the same memory."""
    room = _room(min(len(inputs), _PROJECTED_ROWS), table)
    for rows in _slices(0, len(inputs), _PROJECTED_ROWS):
        yield rows, torch.mm(inputs[rows], table.T, out=room[: rows.stop - rows.start])


def _room(num_rows: int, table: torch.Tensor) -> torch.Tensor:
    """(num_rows, V), not filled in."""
    return table.new_empty(-(-num_rows // _ROOM_STEP) * _ROOM_STEP, len(table))[:num_rows]


def _blocks(rows: slice, logits: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """The rows, few at a time, with their logits."""
    for part in _slices(rows.start, rows.stop, _BLOCK_ROWS):
        yield part, logits[part.start - rows.start : part.stop - rows.start]


def _slices(start: int, stop: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, stop)) for first in range(start, stop, size))
