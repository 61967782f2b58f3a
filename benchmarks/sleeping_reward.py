"""A reward that waits as a judge would, for `hidden_reward_time.py`."""

from __future__ import annotations

import time
from dataclasses import dataclass

from reasoning_rl.api import Sample, Score


@dataclass(frozen=True, slots=True)
class Sleep:
    """Sleeps `seconds` for every completion, equal ones included, and scores 1."""

    seconds: float = 0.2

    def cache_key(self, sample: Sample) -> None:
        """Nothing is shared between equal completions."""
        return None

    def __call__(self, sample: Sample) -> Score:
        time.sleep(self.seconds)
        return Score.correct()
