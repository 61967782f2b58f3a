"""Figures of a run: plain data in, matplotlib figures out, and how a figure becomes a file or inline SVG.

Reads no file and decides nothing about what is worth showing. Uses matplotlib's object API, so that no window, display
or global figure list is involved.
"""

from __future__ import annotations

import functools
import html
import io
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, ParamSpec, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from reasoning_rl.report.curves import Curve, PhaseTimes
from reasoning_rl.report.results import EvalResult

P = ParamSpec("P")
T = TypeVar("T")

#: Points in the trailing mean of a curve.
WINDOW = 10
#: Most bars in the figure of phases; more steps are averaged together.
MAX_BARS = 120
#: Above this many points a cloud of points is stored as an image inside the SVG.
MAX_VECTOR_POINTS = 2000

_INK, _MUTED, _RULE, _GRID = "#1e293b", "#64748b", "#cbd5e1", "#e8edf3"
_INDIGO, _TEAL, _SKY = "#4f46e5", "#0d9488", "#0284c7"
_PHASE_COLORS = {"sync": "#94a3b8", "rollout": _INDIGO, "reward": "#f59e0b", "logprobs": "#a78bfa",
                 "update": "#14b8a6", "other": "#dbe2ea"}  # fmt: skip
_SIZE = (5.4, 2.9)
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9, "text.color": _INK,
    "text.parse_math": False, "axes.edgecolor": _RULE, "axes.labelcolor": _MUTED, "axes.labelsize": 8.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "axes.axisbelow": True,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": _GRID, "grid.linewidth": 0.9, "xtick.color": _RULE,
    "ytick.color": _RULE, "xtick.labelcolor": _MUTED, "ytick.labelcolor": _MUTED, "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5, "ytick.major.size": 0, "xtick.major.size": 3, "legend.frameon": False,
    "legend.fontsize": 8.5, "figure.constrained_layout.use": True, "figure.facecolor": "white",
    "lines.solid_capstyle": "round",
}  # fmt: skip


def _styled(make: Callable[P, T]) -> Callable[P, T]:
    """Runs `make` under our style; matplotlib's settings are global, and a caller's must stay as they were."""

    @functools.wraps(make)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.rc_context(_STYLE):
            return make(*args, **kwargs)

    return call


@_styled
def accuracy_figure(evals: Sequence[EvalResult]) -> Figure:
    """One bar per eval stage with its 95 % interval."""
    figure, ax = _new()
    _draw_accuracy(ax, evals)
    return figure


@_styled
def trend_figure(curve: Curve, y_label: str, x_label: str, color: str = _INDIGO) -> Figure:
    """A metric over steps: raw points and their trailing mean."""
    figure, ax = _new()
    _draw_trend(ax, curve, color)
    _label_steps(ax, curve, y_label, x_label)
    return figure


@_styled
def share_figure(curve: Curve, y_label: str, x_label: str, color: str = _TEAL) -> Figure:
    """A share in [0, 1] over steps, on a percent axis that starts at 0."""
    figure = trend_figure(curve, y_label, x_label, color)
    top = max(y for segment in curve for y in segment.y)
    figure.axes[0].set_ylim(0, max(0.05, 1.08 * top))
    figure.axes[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


@_styled
def length_figure(mean: Curve, shortest: Curve, longest: Curve) -> Figure:
    """Completion length over steps, with a band from the shortest to the longest where both are known."""
    figure, ax = _new()
    for low, high in zip(shortest, longest, strict=True):
        ax.fill_between(low.x, low.y, high.y, color=_SKY, alpha=0.13, linewidth=0)
    _draw_trend(ax, mean, _SKY)
    ax.set_ylim(bottom=0)
    _label_steps(ax, mean, "tokens", "GRPO step")
    return figure


@_styled
def phases_figure(times: PhaseTimes) -> Figure:
    """Seconds per step, one stacked bar per step (or per run of steps, averaged, when there are many)."""
    figure, ax = _new()
    size = math.ceil(len(times.x) / MAX_BARS)
    starts = range(0, len(times.x), size)
    spacing = (times.x[-1] - times.x[0]) / (len(times.x) - 1) if len(times.x) > 1 else 1.0
    x = [fmean(times.x[start : start + size]) for start in starts]
    bottom = [0.0] * len(x)
    for phase, seconds in times.seconds.items():
        heights = [fmean(seconds[start : start + size]) for start in starts]
        ax.bar(x, heights, 0.84 * spacing * size, bottom, color=_PHASE_COLORS[phase], label=phase)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    ax.set_ylim(0, 1.18 * max(bottom))
    ax.set_ylabel("seconds per step")
    ax.set_xlabel("GRPO step" if size == 1 else f"GRPO step (mean of {size} steps per bar)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="upper center", ncols=6, handlelength=1.0, columnspacing=1.2)
    return figure


@_styled
def rates_figure(sampled: Curve, trained: Curve) -> Figure:
    """Completion tokens per second: sampled while the engine runs, trained while the policy is updated."""
    figure, ax = _new()
    for name, curve, color in (("sampled", sampled, _INDIGO), ("trained", trained, _PHASE_COLORS["update"])):
        _draw_trend(ax, curve, color)
        if curve:
            ax.plot([], [], color=color, label=name)
    ax.set_ylim(bottom=0)
    _label_steps(ax, sampled or trained, "tokens per second", "GRPO step")
    ax.legend(loc="upper center", ncols=2, handlelength=1.0)
    return figure


@_styled
def minutes_figure(minutes: Mapping[str, float]) -> Figure:
    """Minutes per stage, the first one on top."""
    figure, ax = _new((_SIZE[0], max(1.4, 0.6 + 0.38 * len(minutes))))
    bars = ax.barh(list(minutes), list(minutes.values()), 0.62, color="#a78bfa")
    ax.bar_label(bars, [f"{value:.1f}" for value in minutes.values()], padding=4, fontsize=8.5, color=_INK)
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.margins(x=0.1)
    ax.set_xlabel("minutes")
    return figure


@_styled
def overview_figure(evals: Sequence[EvalResult], reward: Curve, length: Curve) -> Figure:
    """The run at a glance: accuracy per eval stage at left, reward and completion length over GRPO steps at right."""
    figure = Figure(figsize=(10, 4.2))
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.25), wspace=0.07)
    ax = figure.add_subplot(grid[:, 0])
    ax.set_title("Accuracy, 95 % interval", loc="left", fontsize=10.5, fontweight="bold")
    if evals:
        _draw_accuracy(ax, evals)
    else:
        _say_nothing(ax, "no eval stage has finished yet")
    above, below = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
    for ax, title, curve, color in (
        (above, "Reward", reward, _INDIGO),
        (below, "Completion length, tokens", length, _SKY),
    ):
        ax.set_title(title, loc="left", fontsize=10.5, fontweight="bold", pad=16 if len(curve) > 1 else 6)
        if curve:
            _draw_trend(ax, curve, color)
            _label_steps(ax, curve, "", "GRPO step" if ax is below else "")
        else:
            _say_nothing(ax, "no GRPO step has been logged yet")
    return figure


