"""`code_tests`: how verdicts become scores, what the sandbox and the grading processes make of them, the audit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from attack_kit import FIXTURES
from code_grading import ADD, call, grade, stdio

from reasoning_rl.api import Sample, Verdict
from reasoning_rl.audit import audit_rows
from reasoning_rl.data import Row
from reasoning_rl.errors import RewardPluginError
from reasoning_rl.grading import Grader
from reasoning_rl.plugins import resolve
from reasoning_rl.recipe import Scoring, Thinking
from reasoning_rl.sandbox import Call, CallsResult, GradeResult, Limits, LocalSandbox, Outcome, RunResult, TestCode
from reasoning_rl.scoring import RewardSet, WeightedReward
from reasoning_rl.testing import check_reward, make_sample
from reasoning_rl.workers.proc import descendants
from reasoning_rl_rewards.code_tests import CodeTests
from reasoning_rl_rewards.code_tests.cases import BadTests, parse_tests
from reasoning_rl_rewards.code_tests.judge import Rules, judge

# Scores.


@pytest.mark.parametrize(
    ("program", "tests", "verdict", "outcome"),
    [
        (ADD, "A", Verdict.CORRECT, "accepted"),
        ("def add(a, b): return 0", "A", Verdict.WRONG, "wrong_answer"),
        ("def add(a, b): return 1 / 0", "P", Verdict.WRONG, "runtime_error"),
        ("def add(a, b): return 1 / 0", "U", Verdict.WRONG, "runtime_error"),
        ("while True: pass", "P", Verdict.TIMEOUT, "time_limit"),
        ("x = [0] * (1 << 33)", "S", Verdict.MEMORY_LIMIT, "memory_limit"),
        ("print('x' * 100_000)", "S", Verdict.WRONG, "output_limit"),
        ("import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)", "S", Verdict.WRONG, "security_violation"),
    ],
)  # fmt: skip
def test_verdicts(program: str, tests: str, verdict: Verdict, outcome: str) -> None:
    score = grade(program, FIXTURES[tests], cpu_s=0.5, output_bytes=1 << 16)
    assert (score.verdict, score.detail["outcome"]) == (verdict, outcome)
    assert score.value == (1.0 if verdict is Verdict.CORRECT else 0.0)
    assert score.detail["tier"] in ("T1", "T2")
    if verdict is not Verdict.CORRECT:
        assert score.detail["failed"]["test"] == "tests[0]"
    json.dumps(dict(score.detail))


def test_detail_says_what_failed() -> None:
    failed = grade("def add(a, b): return a * b", [call("add", [2, 2], 4), call("add", [1, 2], 3)]).detail["failed"]
    assert failed == {"test": "tests[1]", "type": "call", "input": "add(1, 2)", "expected": "3", "found": "2"}
    failed = grade("print(1)", [stdio("", "1"), stdio("x", "2")]).detail["failed"]
    assert failed == {"test": "tests[1]", "type": "stdio", "input": "x", "expected": "2", "found": "1\n"}
    code = "assert add(2, 2) == 4\nassert add(1, 2) == 3, 'sums'"
    failed = grade("def add(a, b): return a * b", [{"type": "assert", "entry_point": "add", "code": code}]).detail[
        "failed"
    ]
    assert failed == {
        "test": "tests[0]", "type": "assert", "failed": "assert add(1, 2) == 3, 'sums'", "reason": "AssertionError: sums"
    }  # fmt: skip


def test_details_are_short() -> None:
    score = grade("print('y' * 50_000)", [stdio("x" * 50_000, "z" * 50_000)])
    assert len(json.dumps(dict(score.detail))) < 2000
    score = grade("def f(x): return 10 ** 10_000", [call("f", [list(range(10_000))], 10**9_000)])
    assert len(json.dumps(dict(score.detail))) < 2000


@pytest.mark.parametrize(
    ("program", "tests", "value", "verdict"),
    [
        ("def add(a, b): return 3", FIXTURES["P"], 0.5, Verdict.PARTIAL),
        ("def add(a, b): return 3", FIXTURES["A"], 0.5, Verdict.PARTIAL),
        ("def add(a, b): return 3", FIXTURES["P"] + FIXTURES["A"], 0.5, Verdict.PARTIAL),
        ("def add(a, b): return 3", FIXTURES["C"], 0.0, Verdict.WRONG),
        (ADD, FIXTURES["P"], 1.0, Verdict.CORRECT),
        ("def add(a, b):\n    if a == 5: raise ValueError\n    return 3", FIXTURES["P"], 0.5, Verdict.PARTIAL),
        ("a, b = map(int, input().split())\nprint(3, 2)", FIXTURES["S"], 0.5, Verdict.PARTIAL),
        ("a, b = map(int, input().split())\nif a == 5:\n    while True: pass\nprint(3, 2)", FIXTURES["S"], 0.5, Verdict.PARTIAL),
        ("def add(a, b): return 0", FIXTURES["P"], 0.0, Verdict.WRONG),
        ("def add(a, b):\n    if a == 5: import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)\n    return 3", FIXTURES["P"], 0.0, Verdict.WRONG),
    ],
)  # fmt: skip
def test_fraction(program: str, tests: list[dict[str, Any]], value: float, verdict: Verdict) -> None:
    score = grade(program, tests, credit="fraction", cpu_s=0.5)
    assert (score.value, score.verdict) == (value, verdict), score.detail
    assert grade(program, tests, cpu_s=0.5).value == (1.0 if value == 1 else 0.0)


def test_the_prelude_stands_before_the_program() -> None:
    tests = [call("f", [4], 2.0)]
    program = "def f(x: List) -> float: return sqrt(x)"
    prelude = "from math import sqrt\nfrom typing import List"
    assert grade(program, tests, {"prelude": prelude}).value == 1
    assert grade(program, tests).value == 0
    future = "from __future__ import annotations\nimport math\ndef f(x: List): return math.sqrt(x)"
    assert grade(future, tests, {"prelude": prelude}).value == 1


@pytest.mark.parametrize("kind", ["Counter", "OrderedDict", "defaultdict"])
def test_dicts_of_the_standard_library_are_dicts(kind: str) -> None:
    """A word count is often returned as the `Counter` that it is; a class that derives from it is no plain data."""
    load = f"from collections import {kind}\n"
    fill = "def f(text):\n    d = {make}\n    d['a'] = text.count('a')\n    return d"
    assert_code = {"type": "assert", "entry_point": "f", "code": "assert f('aab') == {'a': 2}"}
    for tests in ([call("f", ["aab"], {"a": 2})], [assert_code]):
        make = f"{kind}(int)" if kind == "defaultdict" else f"{kind}()"
        assert grade(load + fill.format(make=make), tests).value == 1
        own = f"{load}class Own({kind}):\n    __eq__ = lambda self, other: True\n"
        assert "BadType" in grade(own + fill.format(make="Own()"), tests).detail["failed"]["reason"]


def test_packages_must_be_asked_for() -> None:
    pytest.importorskip("numpy")
    tests = [call("f", [], 3)]
    program = "import numpy\ndef f(): return int(numpy.sum([1, 2]))"
    assert grade(program, tests, packages=("numpy",), memory_mb=1024).value == 1
    assert "ModuleNotFoundError" in grade(program, tests).detail["failed"]["reason"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpu_s": 0}, "cpu_s"),
        ({"total_s": 1.0, "cpu_s": 2.0}, "total_s"),
        ({"float_tolerance": -1.0}, "float_tolerance"),
        ({"credit": "partial"}, "credit"),
        ({"language": "rust"}, "language"),
        ({"test": "x"}, "unknown option"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RewardPluginError, match=message):
        resolve("code_tests", options)


# What the sandbox says, and what is made of it.


class Stub:
    """A sandbox that answers as it is told: only for outcomes that no program can bring about."""

    def __init__(self, end: RunResult) -> None:
        self.end = end

    def run(self, program: str, stdin: bytes | str = b"", limits: Limits = Limits()) -> RunResult:  # noqa: B008
        return self.end

    def calls(self, program: str, calls: Any, limits: Limits = Limits()) -> CallsResult:  # noqa: B008
        return CallsResult((), self.end)

    def grade(self, program: str, tests: TestCode, limits: Limits = Limits()) -> GradeResult:  # noqa: B008
        return GradeResult(0, 0, (), self.end)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("fixture", ["A", "C", "P", "U", "S"])
def test_a_failure_of_the_sandbox_is_never_a_zero(fixture: str) -> None:
    end = RunResult(Outcome.SANDBOX_FAILURE, reason="the jail died")
    judged = judge(Stub(end), "pass", parse_tests(FIXTURES[fixture]), Rules(is_thorough=True))
    assert judged.outcome == "sandbox_failure"
    score = CodeTests()._score(judged, "T1")
    assert (score.value, score.verdict) == (None, Verdict.SANDBOX_FAILURE)
    assert score.detail["reason"] == "the jail died"


def test_all_tests_together_have_a_time() -> None:
    spin = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nprint(1)"
    tests = [stdio(str(n), "1") for n in range(20)]
    score = grade(spin, tests, cpu_s=0.5, total_s=0.8)
    assert (score.value, score.verdict) == (0.0, Verdict.TIMEOUT)


def test_sleeping_through_every_test_is_no_way_to_abstain() -> None:
    """A program that sleeps just under the limit in every test ends before the pool's deadline, which would abstain."""
    tests = [stdio("", "1")] * 30
    score = grade("import time; time.sleep(0.4); print(1)", tests, wall_s=0.5, cpu_s=0.5, total_s=1.0)
    assert (score.value, score.verdict) == (0.0, Verdict.TIMEOUT)
    assert CodeTests().default_timeout_s > 8 * CodeTests().total_s + CodeTests().wall_s


