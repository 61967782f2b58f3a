"""Makes TRL's fused LM head on CPUs score only the positions that are trained, in tiles that fit the caches.

TRL compacts to the valid positions on Triton devices only and elsewhere projects prompt and padding too, in tiles of
32768 vocabulary columns. The results are the same numbers (tests/trl/test_lm_head.py); on two cores the update is about
twice as fast and needs less memory.
"""

from __future__ import annotations

import torch
from trl.trainer import utils

#: Vocabulary columns per tile on a CPU; measured in benchmarks/lm_head.py.
CPU_CHUNK_SIZE = 4096


def use_compact_lm_head() -> None:
    """Switches the fused LM head of every trainer built from now on to compact form; a no-op with an accelerator."""
    if torch.accelerator.is_available():
        return
    utils._use_triton = lambda device: True
    utils._CHUNKED_LOGPROB_CHUNK_SIZE = CPU_CHUNK_SIZE
