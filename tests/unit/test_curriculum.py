"""The memory of pass rates: standings by hand, frequencies against p(1 - p), the same choices from the same state."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from reasoning_rl.curriculum import PassRates, Standing
from reasoning_rl.errors import DataError
from reasoning_rl.recipe import Curriculum


def memory(num_prompts: int = 6, **settings: float) -> PassRates:
    return PassRates(num_prompts, Curriculum.model_validate(settings), seed=3)


def test_pass_rate_forgets_by_halves() -> None:
    rates = memory()
    assert rates.record_of(0).pass_rate == 0.5
    rates.visit(0, passed=6, scored=8)
    assert rates.record_of(0).pass_rate == 7 / 10
    rates.visit(0, passed=1, scored=8)  # 1 + 6/2 of 8 + 8/2
    assert rates.record_of(0).pass_rate == 5 / 14
    rates.visit(1, passed=0, scored=0)  # a group that nobody could score says nothing
    assert rates.record_of(1).visits == 0


def test_solved_takes_two_visits() -> None:
    rates = memory(solved_above=0.9)
    rates.visit(0, 8, 8)
    assert rates.standing(0) is Standing.OPEN
    rates.visit(0, 8, 8)
    assert rates.standing(0) is Standing.SOLVED
    rates.visit(0, 4, 8)  # 4 + 6 of 8 + 6
    assert rates.standing(0) is Standing.OPEN


def test_hopeless_waits_so_many_batches() -> None:
    rates = memory(defer_batches=2)
    standings = []
    for batch in range(5):
        rates.begin()
        if batch == 1:
            rates.visit(0, 0, 8)
        standings.append(rates.standing(0))
    # Visited in the second batch; the two after it go without.
    assert standings == [Standing.OPEN, *[Standing.DEFERRED] * 3, Standing.OPEN]


def test_what_is_under_way_is_not_chosen_again() -> None:
    rates = memory(6)
    for _ in range(20):
        rates.begin([1, 4])
        assert sorted(rates.take(2) + rates.take(2)) == [0, 2, 3, 5]
    rates.begin()
    assert sorted(rates.take(6)) == [0, 1, 2, 3, 4, 5]


def test_order_of_last_resort() -> None:
    rates = memory(4, defer_batches=9)
    rates.begin()
    for _ in range(2):
        rates.visit(0, 8, 8)  # solved
    rates.visit(1, 0, 8)  # deferred
    rates.begin()
    first = rates.take(2)
    assert set(first) == {2, 3}
    assert rates.take(1) == [1] and rates.take(1) == [0]
    assert len(set(rates.take(4))) == 4  # nothing is left: repetitions
    rates.begin()
    assert set(rates.take(2)) == {2, 3}


def test_too_few_prompts() -> None:
    with pytest.raises(DataError, match="needs 7 prompts at once, the data set has 6"):
        memory(6).take(7)


def test_frequencies_are_those_of_the_variance() -> None:
    rates = memory(3)
    for prompt, passed in enumerate((4, 1, 8)):  # p = 1/2, 1/5, 9/10
        rates.visit(prompt, passed, 8)
    drawn: Counter[int] = Counter()
    for _ in range(6000):
        rates.begin()
        drawn[rates.take(1)[0]] += 1
    weights = [0.5 * 0.5, 0.2 * 0.8, 0.9 * 0.1]
    for prompt, weight in enumerate(weights):
        share = weight / sum(weights)
        assert drawn[prompt] / 6000 == pytest.approx(share, abs=4 * (share * (1 - share) / 6000) ** 0.5)


def test_the_same_state_gives_the_same_choices() -> None:
    rates = memory(50, defer_batches=1)
    for batch in range(4):
        rates.begin()
        for prompt in rates.take(5):
            rates.visit(prompt, (prompt + batch) % 3, 2)
    saved = json.loads(json.dumps(rates.state()))
    resumed = memory(50, defer_batches=1)
    resumed.load(saved)
    assert resumed.metrics() == rates.metrics()
    for _ in range(3):
        rates.begin()
        resumed.begin()
        assert resumed.take(5) == rates.take(5)
        assert resumed.take(3) == rates.take(3)
        resumed.visit(1, 1, 2)
        rates.visit(1, 1, 2)
    assert resumed.state() == rates.state() != saved


def test_state_of_another_data_set() -> None:
    with pytest.raises(DataError, match="made with 6 prompts, the data set has 7 now"):
        memory(7).load(memory(6).state())


def test_metrics() -> None:
    rates = memory(4)
    assert rates.metrics()["curriculum/pass_rate"] == 0.5
    rates.begin()
    rates.visit(0, 0, 2)
    for _ in range(2):
        rates.visit(1, 2, 2)
    assert rates.metrics() == {
        "curriculum/seen": 0.5, "curriculum/solved": 0.25, "curriculum/deferred": 0.25,
        "curriculum/pass_rate": pytest.approx((1 / 4 + 4 / 5) / 2),
    }  # fmt: skip