# The rules for rewards, grading processes, the audit.

ROWS = [
    {"tests": FIXTURES["A"], "solution": ADD},
    {"tests": json.dumps(FIXTURES["C"]), "canonical_solution": "    return a + b\n", "prompt": "def add(a, b):\n"},
    {"tests": FIXTURES["P"], "solution": ADD},
    {"tests": FIXTURES["U"], "solution": ADD},
    {"tests": FIXTURES["S"], "solution": "a, b = map(int, input().split())\nprint(a + b, a * b)"},
]


def test_it_keeps_the_rules_for_rewards() -> None:
    check_reward("code_tests", ROWS, timeout_s=60)


def test_equal_programs_share_a_score_and_others_do_not() -> None:
    reward = CodeTests()

    def key(text: str, **row: Any) -> Any:
        return reward.cache_key(make_sample(text, {"tests": FIXTURES["A"], **row}))

    assert key("<think>a</think>```python\nx\n```") == key("<think>b</think>so:\n```py\nx\n```\nend")
    assert key("```python\nx\n```") != key("```python\ny\n```")
    assert key("```python\nx\n```") != key("```python\nx\n```", tests=FIXTURES["C"])
    assert key("```python\nx\n```") != key("```python\nx\n```", prelude="import math")


def weighted(**options: Any) -> WeightedReward:
    return WeightedReward("code", resolve("code_tests", options), 1.0, use="code_tests", options=options)


