"""The tightest limit counts: the machine's, or that of any control group around this process, of either version."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasoning_rl.memory import available_bytes

MIB = 1 << 20
V1, V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"
UNLIMITED_V1 = 9223372036854771712


def tree(root: Path, cgroup: str, groups: dict[str, tuple[str | int, int, int]], available_mb: int = 1000) -> Path:
    """A file system with `proc` and `sys`: for every group its limit, use, and inactive file pages, in MiB or as text."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {available_mb << 10} kB\n")
    (root / "proc/self/cgroup").write_text(cgroup)
    for path, (limit, use, inactive) in groups.items():
        folder = root / path
        folder.mkdir(parents=True, exist_ok=True)
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            if path.startswith(V1)
            else ("memory.max", "memory.current", "inactive_file")
        )
        (folder / names[0]).write_text(f"{limit if isinstance(limit, str) else limit * MIB}\n")
        (folder / names[1]).write_text(f"{use * MIB}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {inactive * MIB}\nactive_file 7\n")
    return root


@pytest.mark.parametrize(
    ("cgroup", "groups", "expected_mb"),
    [
        ("0::/\n", {}, 1000),
        ("0::/\n", {V2: (700, 100, 0)}, 600),
        ("0::/\n", {V2: (700, 100, 40)}, 640),
        ("0::/\n", {V2: (4000, 100, 0)}, 1000),
        ("0::/a/b\n", {f"{V2}/a/b": ("max", 10, 0), f"{V2}/a": (500, 200, 0)}, 300),
        ("0::/a/b\n", {f"{V2}/a/b": (300, 50, 0), f"{V2}/a": (500, 100, 0)}, 250),
        ("0::/on/the/host\n", {V2: (800, 100, 0)}, 700),
        ("7:cpu:/x\n4:memory:/x/y\n0::/\n", {f"{V1}/x/y": (600, 100, 50)}, 550),
        ("4:memory:/x/y\n", {f"{V1}/x/y": (str(UNLIMITED_V1), 100, 0), f"{V1}/x": (400, 100, 0)}, 300),
        ("4:memory:/docker/1f\n", {V1: (900, 100, 0)}, 800),
        ("5:hugetlb,memory:/x\n", {f"{V1}/x": (600, 100, 0)}, 500),
        ("4:memory:/x\n", {f"{V1}/x": (str(UNLIMITED_V1), 100, 0)}, 1000),
        ("0::/\n", {V2: (300, 400, 0)}, 0),
    ],
    ids=[
        "no group", "v2", "v2, file pages", "v2, above the machine", "v2, limit of the group above", "v2, both",
        "v2, container without its own path", "v1", "v1, limit of the group above", "v1, container", "v1, two controllers",
        "v1, unlimited", "over the limit",
    ],
)  # fmt: skip
def test_available(
    tmp_path: Path, cgroup: str, groups: dict[str, tuple[str | int, int, int]], expected_mb: int
) -> None:
    assert available_bytes(tree(tmp_path, cgroup, groups)) == expected_mb * MIB


def test_no_groups_at_all(tmp_path: Path) -> None:
    root = tree(tmp_path, "", {})
    (root / "proc/self/cgroup").unlink()
    assert available_bytes(root) == 1000 * MIB


def test_this_machine() -> None:
    assert 1 << 28 < available_bytes() < 1 << 46
