"""`code_tests`: which program is read, which tests are taken, how verdicts become scores, what keeps the order honest."""

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
from code_attacks import FIXTURES

from reasoning_rl.api import Sample, Score, Verdict
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
from reasoning_rl_rewards.code_tests.cases import BadTests, CallCase, CodeCase, parse_tests
from reasoning_rl_rewards.code_tests.compare import same_output, same_value
from reasoning_rl_rewards.code_tests.extract import extract, fenced
from reasoning_rl_rewards.code_tests.judge import Rules, judge
from reasoning_rl_rewards.code_tests.orders import call_orders, code_orders

ADD = "def add(a, b):\n    return a + b"


def grade(program: str, tests: Any, row: dict[str, Any] | None = None, **options: Any) -> Score:
    text = f"<think>hm</think>Here it is:\n```python\n{program}\n```\nDone."
    return CodeTests(**options)(make_sample(text, {"tests": tests, **(row or {})}))


def stdio(given: str, output: str, **more: Any) -> dict[str, Any]:
    return {"type": "stdio", "input": given, "output": output, **more}


def call(name: str, args: Any, expected: Any, **more: Any) -> dict[str, Any]:
    return {"type": "call", "entry_point": name, "args": args, "expected": expected, **more}


# Which program is read.


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\nx = 1\n```", "x = 1"),
        ("```\nx = 1\n```", "x = 1"),
        ("```Python3\nx = 1\n```", "x = 1"),
        ("```py title=a.py\nx = 1\n```", "x = 1"),
        ("~~~python\nx = 1\n~~~", "x = 1"),
        ("````python\n```\nx = 1\n````", "```\nx = 1"),
        ("text\n```python\nx = 1\n```\nmore\n```python\nx = 2\n```\nend", "x = 2"),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1"),
        ("1. so:\n   ```python\n   if x:\n       y\n   ```", "if x:\n    y"),
        ("```python\nx = 1", "x = 1"),
        ('```python\nx = """\n    ```\n"""\n```', 'x = """\n    ```\n"""'),
        ("```python\nx = '<|im_end|>'\n```", "x = '<|im_end|>'"),
        ("```python\nx = 1\n```\n<|im_end|>\n<|im_start|>user\n```python\nx = 2\n```", "x = 1"),
        ("```python\nx = 1\n``` \t\n", "x = 1"),
    ],
)  # fmt: skip
def test_the_last_block_is_read(text: str, program: str) -> None:
    assert extract(text).program == program
    assert not extract(text).problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no fenced block"),
        ("x = 1", "no fenced block"),
        ("`x = 1`", "no fenced block"),
        ("see ```python\nx = 1", "no fenced block"),
        ("```python\n\n```", "empty"),
        ("```cpp\nint x;\n```", "tagged 'cpp'"),
        ("```python\nx = 1\n```\n```text\n1\n```", "tagged 'text'"),
        ("I do not know.<|im_end|>\n<|im_start|>user\n```python\nx = 1\n```", "no fenced block"),
    ],
)
def test_no_program(text: str, problem: str) -> None:
    assert problem in extract(text).problem
    score = CodeTests()(make_sample(f"<think>hm</think>{text}", {"tests": FIXTURES["A"]}))
    assert (score.value, score.verdict, score.detail["outcome"]) == (0.0, Verdict.NO_ANSWER, "no_code")


def test_a_block_in_the_thinking_is_not_read() -> None:
    sample = make_sample(f"<think>```python\n{ADD}\n```</think>I am not sure.", {"tests": FIXTURES["A"]})
    assert CodeTests()(sample).verdict is Verdict.NO_ANSWER


def test_without_fences() -> None:
    assert extract("x = 1\ny = 2", is_fence_needed=False).program == "x = 1\ny = 2"
    assert extract("so:\n```\nx = 1\n```", is_fence_needed=False).program == "x = 1"
    assert extract("```cpp\nx\n```", is_fence_needed=False).problem
    assert extract(" \n", is_fence_needed=False).problem


@pytest.mark.parametrize("program", [ADD, "x = '''```'''", "```\nx\n```", "x = 1\n````"])
def test_fenced_is_read_back(program: str) -> None:
    assert extract(f"text\n{fenced(program)}").program == program


