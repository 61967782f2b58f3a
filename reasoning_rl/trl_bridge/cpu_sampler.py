"""A faster way to draw tokens on a CPU: the same distribution, and the same log-probs, without the rank of each token.

vLLM draws a token by one exponential variate for each entry of the vocabulary, which takes longer than half of the matrix
products of a small model. Here a token takes two uniform variates: one chooses a block of the vocabulary, the other a token
in it, both by the inverse of the cumulative distribution (tests/trl/test_cpu_sampler.py). vLLM also counts how many tokens are
likelier than each one that it draws, which nobody here reads, by a function that it compiles at the first token.
"""

from __future__ import annotations

from typing import Any

import torch

#: Vocabulary entries of a block.
_BLOCK = 256
#: Logits that the element-wise passes take at once, so that they stay in the caches.
_AT_ONCE = 200_000


def use_cpu_sampler(runner: Any) -> bool:
    """Makes the sampler of a model runner of vLLM draw with `draw`, where it returns log-probs of what it draws from, on a
    CPU. Returns whether it does. Requests with a seed of their own are left to vLLM. Ranks of drawn tokens are 0 where no
    other token's log-prob is asked for."""
    from vllm.platforms import current_platform
    from vllm.v1.outputs import LogprobsTensors
    from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p

    if not current_platform.is_cpu():
        return False
    sampler = runner.sampler.topk_topp_sampler
    if sampler.logprobs_mode != "processed_logprobs" or sampler.use_fp64_gumbel:
        return False
    original, original_gather = sampler.forward, runner.sampler.gather_logprobs

    def forward(logits: torch.Tensor, generators: Any, k: Any, p: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        if generators or logits.dtype != torch.float32:
            return original(logits, generators, k, p)
        return draw(apply_top_k_top_p(logits, k, p))

    def gather_logprobs(logprobs: torch.Tensor, num_logprobs: int, token_ids: torch.Tensor) -> Any:
        if num_logprobs:
            return original_gather(logprobs, num_logprobs, token_ids)
        ids = token_ids.unsqueeze(-1)
        return LogprobsTensors(ids.to(torch.int32), logprobs.gather(-1, ids), torch.zeros_like(token_ids))

    sampler.forward, runner.sampler.gather_logprobs = forward, gather_logprobs
    return True


def draw(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One token per row of softmax(`logits`), (B,), and all log-probs, (B, V) float32, which take the place of the logits.

    Args:
        logits: (B, V) float32; minus infinity where a token is not to be drawn.
    """
    num_rows, vocabulary = logits.shape
    num_blocks = -(-vocabulary // _BLOCK)
    padding = num_blocks * _BLOCK - vocabulary
    mass = torch.empty(num_rows, num_blocks)
    step = max(1, _AT_ONCE // vocabulary)
    for start in range(0, num_rows, step):
        rows = logits[start : start + step]
        rows.copy_(rows.log_softmax(-1))
        p = torch.nn.functional.pad(rows.exp(), (0, padding)) if padding else rows.exp()
        mass[start : start + step] = p.view(-1, num_blocks, _BLOCK).sum(-1)
    block = _choose(mass)
    places = (block[:, None] * _BLOCK + torch.arange(_BLOCK)).clamp_(max=vocabulary - 1)
    p = logits.gather(1, places).exp()
    if padding:
        p[block == num_blocks - 1, _BLOCK - padding :] = 0
    return block * _BLOCK + _choose(p), logits


def _choose(weights: torch.Tensor) -> torch.Tensor:
    """An index for each row of (B, N) weights, with a probability in proportion; never one whose weight is 0."""
    cumulated = weights.double().cumsum(-1)
    total = cumulated[:, -1:]
    point = torch.rand(total.shape, dtype=torch.float64) * total
    point = torch.minimum(point, total.nextafter(torch.zeros_like(total)))  # the product may be rounded up to the total
    return torch.searchsorted(cumulated, point, right=True).squeeze(-1).clamp_(max=weights.size(-1) - 1)
