"""Memory that was freed is used again without the kernel clearing it anew, unless the user has settings of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tells glibc's allocator")

_PROGRAM = """
import resource, torch
from reasoning_rl.trl_bridge.allocator import keep_freed_memory
print(keep_freed_memory())
def work():
    for _ in range(10):
        torch.zeros(25_000_000)  # 100 MB
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> tuple[bool, int]:
    """Whether memory is kept, and the page faults of taking 100 MB ten times again."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env={**plain, **environment}, capture_output=True, text=True, check=True
    )
    kept, count = done.stdout.split()
    return kept == "True", int(count)


def test_freed_memory_is_used_again() -> None:
    kept, count = faults()
    assert kept
    assert count < 500


def test_settings_of_the_user_stay() -> None:
    kept, count = faults(MALLOC_TRIM_THRESHOLD_="131072")
    assert not kept
    assert count > 500  # and without ours the pages are cleared anew each time