@pytest.mark.parametrize(
    "text", ["```\n" * 300_000, "`" * 2_000_000, "~~~python\n" * 200_000, " " * 2_000_000 + "```", "a\n" * 1_000_000]
)
def test_extraction_is_linear(text: str) -> None:
    start = time.process_time()
    extract(text)
    whole = time.process_time() - start
    start = time.process_time()
    extract(text[: len(text) // 4])
    assert whole < 12 * (time.process_time() - start) + 0.5


# Which tests are taken.


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        (None, "missing or empty"),
        ([], "tests: found an empty list"),
        ("[", "tests: found text that is not JSON"),
        ({"type": "stdio"}, "tests: found dict, expected a list"),
        ([1], "tests[0]: found int, expected a mapping"),
        ([{"input": ""}], "tests[0].type: found None, expected one of stdio, call"),
        ([{"type": "stdin"}], "tests[0].type: found 'stdin'"),
        ([stdio("", "1"), {"type": "stdio", "input": ""}], "tests[1]: has no 'output'"),
        ([{"type": "stdio", "input": 1, "output": ""}], "tests[0].input: found 1, expected text"),
        ([stdio("", "", inptu=1)], "tests[0]: unknown key 'inptu'"),
        ([stdio("", "", compare="loose")], "tests[0].compare: found 'loose'"),
        ([stdio("", "", float_tolerance=-1)], "tests[0].float_tolerance: found -1"),
        ([stdio("", "", float_tolerance=True)], "tests[0].float_tolerance: found True"),
        ([stdio("", "", compare="exact", float_tolerance=0.1)], "makes no sense"),
        ([{"type": "call", "entry_point": "f", "args": []}], "tests[0]: has no 'expected'"),
        ([{"type": "call", "args": [], "expected": 1}], "tests[0]: has no 'entry_point'"),
        ([call("f", {}, 1)], "tests[0].args: found {}"),
        ([call("f()", [], 1)], "tests[0].entry_point: found 'f()'"),
        ([call("import", [], 1)], "tests[0].entry_point: found 'import'"),
        ([call("f", [], 1, kwargs={1: 2})], "tests[0].kwargs: found the key 1"),
        ([call("f", [object()], 1)], "tests[0].args: found a object"),
        ([call("f", [1], 1, in_place=1)], "tests[0].in_place: found 1"),
        ([{"type": "assert", "entry_point": "f", "code": "assert f( == 1"}], "tests[0].code: line 1"),
        ([{"type": "assert", "entry_point": "f", "code": "f()"}], "tests[0].code: holds no assert"),
        ([{"type": "check", "entry_point": "f", "code": "assert f()"}], "tests[0].code: defines no function 'check"),
        ([{"type": "check", "code": "def check(c): pass"}], "tests[0]: has no 'entry_point'"),
        ([{"type": "unittest", "code": "assert f()"}], "tests[0].code: defines no unittest.TestCase"),
    ],
)  # fmt: skip
def test_bad_tests_abstain_and_name_the_place(tests: Any, message: str) -> None:
    score = grade(ADD, tests)
    assert (score.value, score.verdict) == (None, Verdict.BAD_REFERENCE)
    assert message in score.detail["reason"]


@pytest.mark.parametrize(
    "code",
    ["raise RuntimeError('broken')\nassert add(1, 2) == 3", "x = missing.name\nassert add(1, 2) == 3", "assert 1 == 2\nassert add(1, 2) == 3"],
    ids=["raises", "missing name", "fails without the program"],
)  # fmt: skip
def test_test_code_that_fails_by_itself_abstains(code: str) -> None:
    tests = [{"type": "assert", "entry_point": "add", "code": code, "ordered": True}]
    assert grade(ADD, tests).verdict is Verdict.BAD_REFERENCE


def test_json_text_is_the_same_as_a_list() -> None:
    assert parse_tests(json.dumps(FIXTURES["P"])) == parse_tests(FIXTURES["P"])


def test_nulls_of_a_table_are_no_keys() -> None:
    row = {
        "type": "stdio",
        "input": "",
        "output": "1",
        "args": None,
        "entry_point": None,
        "compare": None,
        "expected": None,
    }
    assert parse_tests([row]) == parse_tests([stdio("", "1")])


def test_unittest_code_names_what_it_uses() -> None:
    code = "import unittest, math\nfrom os import path as p\nclass T(unittest.TestCase):\n    def test(self):\n        x = [i for i in Pair(1, 2)]\n        self.assertEqual(x, math.prod([f(1)]))\n"
    (case,) = parse_tests([{"type": "unittest", "code": code}])
    assert isinstance(case, CodeCase)
    assert set(case.names) == {"Pair", "f"}


# Comparing.


@pytest.mark.parametrize(
    ("found", "expected", "options", "same"),
    [
        (b"1 2\n", "1 2", {}, True),
        (b" 1\n\n2 ", "1 2\n", {}, True),
        (b"12", "1 2", {}, False),
        (b"1 2 3", "1 2", {}, False),
        (b"", "", {}, True),
        (b"a", "A", {}, False),
        (b"1.0", "1", {}, False),
        (b"1.0", "1", {"float_tolerance": 0.0}, True),
        (b"1000001", "1000000", {"float_tolerance": 1e-6}, True),
        (b"1000002", "1000000", {"float_tolerance": 1e-6}, False),
        (b"yes 0.5", "yes .50000001", {"float_tolerance": 1e-6}, True),
        (b"no 0.5", "yes 0.5", {"float_tolerance": 1e-6}, False),
        (b"nan", "nan", {}, True),
        (b"NaN", "nan", {"float_tolerance": 1.0}, False),
        (b"inf", "1e999", {"float_tolerance": 1.0}, False),
        (b"1_0", "10", {"float_tolerance": 1.0}, False),
        ("\xa01".encode(), "1", {}, False),
        (b"\xff", "\xff", {}, False),
        ("ü".encode(), "ü", {}, True),
        (b"1 2\n", "1 2", {"compare": "exact"}, True),
        (b"1  2", "1 2", {"compare": "exact"}, False),
        (b"1\n\n", "1", {"compare": "exact"}, False),
    ],
)  # fmt: skip
def test_output(found: bytes, expected: str, options: dict[str, Any], same: bool) -> None:
    assert same_output(found, expected, **{"compare": "tokens", **options}) is same


