"""Processes for test code: which test code may leave its process to the next, and that none finds anything of another."""

from __future__ import annotations

import ast
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reasoning_rl.sandbox import Limits, LocalSandbox, Outcome, TestCode
from reasoning_rl.sandbox.grading import Grader
from reasoning_rl.sandbox.pure import leaves_nothing
from reasoning_rl.workers.proc import descendants

ADD = "def add(a, b): return a + b\n"
HARMLESS = [
    "assert add(1, 2) == 3",
    "assert sorted(add([2], [1]), key=lambda x: -x) == [2, 1], f'{add(1, 1)}'",
    "def check(candidate):\n    for a in range(3):\n        assert candidate(a, b=1) == a + 1\n",
    "METADATA = {'author': 'x'}\ndef check(candidate):\n    x = [candidate(i, i) for i in range(3)]\n    assert x[1:] == [2, 4]\n",
    "x = [0]\nx[0] += add(1, 2)\nassert x == [3]",
    "n = 0\nwhile n < 3: n += add(1, 0)\nassert n == 3",
    "import math\nassert math.isclose(add(0.1, 0.2), 0.3) and math.pi",
    "import math as m\ndef check(candidate):\n    assert m.fabs(candidate(1, 2)) == 3",
]
NOT_HARMLESS = [
    "import random\nassert add(1, 2) == 3",
    "import math, sys\nassert add(1, 2) == 3",
    "import math\nmath.pi = 3\nassert add(1, 2) == 3",
    "import math\nassert math.__loader__ and add(1, 2) == 3",
    "import math\nassert math.sin.real and add(1, 2) == 3",
    "import math\nmath = (x for x in [1])\nx = math.gi_frame\nassert add(1, 2) == 3",
    "import math\ndef f(math): return math.gi_frame\nassert add(1, 2) == 3",
    "import math as add\nassert add.pi",
    "from math import *\nassert add(1, 2) == 3",
    "from math import sin\nassert add(1, 2) == 3",
    "from sys import setrecursionlimit\nassert add(1, 2) == 3",
    "assert add(1, 2).real == 3",
    "assert __builtins__['len']([1]) == add(1, 0)",
    "__builtins__ = {}\nassert add(1, 2) == 3",
    "def __build_class__(): pass\nassert add(1, 2) == 3",
    "def f(__builtins__): pass\nassert add(1, 2) == 3",
    "assert open('x') or add(1, 2)",
    "assert eval('1') == add(1, 0)",
    "assert exec('1') or add(1, 2) == 3",
    "assert getattr(add, 'x')",
    "assert type(add(1, 2)) is int",
    "print(add(1, 2))",
    "class T: pass\nassert add(1, 2) == 3",
    "with add(1, 2) as x: pass",
    "try: assert add(1, 2) == 3\nexcept TypeError: pass",
    "@add\ndef f(): pass",
    "def f():\n    global x\n    x = 1\nassert add(1, 2) == 3",
    "assert (yield add(1, 2))",
    "del add",
    "assert other(1, 2) == 3",
]


@pytest.mark.parametrize("code", HARMLESS)
def test_harmless(code: str) -> None:
    assert leaves_nothing(ast.parse(code), ["add"])


@pytest.mark.parametrize("code", NOT_HARMLESS)
def test_not_harmless(code: str) -> None:
    assert not leaves_nothing(ast.parse(code), ["add"])


def grade(sandbox: LocalSandbox, code: str, program: str = ADD, limits: Limits | None = None) -> str:
    """Whether the program passes, or how it ended; in one word."""
    result = sandbox.grade(program, TestCode("assert", code, "add"), limits or Limits())
    return "accepted" if result.accepted else "failed" if result.end.outcome is Outcome.EXITED else result.end.outcome


def waiting(sandbox: LocalSandbox) -> Grader:
    """The process that will take the next test code. There is one, for one thread has used the sandbox."""
    (grader,) = sandbox._jails["grader"].idle
    return grader


@pytest.fixture
def own(sandbox: LocalSandbox) -> LocalSandbox:
    """The shared sandbox, where one process has served harmless test code and waits."""
    if "grader" in sandbox._jails:
        sandbox._jails["grader"].end_idle()
    assert grade(sandbox, "assert add(1, 2) == 3") == "accepted"
    assert waiting(sandbox).has_served
    return sandbox


def test_a_process_serves_again_while_nothing_stays(own: LocalSandbox) -> None:
    served = waiting(own)
    assert grade(own, "x = 4\nassert add(x, 2) == 6") == "accepted"
    assert grade(own, "assert add(1, 2) == 4") == "failed"
    assert grade(own, "assert add(1, 2) == 3", "def add(a, b): raise ValueError") == "failed"
    assert waiting(own) is served


