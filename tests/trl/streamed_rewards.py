"""Rewards of the streaming tests, for grading processes to import."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from reasoning_rl.api import Sample


def by_text(sample: Sample) -> float:
    """A number that depends on the text alone, much the same as random."""
    return hashlib.sha256(sample.completion.text.encode()).digest()[0] / 255


def failing(sample: Sample) -> float:
    """Raises on about a quarter of the completions."""
    if hashlib.sha256(sample.completion.text.encode()).digest()[1] % 4 == 0:
        raise RuntimeError("no judge today")
    return 1.0


def endless(sample: Sample, *, started: str) -> float:
    """Says in a file that it has begun, and waits longer than any test."""
    Path(started).touch()
    time.sleep(600)
    return 0.0
