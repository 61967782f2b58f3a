"""Seconds of one forward and backward pass with TRL's own LM head and with the compact one, for several tile widths.

    python benchmarks/lm_head.py [MODEL_FOLDER]

Arms are interleaved; medians are printed. Nothing else may run meanwhile.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
from transformers import AutoModelForCausalLM
from trl.kernels import chunked_logprob
from trl.trainer import utils

from reasoning_rl.recipe import Model
from reasoning_rl.trl_bridge.policy import policy_folder

ROWS, PROMPT, COMPLETION, REPEATS = 16, 44, 40, 5
ARMS = {"stock": (chunked_logprob._use_triton, 32768)} | {
    f"compact {width}": (lambda device: True, width) for width in (32768, 16384, 8192, 4096, 2048)
}


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else policy_folder(Model(source="package:smollm2-135m-instruct"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    utils.add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    ids = torch.randint(
        10, model.config.vocab_size, (ROWS, PROMPT + COMPLETION), generator=torch.Generator().manual_seed(0)
    )
    labels = ids.clone()
    labels[:, :PROMPT] = -100
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for _ in range(REPEATS + 1):  # the first round warms up
        for arm, (utils._use_triton, utils._CHUNKED_LOGPROB_CHUNK_SIZE) in ARMS.items():
            start = time.perf_counter()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output = model(input_ids=ids, labels=labels, fused_lm_head=True)
            output.loss.backward()
            model.zero_grad()
            seconds[arm].append(time.perf_counter() - start)
    stock = statistics.median(seconds["stock"][1:])
    for arm, values in seconds.items():
        median = statistics.median(values[1:])
        print(f"{arm:>14}: {median:6.2f} s  {stock / median:.2f}x")


if __name__ == "__main__":
    main()
