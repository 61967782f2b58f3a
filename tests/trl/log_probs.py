"""What tests of engine and trainer compare: log-probs of the same tokens."""

from __future__ import annotations

import torch

#: Engine arguments of tiny policies.
ENGINE = {"max_model_len": 128, "enforce_eager": True, "kv_cache_memory_bytes": 1 << 28, "max_num_seqs": 32}


def trainer_logprobs(
    model: torch.nn.Module, prompts: list[list[int]], completions: list[list[int]]
) -> list[list[float]]:
    """Log-probs of completions by the training module, one sequence at a time, in float32."""
    result = []
    for prompt, completion in zip(prompts, completions, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion])).logits[0].float()
        logprobs = logits.log_softmax(-1)
        result.append([logprobs[len(prompt) + i - 1, token].item() for i, token in enumerate(completion)])
    return result


def gap(ours: list[list[float]], theirs: list[list[float]]) -> tuple[float, float]:
    """Mean and maximum of the absolute differences."""
    differences = [abs(a - b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True)]
    assert differences
    return sum(differences) / len(differences), max(differences)
