"""Test code against a program in another process: marks, bad tests, and objects that stay with the program."""

from __future__ import annotations

import pytest

from reasoning_rl.sandbox import Limits, LocalSandbox, Outcome, TestCode

ADD = "def add(a, b): return a + b\n"
SUITE = TestCode("assert", "assert add(1, 2) == 3\nassert add(5, 7) == 12", "add")


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


@pytest.mark.parametrize(
    "rest",
    [
        "for n in (1, 2):\n    assert add(n, n) == 2 * n",
        "total = add(2, 2)\nif total != 4:\n    raise ValueError(total)",
        "try:\n    add(2, 2)\nexcept TypeError:\n    pass\nelse:\n    assert False",
        "add(2, 2)[0]",
    ],
)
def test_all_of_the_test_code_counts(sandbox: LocalSandbox, rest: str) -> None:
    """Also what comes below the last assert of the top level."""
    result = sandbox.grade("def add(a, b): return 3", TestCode("assert", f"assert add(1, 2) == 3\n{rest}", "add"))
    assert (result.end.outcome, result.accepted) == (Outcome.EXITED, False), result
    assert (result.num_passed, result.num_tests) == (1, 2)


#: What test code may do with what stays with the program.
NODES = """
class Node:
    def __init__(self, value, next=None): self.value, self.next = value, next
    def __repr__(self): return f'Node({self.value})'
def build(values):
    head = None
    for value in reversed(values): head = Node(value, head)
    return head
def numbers(n):
    for i in range(n): yield i
def endless():
    n = 0
    while True:
        yield n
        n += 1
def plus(n): return lambda x: x + n
def both(f, g): return lambda x: g(f(x))
def double(x): return 2 * x
def views(): return {1: 2}.keys()
class Empty:
    def __bool__(self): return False
class Door:
    def __enter__(self): self.is_open = True; return self
    def __exit__(self, *_): self.is_open = False; return True
"""
NAMES = "build,Node,numbers,endless,plus,both,double,views,Empty,Door"


@pytest.mark.parametrize(
    "code",
    [
        "node, found = build([1, 2, 3]), []\nwhile node:\n    found.append(node.value)\n    node = node.next\nassert found == [1, 2, 3]",
        "assert build([]) is None and build([1]).next is None",
        "assert not Empty() and Door()",
        "assert repr(build([7])) == 'Node(7)'",
        "assert isinstance(build([1]), Node) and not isinstance(double(1), Node) and not isinstance(Door(), Node)",
        "assert list(numbers(3)) == [0, 1, 2] and sum(numbers(2000)) == 1999000",
        "items = numbers(2)\nassert next(items) == 0\nassert list(items) == [1]\nassert next(items, None) is None",
        "import itertools\nassert list(itertools.islice(endless(), 3)) == [0, 1, 2]",
        "assert sorted(views()) == [1] and 1 in views() and len(views()) == 1",
        "assert plus(2)(3) == 5 and both(double, plus(1))(4) == 9",
        "with Door() as door:\n    assert door.is_open\nassert not door.is_open",
        "try:\n    double(object())\nexcept TypeError:\n    pass\nassert double(1) == 2",
    ],
)
def test_what_stays_with_the_program_is_of_use(sandbox: LocalSandbox, code: str) -> None:
    result = sandbox.grade(NODES, TestCode("assert", code, NAMES))
    assert result.accepted, result


@pytest.mark.parametrize(
    "code",
    [
        "assert numbers(3) == [0, 1, 2]",
        "assert plus(2) == 3",
        "assert Empty() == 0",
        "assert build([1]) == build([1])",
        "assert isinstance(3, Node)",
        "assert len(build([1])) == 1",
        "with Door():\n    assert double(1) == 3",
    ],
)
def test_and_equals_nothing_else(sandbox: LocalSandbox, code: str) -> None:
    result = sandbox.grade(NODES, TestCode("assert", f"assert double(1) == 2\n{code}", NAMES))
    assert (result.end.outcome, result.accepted) == (Outcome.EXITED, False), result


@pytest.mark.parametrize("code", ["assert double(len) == 2", "assert double(1) == 2\nassert double(object()) == 2"])
def test_what_tests_cannot_pass_is_their_own_fault(sandbox: LocalSandbox, code: str) -> None:
    result = sandbox.grade(NODES, TestCode("assert", code, NAMES))
    assert result.end.outcome is Outcome.BAD_TESTS
    assert "test code passes a" in result.end.reason
