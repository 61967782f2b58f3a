"""What a sandbox promises beyond single programs: limits, plain data, test code, lifetime, retries, load."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.errors import SandboxError
from reasoning_rl.sandbox import Call, Limits, LocalSandbox, Outcome, TestCode, shown
from reasoning_rl.sandbox.tiers import try_tiers
from reasoning_rl.sandbox.types import Sandbox
from reasoning_rl.workers.proc import descendants, rss_mb

ADD = "def add(a, b): return a + b\n"
SUITE = TestCode("assert", "assert add(1, 2) == 3\nassert add(5, 7) == 12", "add")


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


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


# Test code.


def test_partial_credit(sandbox: LocalSandbox) -> None:
    result = sandbox.grade("def add(a, b): return 3", SUITE)
    assert (result.num_tests, result.num_passed, result.accepted) == (2, 1, False)
    assert [failure.test for failure in result.failures] == ["test 2"]


@pytest.mark.parametrize(
    ("tests", "is_bad"),
    [
        (TestCode("assert", "assert add(1, 2) == 3", "add"), False),
        (TestCode("assert", "for i in range(3):\n    assert add(i, i) == 2 * i", "add"), False),
        (
            TestCode("assert", "try:\n    add('a', 1)\nexcept TypeError:\n    pass\nelse:\n    assert False", "add"),
            False,
        ),
        (TestCode("assert", "import math\nassert math.isclose(add(0.1, 0.2), 0.3)", "add"), False),
        (TestCode("check", "def check(f):\n    assert f(1, b=2) == 3", "add"), False),
        (TestCode("assert", "assert 1 == 2", "add"), True),
        (TestCode("assert", "x = ", "add"), True),
        (TestCode("assert", "", "add"), True),
        (TestCode("assert", "raise ValueError\nassert add(1, 2) == 3", "add"), True),
        (TestCode("assert", "import sys; sys.exit(0)\nassert add(1, 2) == 3", "add"), True),
        (TestCode("assert", "import os; os._exit(0)", "add"), True),
        (TestCode("assert", "while True: pass", "add"), True),
        (TestCode("check", "def check(f):\n    pass", "add"), True),
        (TestCode("check", "x = 1", "add"), True),
        (TestCode("unittest", "x = 1", "add"), True),
    ],
)
def test_bad_tests_are_our_fault(sandbox: LocalSandbox, tests: TestCode, is_bad: bool) -> None:
    result = sandbox.grade(ADD, tests, Limits(cpu_s=0.3))
    assert result.accepted is not is_bad
    assert result.end.outcome is (Outcome.BAD_TESTS if is_bad else Outcome.EXITED), result


def test_a_skipped_test_did_not_pass(sandbox: LocalSandbox) -> None:
    code = "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(add(1, 2), 3)\n"
    code += "    def test_b(self): self.skipTest('no')\n"
    result = sandbox.grade(ADD, TestCode("unittest", code, "add"))
    assert (result.num_tests, result.num_passed, result.accepted) == (2, 1, False)


def test_the_program_sees_no_tests(sandbox: LocalSandbox) -> None:
    program = """
import gc, sys
def add(a, b):
    text = repr([o for o in gc.get_objects() if type(o) in (dict, list, tuple)])
    frame, names = sys._getframe(), []
    while frame:
        names += list(map(repr, frame.f_locals.values())); frame = frame.f_back
    return '_'.join(['marker', 'of_the', 'test']) in text + ''.join(names)
"""
    assert sandbox.grade(
        program, TestCode("assert", "marker = 'marker_of_the_' 'test'\nassert add(1, 2) is False", "add")
    ).accepted


def test_objects_stay_with_the_program(sandbox: LocalSandbox) -> None:
    program = """
class Cache:
    limit = 2
    def __init__(self, size): self.size, self.items = size, {}
    def put(self, key, value): self.items[key] = value; return self
    def get(self, key): return self.items.get(key, -1)
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __eq__(self, other): return True
"""
    tests = """
c = Cache(2)
c.put(1, 'a').put(2, 'b')
assert c.get(1) == 'a'
assert c.get(3) == -1
assert len(c) == 2
assert list(c) == [1, 2]
assert c.size == 2
assert not c == 5
"""
    result = sandbox.grade(program, TestCode("assert", tests, "Cache"))
    assert result.accepted, result


# Lifetime.


def test_close_and_fork() -> None:
    others = set(descendants(os.getpid()))
    sandbox = LocalSandbox()
    assert sandbox.run("print(1)").stdout == b"1\n"
    pid = os.fork()
    if pid == 0:
        try:
            sandbox.run("print(1)")
        except SandboxError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert sandbox.run("print(1)").stdout == b"1\n"
    children = set(descendants(os.getpid())) - others
    assert children
    sandbox.close()
    sandbox.close()
    assert eventually(lambda: not children & set(descendants(os.getpid())), 1.0)
    with pytest.raises(SandboxError, match="closed"):
        sandbox.run("print(1)")


def test_nothing_outlives_a_killed_host(tmp_path: Path) -> None:
    script = tmp_path / "host.py"
    script.write_text("""
