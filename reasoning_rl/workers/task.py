"""What the host hands to the dispatcher and gets back: rewards, limits, tasks, scores, counters.

Plain data; how tasks are dealt out is `dispatch`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reasoning_rl.api import Score
from reasoning_rl.errors import ScoringError


@dataclass(frozen=True, slots=True)
class RewardSpec:
    """How a grading process makes a reward, and how long it may take for one sample."""

    use: str
    options: Mapping[str, Any]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of a pool of grading processes.

    `memory_mb` is address space on top of the imports. A process is replaced after `max_tasks` samples or when its
    resident memory has grown by `max_growth_mb`. `submit` blocks while `max_pending` samples or `max_pending_mb` of them
    are unfinished.
    """

    num_workers: int
    memory_mb: int = 2048
    max_tasks: int = 5000
    max_growth_mb: int = 300
    max_pending: int = 4096
    max_pending_mb: int = 256
    start_timeout_s: float = 120.0


@dataclass(slots=True)
class PoolStats:
    """What has happened since the start. `busy_s` is the sum over all processes of the seconds spent on scores."""

    tasks: int = 0
    scores: int = 0
    kills: int = 0
    crashes: int = 0
    out_of_memory: int = 0
    starts: int = 0
    recycled: int = 0
    busy_s: float = 0.0
    start_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Graded:
    """A score, the seconds it took, and about how many bytes it occupies."""

    score: Score
    seconds: float
    num_bytes: int = 0


@dataclass(slots=True, eq=False)
class Task:
    """One packed sample and the positions of the rewards still to be asked.

    `on_score` gets the position and the result of each, `on_failure` the error when grading has broken down; both run in
    the dispatcher's thread and must be quick.
    """

    sample: bytes
    rewards: deque[int]
    on_score: Callable[[int, Graded], None]
    on_failure: Callable[[ScoringError], None]
    is_probe: bool = False
    num_crashes: int = 0
    ran_out_of_memory: bool = False
    number: int = 0
    reward_started_at: float = 0.0
    deadline: float = 0.0
