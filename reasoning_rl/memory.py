"""How much memory this process may still take. Imports nothing but the standard library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

#: Where the two versions of control groups are mounted, and the files that say limit, use, and the part of the use that the
#: kernel would give back at once (`memory.stat`). Hybrid systems have version 2 in a folder of its own, without memory.
_VERSIONS = {
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available_bytes(root: Path = Path("/")) -> int:
    """What the machine has available, or what is left in the tightest of the control groups that this process is in.

    Groups of both versions count, and those around them: a limit holds for all that is below it. Inside a container the path
    of the group may be that of the host, which is not there; then the groups above it that can be seen are looked at.

    Args:
        root: where `proc` and `sys` are; for tests.
    """
    lines = (root / "proc/meminfo").read_text().splitlines()
    machine = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    return max(0, min([machine, *_left_in_groups(root)]))


def _left_in_groups(root: Path) -> Iterator[int]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for name, (mount, *files) in _VERSIONS.items():
            if name in controllers.split(","):
                inside = PurePosixPath(path)
                for group in (inside, *inside.parents):
                    yield from _left_in(root / mount / group.relative_to("/"), *files)


def _left_in(group: Path, limit: str, use: str, reclaimable: str) -> Iterator[int]:
    try:
        left = int((group / limit).read_text()) - int((group / use).read_text())
        stat = (group / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no such group, or no limit: `max`
        return
    yield left + sum(int(line.split()[1]) for line in stat if line.startswith(f"{reclaimable} "))
