"""A reward that a random policy can earn: longer is better."""

from __future__ import annotations

from reasoning_rl.api import Sample


def length(sample: Sample, *, most: int = 100) -> float:
    """Characters of the completion as a share of `most`."""
    return min(1.0, len(sample.completion.text) / most)
