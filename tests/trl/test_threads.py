"""A thread goes when another process takes its core, and comes back when that one has gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from reasoning_rl.trl_bridge import threads
from reasoning_rl.trl_bridge.threads import IdleThreads, busy_s, idle_threads, set_num_threads


class Machine:
    """A clock, and what others have used by then."""

    def __init__(self) -> None:
        self.now = self.used = 0.0

    def threads(self, most: int, cores: int) -> IdleThreads:
        return IdleThreads(most, cores, lambda: self.used, lambda: self.now)

    def go_on(self, found: IdleThreads, others: float, seconds: float = 1.0) -> int:
        self.now, self.used = self.now + seconds, self.used + others * seconds
        found.look()
        return found.num_threads


@pytest.fixture(autouse=True)
def number(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is set, in place of setting it."""
    numbers: list[int] = []
    monkeypatch.setattr(threads, "set_num_threads", numbers.append)
    return numbers


@pytest.mark.parametrize(
    ("most", "cores", "others", "expected"),
    [
        (2, 2, [0.0, 0.1, 0.4], [2, 2, 2]),
        (2, 2, [0.66, 1.0, 1.0, 0.3, 0.2], [1, 1, 1, 1, 2]),
        (2, 2, [2.0, 0.0], [1, 2]),
        (4, 4, [0.4, 0.6, 2.1, 3.9, 0.0], [4, 3, 2, 1, 4]),
        (2, 4, [1.0, 2.0, 2.6, 2.2], [2, 2, 1, 2]),
    ],
    ids=["alone", "one busy process", "two of them", "four cores", "two processes of a run on four cores"],
)
def test_threads_follow_the_idle_cores(most: int, cores: int, others: list[float], expected: list[int]) -> None:
    machine = Machine()
    found = machine.threads(most, cores)
    assert [machine.go_on(found, other) for other in others] == expected


def test_what_is_short_is_not_looked_at(number: list[int]) -> None:
    machine = Machine()
    found = machine.threads(2, 2)
    assert [machine.go_on(found, 1.0, 0.2) for _ in range(3)] == [2, 2, 1]
    assert number == [1]


def test_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    machine = Machine()
    found = machine.threads(2, 2)
    for others in (1.0, 0.0, 1.0):
        machine.go_on(found, others)
    (record,) = caplog.records
    assert record.getMessage().startswith("other processes use 1.0 cores: computing with 1 of 2 threads")


def test_only_own_cores_count(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text(
        "cpu  700 0 0 0 0 0 0 0\ncpu0 100 20 30 999 999 4 6 0\ncpu1 200 0 0 5 0 0 0 0\ncpu12 40 0 0 5 0 0 0 0\nintr 5\n"
    )
    assert busy_s({0, 12}, stat) == (160 + 40) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    ("variables", "decides"),
    [
        ({"OMP_NUM_THREADS": "2"}, True),
        ({"OMP_NUM_THREADS": "1"}, False),
        ({"OMP_NUM_THREADS": "2", "REASONING_RL_THREADS": "2"}, False),
    ],
)
def test_the_user_decides(variables: dict[str, str], decides: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "REASONING_RL_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (idle_threads() is not None) == (decides and not torch.accelerator.is_available())


def test_the_number_is_really_set() -> None:
    before = torch.get_num_threads()
    try:
        set_num_threads(3)
        assert torch.get_num_threads() == 3
    finally:
        set_num_threads(before)
