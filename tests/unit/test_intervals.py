"""Wilson's interval against published values, the design effect by hand, and coverage on clustered samples."""

from __future__ import annotations

import random

import pytest

from reasoning_rl.evals.intervals import Accuracy, accuracy, design_effect, wilson


@pytest.mark.parametrize(
    ("successes", "num", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3 (score without continuity correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(successes: int, num: int, low: float, high: float) -> None:
    assert wilson(successes / num, num) == pytest.approx((low, high), abs=5e-5)


def test_wilson_by_hand() -> None:
    """1 of 2 with z² = 4: centre 1/2, half width 2·sqrt(1/8 + 4/16)/3 = sqrt(3/8)·2/3 = 0.40825."""
    level = 0.954499736103642  # two standard deviations
    assert wilson(0.5, 2, level) == pytest.approx((0.5 - 0.408248, 0.5 + 0.408248), abs=1e-6)


@pytest.mark.parametrize("num", [1, 4, 1000])
@pytest.mark.parametrize("mean", [0.0, 0.5, 1.0])
def test_wilson_stays_within_bounds_and_mirrors(mean: float, num: int) -> None:
    low, high = wilson(mean, num)
    assert 0 <= low <= mean <= high <= 1
    assert low < high
    assert wilson(1 - mean, num) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(
    ("problems", "expected"),
    [
        ([[1], [0], [1]], 1.0),
        ([[1, 0, 1, 0]], 1.0),
        ([[1, 1], [0, 0], [1, 1]], 2.0),
        ([[1, 1, 1, 1], [0, 0, 0, 0]], 4.0),
        ([[1, 0], [1, 0], [0, 1]], 1.0),
        ([[0, 0, 0], [0, 0, 0]], 3.0),
        ([[1, 1], [1, 1]], 2.0),
        # mean 1/2; between = 2·(1/4 + 0 + 1/4)/2 = 1/2, within = (1/4 + 1/4)/3 = 1/6;
        # correlation (1/2 - 1/6)/(1/2 + 1/6) = 1/2, effect 1 + 1·1/2.
        ([[1, 1], [1, 0], [0, 0]], 1.5),
    ],
    ids=["one sample each", "one problem", "all alike", "all alike, 4", "opposed", "all wrong", "all right", "by hand"],
)
def test_design_effect(problems: list[list[float]], expected: float) -> None:
    assert design_effect(problems) == pytest.approx(expected)


def test_design_effect_is_between_1_and_the_samples_per_problem() -> None:
    rng = random.Random(0)
    effects = []
    for _ in range(200):
        k = rng.randint(1, 6)
        problems = [[float(rng.random() < 0.5) for _ in range(k)] for _ in range(rng.randint(1, 8))]
        effects.append(design_effect(problems))
        assert 1.0 <= effects[-1] <= max(1.0, k)
    assert len(set(effects)) > 20


def test_accuracy_by_hand() -> None:
    """Effect 1.5 (above), so 3 of 6 samples count as 2 of 4."""
    low, high = wilson(0.5, 4)
    assert accuracy([[1, 1], [1, 0], [0, 0]]) == Accuracy(0.5, low, high, 3, 6)


@pytest.mark.parametrize(("value", "bound"), [(0.0, "low"), (1.0, "high")])
def test_no_success_and_no_failure(value: float, bound: str) -> None:
    """Samples that are all alike count as one per problem: the interval is Wilson's of 20 problems, not of 80 samples."""
    result = accuracy([[value] * 4] * 20)
    assert (result.value, getattr(result, bound)) == (value, value)
    assert result.high - result.low == pytest.approx(0.1611, abs=1e-4)


def test_scores_between_0_and_1() -> None:
    result = accuracy([[0.5, 0.25], [0.75, 0.5]])
    assert result.value == 0.5
    assert 0 < result.low < 0.5 < result.high < 1


@pytest.mark.parametrize("problems", [[], [[]], [[1.0], []]])
def test_nothing_to_count(problems: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="at least one problem, each with at least one sample"):
        accuracy(problems)


@pytest.mark.parametrize("concentration", [0.5, 4.0], ids=["alike", "nearly independent"])
@pytest.mark.parametrize("p", [0.03, 0.1, 0.5, 0.8])
def test_coverage_on_clustered_samples(p: float, concentration: float) -> None:
    """Problems differ in difficulty (beta-distributed): the interval still covers the true accuracy 95 times in 100.

    The naive interval, which takes the samples for independent, is far off where the samples of a problem are alike.
    256 problems of 4 samples, as in the quickstart; with 100 problems and 3 in 100 right, coverage falls to 0.92, since
    the few right samples say little about their correlation.
    """
    rng = random.Random(f"{p} {concentration}")
    trials, covered, naively_covered = 800, 0, 0
    for _ in range(trials):
        problems = []
        for _ in range(256):
            difficulty = rng.betavariate(p * concentration, (1 - p) * concentration)
            problems.append([float(rng.random() < difficulty) for _ in range(4)])
        result = accuracy(problems)
        covered += result.low <= p <= result.high
        low, high = wilson(result.value, 1024)
        naively_covered += low <= p <= high
    assert covered / trials >= 0.93
    if concentration < 1:
        assert naively_covered / trials < 0.9
