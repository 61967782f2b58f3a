"""Which completions the report shows, and where their thinking is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reasoning_rl.recipe import Thinking
from reasoning_rl.report.samples import extremes, mark_thinking, wrong_rows


def test_extremes_take_the_later_among_equals_from_the_last_steps() -> None:
    rows = [{"step": 0, "total": 99.0, "id": "too old"}]
    rows += [
        {"step": step, "total": float(index % 2), "id": f"{step}.{index}"}
        for step in range(1, 11)
        for index in range(8)
    ]
    highest, lowest = extremes(rows)
    assert [row["id"] for row in highest] == ["10.7", "10.5", "10.3"]
    assert [row["id"] for row in lowest] == ["10.6", "10.4", "10.2"]


@pytest.mark.parametrize(("num_rows", "num_highest", "num_lowest"), [(0, 0, 0), (1, 1, 0), (4, 3, 1), (9, 3, 3)])
def test_no_completion_is_shown_twice(num_rows: int, num_highest: int, num_lowest: int) -> None:
    highest, lowest = extremes({"step": 1, "total": 0.0, "id": index} for index in range(num_rows))
    assert (len(highest), len(lowest)) == (num_highest, num_lowest)
    assert len({row["id"] for row in [*highest, *lowest]}) == num_highest + num_lowest


def test_extremes_hold_few_rows_at_a_time() -> None:
    class Tracked(dict[str, Any]):
        alive = most = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            Tracked.alive += 1
            Tracked.most = max(Tracked.most, Tracked.alive)

        def __del__(self) -> None:
            Tracked.alive -= 1

    highest, _ = extremes(Tracked(step=index // 50, total=float(index * 7919 % 1000)) for index in range(5000))
    assert len(highest) == 3
    assert Tracked.most <= 70  # 6 rows of each of 10 steps, and the few in hand


def test_wrong_rows_stop_reading_and_name_each_problem_once() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for row_id, value in [("a", 0.0), ("a", 0.0), ("b", 1.0), ("c", None), ("d", 0.5), ("e", 0.0)]:
            yield {"row_id": row_id, "scores": {"exact": {"value": value}}}
        raise AssertionError("read on after enough were found")

    assert [row["row_id"] for row in wrong_rows(rows(), "exact")] == ["a", "d", "e"]


@pytest.mark.parametrize(
    ("text", "opened", "parts"),
    [
        pytest.param("a<think>b</think>c", False, ("a", "<think>b</think>", "c"), id="block"),
        pytest.param("no tags", False, ("no tags", "", ""), id="none"),
        pytest.param("<think>never", False, ("", "<think>never", ""), id="unclosed"),
        pytest.param("b</think>c", True, ("", "b</think>", "c"), id="opened by the template"),
    ],
)
def test_mark_thinking(text: str, opened: bool, parts: tuple[str, str, str]) -> None:
    assert mark_thinking(text, Thinking(opened_by_template=opened)) == parts
