"""A reward that a random policy can earn, and that says which process of the run graded a completion."""

from __future__ import annotations

import hashlib
import os

from reasoning_rl.api import Sample, Score, Verdict


def by_text(sample: Sample) -> Score:
    """A number that depends on the text alone, much the same as random."""
    value = hashlib.sha256(sample.completion.text.encode()).digest()[0] / 255
    return Score(value, Verdict.PARTIAL, {"rank": int(os.environ.get("RANK", "0"))})
