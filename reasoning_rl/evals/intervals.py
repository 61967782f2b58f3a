"""Accuracy of several samples per problem, with an interval that knows that they belong together.

Samples of one problem are alike, so they say less than as many problems would. The interval is Wilson's on the
effective number of samples n / (1 + (k - 1)·ICC), the design effect of Kish (1965) with the one-way ANOVA estimate of
the intra-problem correlation; Dean & Pagano (2015) find this interval the best for clustered proportions near 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A share of right samples. `low` and `high` bound the 95 % interval, in [0, 1]."""

    value: float
    low: float
    high: float
    num_problems: int
    num_samples: int


def accuracy(problems: Sequence[Sequence[float]], level: float = 0.95) -> Accuracy:
    """Accuracy over problems, each a sequence of scores in [0, 1], one per sample.

    Raises:
        ValueError: there is no problem, or one without samples.
    """
    if not problems or not all(problems):
        raise ValueError("expected at least one problem, each with at least one sample")
    scores = [score for problem in problems for score in problem]
    mean = fmean(scores)
    low, high = wilson(mean, len(scores) / design_effect(problems), level)
    return Accuracy(mean, low, high, len(problems), len(scores))


def design_effect(problems: Sequence[Sequence[float]]) -> float:
    """1 + (k - 1)·ICC, between 1 (samples of a problem are independent) and k (they are all alike).

    Where the scores do not vary at all, the correlation cannot be estimated and the cautious k is returned.
    """
    num_samples = sum(map(len, problems))
    per_problem = num_samples / len(problems)
    if per_problem <= 1 or len(problems) < 2:
        return 1.0
    mean = sum(map(sum, problems)) / num_samples
    between = sum(len(p) * (fmean(p) - mean) ** 2 for p in problems) / (len(problems) - 1)
    within = sum((score - fmean(p)) ** 2 for p in problems for score in p) / (num_samples - len(problems))
    if between + within == 0:
        return per_problem
    correlation = (between - within) / (between + (per_problem - 1) * within)
    return 1 + (per_problem - 1) * min(1.0, max(0.0, correlation))


def wilson(mean: float, num: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion `mean` out of `num` (possibly fractional) trials."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = mean + z * z / (2 * num)
    spread = z * math.sqrt(mean * (1 - mean) / num + z * z / (4 * num * num))
    scale = 1 + z * z / num
    # At 0 and 1 rounding could leave the mean itself just outside.
    return max(0.0, min(mean, (centre - spread) / scale)), min(1.0, max(mean, (centre + spread) / scale))