def completions(programs: list[str], fixture: str = "A") -> list[Sample]:
    return [make_sample(f"```python\n{program}\n```", {"tests": FIXTURES[fixture]}) for program in programs]


def test_in_grading_processes() -> None:
    programs = [ADD, "def add(a, b): return 0", "import sys; sys.exit(0)", "while True: pass", "x = [0] * (1 << 33)"]
    with Grader(RewardSet((weighted(cpu_s=0.5),)), Scoring(num_workers=2, memory_mb=256)) as grader:
        scores = [scored.scores["code"] for scored in grader.score_batch(completions(programs))]
    assert [score.value for score in scores] == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert [score.detail["outcome"] for score in scores] == [
        "accepted", "wrong_answer", "runtime_error", "time_limit", "memory_limit"
    ]  # fmt: skip


def alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.append(pid)
    return found


def gone_within(pids: list[int], seconds: float) -> list[int]:
    end = time.monotonic() + seconds
    while (left := alive(pids)) and time.monotonic() < end:
        time.sleep(0.01)
    return left


def test_a_deadline_of_the_pool_kills_the_jails_too() -> None:
    """The pool's own deadline, far below the reward's: SIGKILL for the process that owns the jails."""
    item = WeightedReward("code", resolve("code_tests"), 1.0, use="code_tests", timeout_s=1.0)
    others = set(descendants(os.getpid()))
    with Grader(RewardSet((item,)), Scoring(num_workers=1)) as grader:
        assert grader.score_batch(completions([ADD]))[0].scores["code"].value == 1
        before = [pid for pid in descendants(os.getpid()) if pid not in others]
        assert len(before) >= 4, "a warden, a grader and two jails"
        score = grader.score_batch(completions(["while True: pass"], "P"))[0].scores["code"]
        assert score.value in (0.0, None)
        assert gone_within(before, 5.0) == []
        assert grader.score_batch(completions([ADD]))[0].scores["code"].value == 1


