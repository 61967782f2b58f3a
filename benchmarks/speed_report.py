"""What the rows of `step_speed` say: medians per arm and shape, ratios of the same steps to A1, targets, table, figure.

Pure functions on what `jobs.start_in_turns` returned; an arm or a seed that is missing leaves a dash.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import COLORS, figure, spread, table, write_figure

PHASES = ("generate", "sync", "score", "old_logprobs", "update", "other")
#: (what, case, is it at least or at most, value)
TARGETS = (
    ("update", "short", ">=", 3.0),
    ("update", "long", ">=", 3.0),
    ("steps", "short", ">=", 2.0),
    ("steps", "long", ">=", 2.0),
    ("steps", "short, half idle", ">=", 3.0),
    ("rss", "short", "<=", 0.7),
    ("rss", "long", "<=", 0.7),
    ("drift", "short", "<=", 0.0),
    ("drift", "long", "<=", 0.0),
    ("sync_s", "short", "<=", 0.3),
)
NAMES = {
    "update": "update and old log-probs, A1 / B",
    "steps": "steps per hour, B / A1",
    "rss": "peak memory, B / A1",
    "drift": "largest change of a base weight, B",
    "sync_s": "weight sync of B, s",
}


def summary(rows: Sequence[dict[str, Any]], stock: str = "A1") -> dict[str, dict[str, dict[str, Any]]]:
    """case -> arm -> figures: medians over all counted steps, `ratios` to the same step (for memory: run) of the arm `stock`."""
    cases = list(dict.fromkeys(row["case"] for row in rows if row["case"]))
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for case in cases:
        mine = [row for row in rows if row["case"] == case]
        arms = sorted({row["arm"] for row in mine})
        found[case] = {arm: _figures([row for row in mine if row["arm"] == arm]) for arm in arms}
        for arm in arms:
            found[case][arm]["ratios"] = _ratios(found[case].get(stock, {}), found[case][arm])
    return found


def _figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    steps = [row for row in rows if row.get("counts")]
    ends = [row for row in rows if "peak_rss_mb" in row]
    figures: dict[str, Any] = {
        "num_steps": len(steps),
        "errors": sorted({row["error"] for row in rows if "error" in row}),
        "peak_rss_mb": {row["seed"]: row["peak_rss_mb"] for row in ends},
        "peak_gpu_mb": {row["seed"]: row["peak_gpu_mb"] for row in ends if "peak_gpu_mb" in row},
        "drift": max((row["drift"] for row in ends), default=None),
        "others": max((row["others"] for row in steps), default=None),
    }
    if not steps:
        return figures
    figures["phases"] = {p: statistics.median(row["phases"][p] for row in steps) for p in PHASES}
    names = [f"{row['seed']}/{row['step']}" for row in steps]
    updates = (row["phases"]["update"] + row["phases"]["old_logprobs"] for row in steps)
    figures["step_s"] = dict(zip(names, (row["step_s"] for row in steps), strict=True))
    figures["update_s"] = dict(zip(names, updates, strict=True))
    figures["steps_per_hour"] = 3600 / statistics.median(row["step_s"] for row in steps)
    figures["useful_share"] = statistics.fmean(_useful(row["metrics"]) for row in steps)
    figures["tokens"] = statistics.fmean(row["metrics"]["completions/mean_length"] for row in steps)
    return figures


def _useful(metrics: dict[str, Any]) -> float:
    """Share of completions in groups whose rewards differ."""
    return metrics.get("useful_group_share", 1.0 - metrics.get("frac_reward_zero_std", 0.0))


def _ratios(stock: dict[str, Any], mine: dict[str, Any]) -> dict[str, list[float]]:
    """One ratio per step (for memory: per seed) that both have; times as A1 / arm, memory as arm / A1."""

    def pairs(key: str) -> list[tuple[float, float]]:
        a, b = stock.get(key) or {}, mine.get(key) or {}
        return [(a[which], b[which]) for which in a if which in b]

    return {
        "steps": [a / b for a, b in pairs("step_s")],
        "update": [a / b for a, b in pairs("update_s") if b > 0],
        "rss": [b / a for a, b in pairs("peak_rss_mb")],
    }


def targets(found: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each target with what was measured (`None`: not measured) and whether it is met."""
    result = []
    for what, case, sign, value in TARGETS:
        ours = found.get(case, {}).get("B", {})
        if what == "drift":
            measured = ours.get("drift")
        elif what == "sync_s":
            measured = ours["phases"]["sync"] if "phases" in ours else None
        else:
            ratios = ours.get("ratios", {}).get(what, [])
            measured = statistics.median(ratios) if ratios else None
        met = None if measured is None else (measured >= value if sign == ">=" else measured <= value)
        result.append(
            {"what": NAMES[what], "case": case, "target": f"{sign} {value}", "measured": measured, "met": met}
        )
    return result


