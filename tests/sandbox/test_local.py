"""What a sandbox promises beyond single programs: limits, and plain data in calls."""

from __future__ import annotations

import os
from typing import Any

import pytest

from reasoning_rl.sandbox import Call, Limits, LocalSandbox, Outcome, shown
from reasoning_rl.sandbox.types import Sandbox

ADD = "def add(a, b): return a + b\n"


def test_is_a_sandbox(sandbox: LocalSandbox) -> None:
    assert isinstance(sandbox, Sandbox)


# Limits.


def test_cpu_time_decides(sandbox: LocalSandbox) -> None:
    end = sandbox.run("while True: pass", limits=Limits(cpu_s=0.3))
    assert end.outcome is Outcome.TIME_LIMIT
    assert 0.3 <= end.cpu_s < 0.6


def test_waiting_is_not_computing_but_ends(sandbox: LocalSandbox) -> None:
    assert sandbox.run("import time; time.sleep(0.4)", limits=Limits(cpu_s=0.2, wall_s=5)).outcome is Outcome.EXITED
    assert sandbox.run("import time; time.sleep(60)", limits=Limits(wall_s=0.3)).outcome is Outcome.TIME_LIMIT


@pytest.mark.parametrize(("size", "outcome"), [(10, Outcome.EXITED), (11, Outcome.OUTPUT_LIMIT)])
def test_output_limit_is_exact(sandbox: LocalSandbox, size: int, outcome: Outcome) -> None:
    end = sandbox.run(f"import os; os.write(1, b'x' * {size - 3}); os.write(2, b'xxx')", limits=Limits(output_bytes=10))
    assert end.outcome is outcome
    assert len(end.stdout) + len(end.stderr) == 10


def test_large_input_and_output(sandbox: LocalSandbox) -> None:
    data = os.urandom(3 << 20)
    end = sandbox.run("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())", data)
    assert (end.outcome, end.stdout) == (Outcome.EXITED, data)
    assert sandbox.run("print(1)", b"x" * (5 << 20)).stdout == b"1\n"


def test_memory_limit(sandbox: LocalSandbox) -> None:
    assert sandbox.run("x = bytearray(48 << 20)", limits=Limits(memory_mb=64)).outcome is Outcome.EXITED
    assert sandbox.run("x = bytearray(80 << 20)", limits=Limits(memory_mb=64)).outcome is Outcome.MEMORY_LIMIT


def test_number_of_threads(sandbox: LocalSandbox) -> None:
    program = """
import threading
stop, n = threading.Event(), 1
try:
    while n < 50:
        threading.Thread(target=stop.wait).start()
        n += 1
except RuntimeError:
    pass
stop.set()
print(n)
"""
    assert sandbox.run(program, limits=Limits(processes=5)).stdout == b"5\n"


def test_scratch(sandbox: LocalSandbox) -> None:
    assert sandbox.run("open('x', 'w').write('x')", limits=Limits(scratch_mb=0)).outcome is Outcome.RUNTIME_ERROR
    with pytest.raises(ValueError, match="scratch_mb"):
        sandbox.run("", limits=Limits(scratch_mb=17))


@pytest.mark.parametrize("limit", ["cpu_s", "wall_s", "memory_mb", "processes"])
def test_limits_are_checked(limit: str) -> None:
    with pytest.raises(ValueError, match=limit):
        Limits(**{limit: 0})


def test_each_program_draws_its_own_random_numbers(sandbox: LocalSandbox) -> None:
    draws = {sandbox.run("import random\nprint(random.random())", "").stdout for _ in range(5)}
    assert len(draws) == 5


def test_same_order_of_sets_every_time(sandbox: LocalSandbox) -> None:
    assert len({sandbox.run("print(list({'a', 'b', 'c', 'd', 'e'}))").stdout for _ in range(5)}) == 1


# Calls.

VALUES = [
    None, True, 0, -1, 255, 256, -(1 << 200), 10**5000, 0.5, float("inf"), -0.0, 1 + 2j, "", "ä\ud800\0", b"\0\xff", [], [[1], [2]], (),
    (1, "a"), set(), {1, (2, 3)}, frozenset({4}), {}, {1: "a", "b": [2], (3,): None},
]  # fmt: skip


def test_plain_data_goes_over_and_comes_back(sandbox: LocalSandbox) -> None:
    result = sandbox.calls("def same(x): return x", [Call("same", (value,)) for value in VALUES])
    assert result.end.outcome is Outcome.EXITED
    assert [(type(a.value), a.value) for a in result.answers] == [(type(value), value) for value in VALUES]
    assert str(result.answers[VALUES.index(-0.0)].value) in ("-0.0", "0")


def test_ways_to_call(sandbox: LocalSandbox) -> None:
    program = """
class Solution:
    def __init__(self): self.n = 0
    def count(self): self.n += 1; return self.n
def keys(**kwargs): return kwargs
def sort(x): x.sort()
def squares(n): return (i * i for i in range(n))
def fail(): raise KeyError('no')
class Mine(ValueError): pass
def mine(): raise Mine('own')
"""
    calls = [
        Call("Solution.count"),
        Call("Solution.count"),
        Call("keys", kwargs={"a": 1}),
        Call("sort", ([3, 1, 2],), write_back=True),
        Call("squares", (4,), as_list=True),
        Call("squares", (4,)),
        Call("fail"),
        Call("mine"),
        Call("missing"),
    ]
    answers = sandbox.calls(program, calls).answers
    assert [answer.value for answer in answers[:5]] == [1, 1, {"a": 1}, None, [0, 1, 4, 9]]
    assert answers[3].args == ([1, 2, 3],)
    raised = [answer.raised for answer in answers[5:]]
    assert [error and error.type_name for error in raised] == ["BadType", "KeyError", "ValueError", "NameError"]
    assert raised[2] is not None and raised[2].message == "own"


def test_what_is_not_plain_is_refused_here(sandbox: LocalSandbox) -> None:
    deep: list[object] = []
    for _ in range(300):
        deep = [deep]
    odd: Any = object()
    with pytest.raises(TypeError, match="not plain"):
        sandbox.calls(ADD, [Call("add", (odd, 1))])
    with pytest.raises(ValueError, match="deep"):
        sandbox.calls(ADD, [Call("add", (deep, 1))])


def test_answers_before_the_end_are_kept(sandbox: LocalSandbox) -> None:
    result = sandbox.calls(
        "def f(n):\n    if n: raise SystemExit(0)\n    return 7", [Call("f", (0,)), Call("f", (1,)), Call("f", (0,))]
    )
    assert [answer.value for answer in result.answers] == [7]
    assert result.end.outcome is Outcome.RUNTIME_ERROR


def test_values_that_cannot_be_shown_are() -> None:
    assert shown(1 << 100_000) == "int of 100001 bits"
    assert shown([1 << 100_000]) == "list that cannot be shown (ValueError)"
    assert shown("x" * 500, 10) == "'xxxxxxxx…"
