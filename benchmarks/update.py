"""Seconds of one forward and backward pass over a GRPO micro-batch: TRL's layout and LM head against ours.

    python benchmarks/update.py [MODEL_FOLDER]

8 prompts of 44 tokens (38 of them a common system text) with 8 completions of 40 tokens each. Arms are interleaved;
medians are printed. Nothing else may run meanwhile.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from trl.trainer import utils

from reasoning_rl.recipe import Model
from reasoning_rl.trl_bridge.lm_head import use_cpu_lm_head
from reasoning_rl.trl_bridge.packing import IGNORED, pack
from reasoning_rl.trl_bridge.policy import policy_folder
from reasoning_rl.trl_bridge.tree_attention import use_tree_attention

PROMPTS, GROUP, SYSTEM, PROMPT, COMPLETION, REPEATS = 8, 8, 38, 44, 40, 5
#: What `use_cpu_lm_head` replaces in `trl.trainer.utils`.
HEAD = ("_use_triton", "_CHUNKED_LOGPROB_CHUNK_SIZE", "_ChunkedLogProbFunction")


def micro_batch(vocab_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, S) token ids and labels, prompts repeated for their group."""
    generator = torch.Generator().manual_seed(0)

    def tokens(*shape: int) -> torch.Tensor:
        return torch.randint(10, vocab_size, shape, generator=generator)

    prompts = torch.cat([tokens(1, SYSTEM).expand(PROMPTS, -1), tokens(PROMPTS, PROMPT - SYSTEM)], dim=1)
    ids = torch.cat([prompts.repeat_interleave(GROUP, dim=0), tokens(PROMPTS * GROUP, COMPLETION)], dim=1)
    labels = ids.clone()
    labels[:, :PROMPT] = IGNORED
    return ids, labels


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else policy_folder(Model(source="package:smollm2-135m-instruct"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    utils.add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    use_tree_attention(model)
    ids, labels = micro_batch(model.config.vocab_size)

    def padded() -> dict[str, Any]:
        return {"input_ids": ids, "labels": labels}

    def packed() -> dict[str, Any]:
        return pack(ids, torch.ones_like(ids), labels).model_inputs()

    stock_head = {name: getattr(utils, name) for name in HEAD}
    use_cpu_lm_head()
    cpu_head = {name: getattr(utils, name) for name in HEAD}
    arms: dict[str, tuple[dict[str, Any], Callable[[], dict[str, Any]]]] = {
        "TRL": (stock_head, padded),
        "TRL, compact": ({**cpu_head, "_ChunkedLogProbFunction": stock_head["_ChunkedLogProbFunction"]}, padded),
        "CPU head": (cpu_head, padded),
        "packed": (stock_head, packed),
        "packed, CPU head": (cpu_head, packed),
    }
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(REPEATS + 1):  # the first round warms up
        for arm, (head, inputs) in arms.items():
            for name, value in head.items():
                setattr(utils, name, value)
            start = time.perf_counter()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output = model(**inputs(), fused_lm_head=True)
            output.loss.backward()
            model.zero_grad()
            seconds[arm].append(time.perf_counter() - start)
    stock = statistics.median(seconds["TRL"][1:])
    for arm, values in seconds.items():
        median = statistics.median(values[1:])
        print(f"{arm:>22}: {median:6.2f} s  {stock / median:.2f}x")


if __name__ == "__main__":
    main()