import sys, threading, time
from reasoning_rl.sandbox import *
for tier in sys.argv[1:]:
    sandbox = LocalSandbox(tier=tier, parallel=3)
    for program in ("while True: pass", "import time; time.sleep(100)"):
        threading.Thread(target=sandbox.run, args=(program,), kwargs={"limits": Limits(cpu_s=50, wall_s=50)}).start()
    threading.Thread(target=sandbox.grade, args=("def f():\\n    while True: pass", TestCode("assert", "assert f()", "f")),
                     kwargs={"limits": Limits(cpu_s=50, wall_s=50)}).start()
time.sleep(1)
print("ready", flush=True)
time.sleep(100)
""")
    tiers = [
        trial.tier.name
        for trial in try_tiers(all_of_them=True)
        if trial.holds and trial.tier.walls.namespaces != "root"
    ]
    assert tiers
    host = subprocess.Popen([sys.executable, str(script), *tiers], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None and host.stdout.readline() == "ready\n"
    started = descendants(host.pid)
    assert len(started) >= 5 * len(tiers)
    host.send_signal(signal.SIGKILL)
    assert eventually(lambda: not any(_is_alive(pid) for pid in started), 1.0)
    host.wait()
    host.stdout.close()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_jail_killed_from_outside_costs_nothing(sandbox: LocalSandbox) -> None:
    sandbox.run("")
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(sandbox.run, "import time; time.sleep(0.6); print(1)") for _ in range(2)]
        time.sleep(0.3)
        zygotes = [
            pid
            for pid in descendants(os.getpid())
            if b"reasoning_rl.sandbox" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        assert zygotes
        for pid in zygotes:
            with contextlib.suppress(ProcessLookupError):  # they take each other along
                os.kill(pid, signal.SIGKILL)
        assert [future.result().stdout for future in running] == [b"1\n", b"1\n"]


def test_a_program_killed_from_outside_is_tried_again(sandbox: LocalSandbox) -> None:
    before = set(descendants(os.getpid()))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(sandbox.run, "import time; time.sleep(0.6); print(1)")
        time.sleep(0.3)
        new = set(descendants(os.getpid())) - before
        if len(new) > 1:  # the jail was started too; the program is its youngest
            new = {max(new)}
        for pid in new:
            os.kill(pid, signal.SIGKILL)
        assert running.result().stdout == b"1\n"


def test_nothing_grows(sandbox: LocalSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with LocalSandbox(tier=sandbox.tier.name) as own:
        _run_many(own, tmp_path)
    assert list(tmp_path.iterdir()) == []


def _run_many(sandbox: LocalSandbox, folder: Path) -> None:
    def state() -> tuple[int, int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(descendants(os.getpid())), len(list(folder.iterdir()))

    programs = [
        ADD,
        "import sys; sys.exit(3)",
        "open('x', 'w').write('x')",
        "import os; os._exit(0)",
        "x = bytearray(1 << 40)",
    ]

    def some(n: int) -> None:
        for i in range(n):
            sandbox.run(programs[i % 5])
            sandbox.grade(programs[i % 5], SUITE)
            sandbox.calls(programs[i % 5], [Call("add", (1, 2))])

    some(10)
    before, memory = state(), rss_mb()
    some(70)
    assert state() == before
    assert rss_mb() - memory <= 20


def test_threads_share_it(sandbox: LocalSandbox) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda i: sandbox.run("print(int(input()) ** 2)", str(i)).stdout, range(64)))
    assert found == [f"{i * i}\n".encode() for i in range(64)]


@pytest.mark.slow
def test_no_honest_program_is_at_its_time_limit_on_a_busy_machine() -> None:
    program = "x = 0\nfor i in range(3_000_000): x += i\nprint(x)"
    burners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(7 * len(os.sched_getaffinity(0)))
    ]
    try:
        with LocalSandbox(parallel=64) as sandbox, ThreadPoolExecutor(64) as pool:
            ends = list(pool.map(lambda _: sandbox.run(program, limits=Limits(cpu_s=2.0, wall_s=4.0)), range(64)))
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert {end.outcome for end in ends} == {Outcome.EXITED}
    assert max(end.wall_s for end in ends) > 4.0  # or it was not busy


def test_ends_promptly(sandbox: LocalSandbox) -> None:
    """A hang in any of the threads would keep this from returning at all; the bound is that of the wall limit."""
    done = threading.Event()

    def work() -> None:
        sandbox.run("import os, time\nos.close(1); os.close(2); time.sleep(100)", limits=Limits(wall_s=0.5))
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(10)
