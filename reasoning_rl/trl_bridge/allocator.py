"""What a training run on a CPU tells glibc's allocator: keep what was freed.

By default every block of some megabytes is a mapping of its own, given back to the system when freed. Training frees and
takes the same blocks again in every step, and each time the kernel clears their pages anew (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import os

import torch

# Numbers of mallopt parameters, from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
#: Settings of the user's own, which are left alone.
_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Has this process keep freed memory for its next allocations, on CPUs with glibc; returns whether it does so now."""
    if torch.accelerator.is_available() or any(name in os.environ for name in _SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