def markdown(tree: dict[str, Any], where: str) -> str:
    """Everything that was found, as tables."""
    rows, lines = [], []
    for case, arms in tree["summary"].items():
        for arm, of in arms.items():
            if of["errors"]:
                lines.append(f"- **{arm}**, {case}: {'; '.join(of['errors'])}")
            if "phases" not in of:
                continue
            rows.append(
                [
                    case,
                    arm,
                    spread(list(of["step_s"].values())),
                    *(f"{of['phases'][phase]:.2f}" for phase in PHASES),
                    f"{of['steps_per_hour']:.0f}",
                    f"{of['tokens']:.0f}",
                    f"{of['useful_share']:.0%}",
                    spread(list(of["peak_rss_mb"].values()), 0),
                    "–" if of["drift"] is None else f"{of['drift']:.1e}",
                    spread(of["ratios"]["steps"]),
                    spread(of["ratios"]["update"]),
                    spread(of["ratios"]["rss"]),
                    "–" if of["others"] is None else f"{of['others']:.0%}",
                ]
            )
    head = ["shape", "arm", "step, s", *(phase.replace("_", " ") for phase in PHASES), "steps/h", "tokens", "useful",
            "peak MB", "drift", "steps/h to A1", "update to A1", "memory to A1", "other processes"]  # fmt: skip
    aims = [
        [
            t["what"],
            t["case"],
            t["target"],
            "not measured" if t["measured"] is None else f"{t['measured']:.3g}",
            {None: "–", True: "met", False: "missed"}[t["met"]],
        ]
        for t in tree["targets"]
    ]
    return "\n\n".join(
        [
            f"{where}. {tree['plan']}. Micro-batches by the most tokens: {tree['batches']}.",
            table(head, rows),
            "Seconds are medians over steps [min–max]; ratios are of the same step of the same seed, which the arms ran "
            "right after each other, and their medians [min–max]; memory: over seeds. "
            "`other processes`: the share of the machine that was used by anything else, the worst step.",
            table(["target", "shape", "aim", "measured", ""], aims),
            "\n".join(lines) or "No arm failed.",
        ]
    )


def draw(found: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    """One stacked bar per arm and shape; nothing where nothing was measured."""
    shown = {case: {a: of for a, of in arms.items() if "phases" in of} for case, arms in found.items()}
    shown = {case: arms for case, arms in shown.items() if arms}
    if not shown:
        return
    made, axes = figure(len(shown))
    for ax, (case, arms) in zip(axes, shown.items(), strict=True):
        bottom = dict.fromkeys(arms, 0.0)
        for phase in PHASES:
            heights = [arms[arm]["phases"][phase] for arm in arms]
            ax.bar(list(arms), heights, 0.6, bottom=list(bottom.values()), color=COLORS[phase], label=phase)
            bottom = {arm: low + height for (arm, low), height in zip(bottom.items(), heights, strict=True)}
        ax.set_title(case, loc="left")
        ax.set_ylabel("seconds per step")
    axes[-1].legend([phase.replace("_", " ") for phase in PHASES])
    write_figure(made, path)