@pytest.mark.parametrize(
    ("code", "program"),
    [
        ("import random\nassert add(1, 2) == 3", ADD),
        ("assert add(1, 2) == 3", "import sys; sys.exit(0)"),
        ("assert add(1, 2) == 3", "def add(a, b): import os; os.write(4, b'forged')"),
        ("assert add(1, 2) == 3", "def add(a, b): raise MemoryError"),
        ("assert nothing", ADD),
        ("assert 1 == 2", ADD),
        ("assert add(1, 2) == 3\nadd[1]", ADD),
    ],
    ids=["imports", "program gone", "forged answer", "out of memory", "unknown name", "bad tests", "other exception"],
)
def test_else_a_fresh_one_serves(own: LocalSandbox, code: str, program: str) -> None:
    served = waiting(own)
    grade(own, code, program)
    assert waiting(own) is not served
    assert not waiting(own).has_served


def test_the_number_of_processes_stays(own: LocalSandbox) -> None:
    before = len(descendants(os.getpid()))
    for code in ("assert add(1, 2) == 3", "import random\nassert add(1, 2) == 3", "assert nothing"):
        grade(own, code)
        assert len(descendants(os.getpid())) == before


#: What one test code does, and the test code that would find it.
LEFT = {
    "a name": ("x = 5\nassert add(1, 2) == 3", "assert add(1, 2) == 3 and x == 5"),
    "a module": (
        "import math\nmath.left = 5\nassert add(1, 2) == 3",
        "import math\nassert hasattr(math, 'left') and add(1, 2) == 3",
    ),
    "a builtin": (
        "import builtins\nbuiltins.left = 5\nassert add(1, 2) == 3",
        "import builtins\nassert hasattr(builtins, 'left') and add(1, 2) == 3",
    ),
    "a setting": (
        "import sys\nsys.setrecursionlimit(567)\nassert add(1, 2) == 3",
        "import sys\nassert sys.getrecursionlimit() == 567 and add(1, 2) == 3",
    ),
    "a function changed": (
        "len = lambda x: 7\nassert add(1, 2) == 3",
        "assert len([]) == 7 and add(1, 2) == 3",
    ),
}


def test_many_processes_one_after_the_other(own: LocalSandbox) -> None:
    """None of them is lost on its way: a jail that had failed would have been replaced."""
    jails = dict(own._jails)
    for _ in range(150):
        assert grade(own, "import random\nassert add(1, 2) == 3") == "accepted"
    assert own._jails == jails


@pytest.mark.parametrize("what", LEFT)
def test_nothing_is_left_for_the_next(own: LocalSandbox, what: str) -> None:
    leaves, finds = LEFT[what]
    assert grade(own, leaves + "\n" + finds) == "accepted"  # in one and the same it is found
    for _ in range(2):
        assert grade(own, leaves) == "accepted"
        assert grade(own, finds) != "accepted"


def test_an_object_of_one_program_is_none_of_the_next(own: LocalSandbox) -> None:
    program = "class C:\n    def __len__(self): return {}\ndef add(a, b): return C()"
    assert grade(own, "assert len(add(1, 2)) == 1", program.format(1)) == "accepted"
    assert grade(own, "assert len(add(1, 2)) == 2", program.format(2)) == "accepted"


@pytest.mark.parametrize("code", ["assert sum(range(10**12)) == add(1, 2)", "while True: pass"])
def test_limits_are_those_of_one_test_code(own: LocalSandbox, code: str) -> None:
    limits = Limits(cpu_s=0.05, wall_s=100.0)
    for _ in range(30):  # more processor time together than one has
        assert grade(own, "n = 0\nwhile n < 100_000: n += 1\nassert add(1, 2) == 3", limits=limits) == "accepted"
    assert grade(own, code, limits=limits) == "bad_tests"
    assert grade(own, "assert add(1, 2) == 3", limits=limits) == "accepted"


@pytest.mark.slow
def test_waiting_for_work_takes_no_time_of_the_next(own: LocalSandbox) -> None:
    limits = Limits(wall_s=0.2)  # for test code: 4 · 0.2 s + 10 s
    assert grade(own, "assert add(1, 2) == 3", limits=limits) == "accepted"
    served = waiting(own)
    time.sleep(11.5)
    assert grade(own, "assert add(1, 2) == 3", limits=limits) == "accepted"
    assert waiting(own) is served


def test_one_that_was_killed_while_it_waited_is_replaced(own: LocalSandbox) -> None:
    _kill(own, grade(own, "assert add(1, 2) == 3"))
    assert grade(own, "assert add(1, 2) == 3") == "accepted"


def test_one_that_is_killed_at_work_is_replaced(own: LocalSandbox) -> None:
    slow = "import time\ndef add(a, b):\n    time.sleep(0.6)\n    return a + b"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(grade, own, "assert add(1, 2) == 3", slow)
        time.sleep(0.3)
        _kill(own, "accepted")
        assert running.result() == "accepted"


def _kill(sandbox: LocalSandbox, verdict: str) -> None:
    """Kills the children of the zygote for test code."""
    assert verdict == "accepted"
    (jail,) = (jail for role, jail in sandbox._jails.items() if role == "grader")
    below = [jail.process.pid, *descendants(jail.process.pid)]
    parents = {int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in below}
    victims = [pid for pid in below if pid not in parents and pid != jail.process.pid]
    assert len(victims) == 1
    os.kill(victims[0], signal.SIGKILL)