@_styled
def save(figure: Figure, path: Path) -> None:
    """Writes PNG or SVG by the suffix; the same figure gives the same bytes. Text becomes outlines in SVG."""
    if path.suffix == ".png":
        figure.savefig(path, dpi=160)
        return
    with matplotlib.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "path"}):
        figure.savefig(path, metadata={"Date": None})


@_styled
def inline_svg(figure: Figure, title: str) -> str:
    """An `<svg>` element to put into HTML: scales with its container, text stays text, ids are unique per title."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": title, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    head, _, body = buffer.getvalue().partition("<svg")[2].partition(">")
    view = re.search(r'viewBox="[^"]*"', head)
    assert view, "matplotlib writes a viewBox"
    # What would act on the whole page goes: the style rule for `*`, and group ids, which repeat from figure to figure.
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    return f'<svg {view[0]} role="img" aria-label="{html.escape(title)}">{body.strip()}'


def trailing_mean(values: Sequence[float], window: int = WINDOW) -> list[float]:
    """Mean of each value and the up to `window - 1` before it."""
    return [fmean(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)]


def _new(size: tuple[float, float] = _SIZE) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size)
    return figure, figure.subplots()


def _draw_accuracy(ax: Axes, evals: Sequence[EvalResult]) -> None:
    for x, result in enumerate(evals):
        ax.bar(x, result.accuracy, 0.56, color="#6366f1")
        top = result.accuracy
        if result.interval:
            low, high = result.interval
            ax.vlines(x, low, high, color=_INK, linewidth=1.3)
            ax.hlines((low, high), x - 0.05, x + 0.05, color=_INK, linewidth=1.3)
            top = max(top, high)
        ax.annotate(f"{result.accuracy:.2f}", (x, top), (0, 4), textcoords="offset points", ha="center",
                    fontweight="bold")  # fmt: skip
    is_crowded = sum(len(result.stage) for result in evals) > 48
    ax.set_xticks(range(len(evals)), [result.stage for result in evals], rotation=25 if is_crowded else 0,
                  ha="right" if is_crowded else "center")  # fmt: skip
    ax.set_xlim(-0.6, max(len(evals), 2) - 0.4)
    ax.set_ylim(0, 1.1)
    ax.set_yticks((0, 0.25, 0.5, 0.75, 1))


def _draw_trend(ax: Axes, curve: Curve, color: str) -> None:
    for segment in curve:
        is_cloud = len(segment.x) > MAX_VECTOR_POINTS
        ax.plot(segment.x, segment.y, ".", color=color, alpha=0.4, markersize=6, markeredgewidth=0, rasterized=is_cloud)
        ax.plot(segment.x, trailing_mean(segment.y), color=color, linewidth=1.9)


def _label_steps(ax: Axes, curve: Curve, y_label: str, x_label: str) -> None:
    """Axis labels, and a thin line with names wherever one stage follows another."""
    ax.set_ylabel(y_label)
    ax.set_xlabel(x_label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for before, after in itertools.pairwise(curve):
        ax.axvline((before.x[-1] + after.x[0]) / 2, color=_MUTED, linewidth=0.7, linestyle=(0, (4, 3)))
    for segment in curve if len(curve) > 1 else ():
        ax.text(segment.x[0], 1.0, segment.stage, transform=ax.get_xaxis_transform(), fontsize=7.5, color=_MUTED,
                va="bottom")  # fmt: skip


def _say_nothing(ax: Axes, sentence: str) -> None:
    ax.set_axis_off()
    ax.text(0.5, 0.5, sentence, ha="center", va="center", color=_MUTED, transform=ax.transAxes)
