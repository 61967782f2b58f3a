"""`code_tests`: which program is read, which tests are taken, when two values are the same."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from attack_kit import FIXTURES
from code_grading import ADD, call, grade, stdio

from reasoning_rl.api import Verdict
from reasoning_rl.testing import make_sample
from reasoning_rl_rewards.code_tests import CodeTests
from reasoning_rl_rewards.code_tests.cases import CodeCase, parse_tests
from reasoning_rl_rewards.code_tests.compare import same_output, same_value
from reasoning_rl_rewards.code_tests.extract import extract, fenced

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
