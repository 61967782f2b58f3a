"""Makes TRL's fused LM head on CPUs score only the positions that are trained, in tiles that fit the caches.

TRL compacts to the valid positions on Triton devices only and elsewhere projects prompt and padding too, in tiles of
32768 vocabulary columns. The results are the same numbers (tests/trl/test_lm_head.py); on two cores one forward
and backward pass took 1.6 to 1.75 times less (docs/performance.md).
"""

from __future__ import annotations

import torch
from trl.trainer import utils

#: Vocabulary columns per tile on a CPU; benchmarks/lm_head.py compares widths.
CPU_CHUNK_SIZE = 4096


def use_compact_lm_head() -> None:
    """Switches the fused LM head of every trainer built from now on to compact form; a no-op with an accelerator."""
    if torch.accelerator.is_available():
        return
    utils._use_triton = lambda device: True
    utils._CHUNKED_LOGPROB_CHUNK_SIZE = CPU_CHUNK_SIZE
