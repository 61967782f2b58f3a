"""Rows of `metrics.jsonl` to curves: points over a running step axis, one segment per stage.

Smooths and draws nothing; `figures` does. Knows TRL's metric names only where phases are split.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

#: The parts of a GRPO step, in the order in which they run.
PHASES = ("sync", "rollout", "reward", "logprobs", "update")


@dataclass(frozen=True, slots=True)
class StageSteps:
    """The logged steps of one stage. `x` counts on over the stages of the same kind, so that none overlap."""

    stage: str
    x: tuple[int, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """The points of one metric in one stage; `x` and `y` have the same length, at least 1, all finite."""

    stage: str
    x: tuple[int, ...]
    y: tuple[float, ...]


Curve = Sequence[Segment]


@dataclass(frozen=True, slots=True)
class PhaseTimes:
    """Seconds per phase at each `x`; every list is as long as `x`."""

    x: tuple[int, ...]
    seconds: Mapping[str, tuple[float, ...]]


def number(value: Any) -> float | None:
    """A finite number, or `None` for anything else (missing, NaN, infinite, text)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def steps_of(rows: Iterable[Row], kind: str) -> list[StageSteps]:
    """Rows of the stages of one kind. Rows of one step are merged; after a resumption the later value holds."""
    stages: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows:
        step = number(row.get("step"))
        if row.get("kind") == kind and step is not None:
            stages.setdefault(str(row.get("stage")), {}).setdefault(int(step), {}).update(row)
    result: list[StageSteps] = []
    offset = 0
    for stage, by_step in stages.items():
        ordered = sorted(by_step.items())
        result.append(StageSteps(stage, tuple(offset + step for step, _ in ordered), tuple(row for _, row in ordered)))
        offset += ordered[-1][0]
    return result


def curve(stages: Sequence[StageSteps], key: str) -> Curve:
    """One metric; steps without a finite value are left out, and so are stages without any."""
    return curves(stages, (key,))[0]


def curves(stages: Sequence[StageSteps], keys: Sequence[str]) -> list[Curve]:
    """Several metrics at the steps where all of them have a finite value, so that they share their `x`."""
    result: list[list[Segment]] = [[] for _ in keys]
    for stage in stages:
        points = [(x, [number(row.get(key)) for key in keys]) for x, row in zip(stage.x, stage.rows, strict=True)]
        complete = [(x, [v for v in values if v is not None]) for x, values in points if None not in values]
        if not complete:
            continue
        x = tuple(x for x, _ in complete)
        for index, segments in enumerate(result):
            segments.append(Segment(stage.stage, x, tuple(values[index] for _, values in complete)))
    return [*result]


def phase_times(stages: Sequence[StageSteps]) -> PhaseTimes:
    """Seconds per phase and step from `time/<phase>_s`; what `time/step_s` holds beyond them is `other`.

    Steps without any of these keys are left out; phases that took no time anywhere too.
    """
    x: list[int] = []
    seconds: dict[str, list[float]] = {phase: [] for phase in (*PHASES, "other")}
    for stage in stages:
        for step, row in zip(stage.x, stage.rows, strict=True):
            found = {phase: number(row.get(f"time/{phase}_s")) for phase in PHASES}
            whole = number(row.get("time/step_s"))
            if whole is None and all(value is None for value in found.values()):
                continue
            x.append(step)
            parts = {phase: value or 0.0 for phase, value in found.items()}
            parts["other"] = max(0.0, (whole or 0.0) - sum(parts.values()))
            for phase, value in parts.items():
                seconds[phase].append(value)
    return PhaseTimes(tuple(x), {phase: tuple(values) for phase, values in seconds.items() if any(values)})