_OWNER = """
import sys, json
from reasoning_rl.sandbox import LocalSandbox, Limits
from reasoning_rl.testing import make_sample
from reasoning_rl_rewards.code_tests import CodeTests
reward = CodeTests(cpu_s=100.0, wall_s=100.0, total_s=200.0)
tests = [{"type": "assert", "entry_point": "f", "code": "assert f() == 1"}]
print(reward(make_sample("```python\\ndef f(): return 1\\n```", {"tests": tests})).value, flush=True)
reward(make_sample("```python\\nimport signal\\nfor n in range(1, 32):\\n    try: signal.signal(n, signal.SIG_IGN)\\n    except (OSError, ValueError): pass\\nwhile True: pass\\n```", {"tests": tests}))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_jails_die_with_their_owner(how: signal.Signals) -> None:
    owner = subprocess.Popen([sys.executable, "-c", _OWNER], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout and owner.stdout.readline() == "1.0\n"
        time.sleep(0.5)
        below = descendants(owner.pid)
        assert len(below) >= 2
        owner.send_signal(how)
        owner.wait(10)
        assert gone_within(below, 2.0) == []
    finally:
        owner.kill()
        owner.wait()


def test_the_audit_finds_planted_bad_tests() -> None:
    good = {"tests": FIXTURES["A"], "solution": ADD}
    planted = {
        "expects something wrong": {**good, "tests": [call("add", [1, 2], 4)]},
        "is too weak": {**good, "tests": [{"type": "assert", "entry_point": "add", "code": "add.__name__\nassert add(1, 2) or True"}]},
        "cannot be read": {**good, "tests": [{"type": "assert", "entry_point": "add", "code": "assert ("}]},
        "broken by itself": {**good, "tests": [{"type": "assert", "entry_point": "add", "code": "import nothing_such\nassert add(1, 2) == 3"}]},
        "solution of another task": {**good, "solution": "def mul(a, b): return a * b"},
    }  # fmt: skip
    rows = [Row("fine/0", [], good), Row("fine/1", [], ROWS[4])]
    rows += [Row(name, [], row) for name, row in planted.items()]
    report = audit_rows(RewardSet((weighted(),)), rows, Thinking())
    assert {offence.row_id for offence in report.offences} == set(planted)


def test_rows_without_a_solution_are_only_checked_for_bad_tests() -> None:
    rows = [Row("no solution", [], {"tests": FIXTURES["A"]}), Row("bad", [], {"tests": []}), Row("fine", [], ROWS[0])]
    report = audit_rows(RewardSet((weighted(),)), rows, Thinking())
    assert [offence.row_id for offence in report.offences] == ["bad"]


def test_programs_one_after_the_other_do_not_pile_up() -> None:
    with LocalSandbox(parallel=1) as sandbox:
        for number in range(30):
            answer = sandbox.calls(f"def f(): return {number}", [Call("f")]).answers[0]
            assert answer.value == number


def test_bad_tests_is_an_error_that_names_itself() -> None:
    with pytest.raises(BadTests, match=r"column\[0\]\.type"):
        parse_tests([{"type": "?"}], "column")