NAN = float("nan")


@pytest.mark.parametrize(
    ("found", "expected", "options", "same"),
    [
        (3, 3.0, {}, True),
        (True, 1, {}, True),
        ("3", 3, {}, False),
        (b"3", "3", {}, False),
        (None, None, {}, True),
        (None, 0, {}, False),
        (0.0, -0.0, {}, True),
        (0.1 + 0.2, 0.3, {}, False),
        (0.1 + 0.2, 0.3, {"float_tolerance": 1e-9}, True),
        ([0.1 + 0.2, {"a": 1.0000000001}], [0.3, {"a": 1}], {"float_tolerance": 1e-6}, True),
        (4, 3, {"float_tolerance": 2.0}, False),
        (4.0, 3, {"float_tolerance": 2.0}, True),
        (NAN, NAN, {}, False),
        ([NAN], [NAN], {}, False),
        (NAN, 1.0, {"float_tolerance": 1e9}, False),
        (float("inf"), float("inf"), {}, True),
        (float("inf"), 1e308, {"float_tolerance": 1.0}, False),
        (10**400, 1.0, {"float_tolerance": 1.0}, False),
        ((1,), [1], {}, False),
        ((1, [2, (3,)]), [1, (2, [3])], {"tuple_as_list": True}, True),
        ([1, 2], [1], {}, False),
        ({1: 2}, {"1": 2}, {}, False),
        ({1: 2, 3: 4}, {1: 2}, {}, False),
        ({1, 2}, {2, 1}, {}, True),
        ({1}, [1], {}, False),
        (1j, 1j, {}, True),
    ],
)  # fmt: skip
def test_values(found: Any, expected: Any, options: dict[str, Any], same: bool) -> None:
    assert same_value(found, expected, **options) is same


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


# The order of tests.


def test_both_orders_are_run_and_the_same_for_a_row() -> None:
    cases = tuple(case for case in parse_tests([call("f", [n], n) for n in range(8)]) if isinstance(case, CallCase))
    first, second = call_orders(cases, "0/row")
    assert sorted(first) == list(range(8))
    assert second == first[::-1]
    assert (first, second) == call_orders(cases, "0/row")
    assert len({call_orders(cases, f"0/row{n}")[0] for n in range(20)}) > 10
    assert call_orders(cases[:1], "0/row") == ((0,),)


@pytest.mark.parametrize(
    ("code", "num_versions", "kept"),
    [
        ("assert f(1)\nassert f(2)\nassert f(3)", 2, ()),
        ("import math\nassert f(1) == math.pi\nassert all([f(x) for x in [2]])", 2, ("import math",)),
        ("assert f(1)", 1, ()),
        ("x = f(1)\nassert x\nassert x == 2", 1, ()),
        ("assert f(1)\nf(2)\nassert f(3)", 1, ()),
        ("assert f(1)\nassert f(2)\nx = 3\nassert f(x)\nassert f(x + 1)", 2, ("x = 3\nassert f(x)\nassert f(x + 1)",)),
        ("assert (y := f(1))\nassert f(2) == y", 1, ()),
    ],
)  # fmt: skip
def test_asserts_change_places_only_where_they_may(code: str, num_versions: int, kept: tuple[str, ...]) -> None:
    versions = code_orders(CodeCase("assert", ("f",), code), "0/row")
    assert len(versions) == num_versions
    if num_versions == 1:
        assert versions == (code,)
    for version in versions:
        assert sorted(version.splitlines()) == sorted(code.splitlines())
        assert all(text in version for text in kept)
    assert len(set(versions)) == num_versions


def test_the_asserts_of_a_check_change_places() -> None:
    code = "X = 1\ndef check(candidate):\n    import math\n    assert candidate(1) == 1\n    assert candidate(2) == 4\n    y = 2\n    assert candidate(y)\n"
    first, second = code_orders(CodeCase("check", ("f",), code), "0/row")
    lines = [[line for line in text.splitlines() if "== " in line] for text in (first, second)]
    assert lines[0] == lines[1][::-1]
    assert len(lines[0]) == 2


def test_a_row_may_keep_its_order() -> None:
    counter = "N = 0\ndef next_id():\n    global N\n    N += 1\n    return N"
    tests = [call("next_id", [], 1, ordered=True), call("next_id", [], 2, ordered=True)]
    assert grade(counter, tests).value == 1
    assert grade(counter, [call("next_id", [], 1), call("next_id", [], 2)]).value == 0
    assert grade(counter, [call("next_id", [], 1), call("next_id", [], 2)], shuffle=False).value == 1
    code = "assert next_id() == 1\nassert next_id() == 2"
    assert grade(counter, [{"type": "assert", "entry_point": "next_id", "code": code, "ordered": True}]).value == 1
    assert grade(counter, [{"type": "assert", "entry_point": "next_id", "code": code}]).value == 0


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
