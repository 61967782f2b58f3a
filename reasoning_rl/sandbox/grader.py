"""Runs test code, which is ours, against a program in another process. Runs confined, in a jail of its own.

The test code reaches the program only through stand-ins (`remote`). The verdict goes back to the host, as JSON. A process
takes further test code as long as that cannot leave anything behind in it (`pure`) and came to a normal end.
"""

from __future__ import annotations

import ast
import json
import resource
import socket
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from reasoning_rl.sandbox import codec, pure
from reasoning_rl.sandbox.remote import Entry, Program, ProgramGone

_MAX_FAILURES = 20
#: A process that has computed for longer, or has grown by more, takes no further test code: its limits are for one.
_LAST_CPU_S, _MAX_GROWTH_KB = 0.5, 16 << 10


class Record:
    """Counts tests; keeps the first failures."""

    def __init__(self) -> None:
        self.num_tests = self.num_passed = 0
        self.failures: list[tuple[str, str, str]] = []
        self.bad = ""
        self.is_exhausted = False

    def failed(self, test: str, error: BaseException) -> None:
        self.is_exhausted |= isinstance(error, MemoryError)
        if isinstance(error, codec.NotPlain):  # raised on this side only: no doing of the program
            self.bad = self.bad or str(error)
        if len(self.failures) < _MAX_FAILURES:
            try:
                message = str(error)[:1000]
            except Exception:  # noqa: BLE001 - text of a huge integer, for one
                message = ""
            self.failures.append((test, type(error).__name__, message))


@dataclass(frozen=True, slots=True)
class Tests:
    """Test code, ready to run: its statements, each with whether it is an assert; one only unless `kind` is `assert`."""

    statements: tuple[tuple[types.CodeType, bool], ...]
    leaves_nothing: bool


@lru_cache(maxsize=64)
def parsed(source: str, kind: str, names: tuple[str, ...]) -> Tests:
    """Compiles test code.

    Raises:
        SyntaxError, ValueError, RecursionError: it is none.
    """
    tree = ast.parse(source, "tests.py")
    leaves_nothing = kind != "unittest" and pure.leaves_nothing(tree, names)
    if kind != "assert":
        return Tests(((compile(tree, "tests.py", "exec"), False),), leaves_nothing)
    return Tests(
        tuple(
            (compile(ast.Module([node], []), "tests.py", "exec"), isinstance(node, ast.Assert)) for node in tree.body
        ),
        leaves_nothing,
    )


def serve(desk: socket.socket) -> None:
    """Takes test code from the host, one after the other, while nothing of it stays.

    It says that it is ready by one byte. Each comes as one byte with two descriptors: a file with a line of options (JSON) above the code, and the connection
    to the program. Back go the line `called`, at the first call of the program, and the verdict as a line of JSON.
    """
    first_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    desk.send(b"R")
    while True:
        _, fds, _, _ = socket.recv_fds(desk, 1, 2)
        if len(fds) != 2:
            return  # the host is gone
        with open(fds[0], "rb") as file:
            options, _, source = file.read().partition(b"\n")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fds[1]) as connection:
            program = Program(connection, lambda: desk.sendall(b"called\n"))
            verdict = run(source, program, **json.loads(options))
        growth_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first_kb
        verdict["more"] &= time.process_time() < _LAST_CPU_S and growth_kb < _MAX_GROWTH_KB
        desk.sendall(json.dumps(verdict).encode() + b"\n")
        if not verdict["more"]:
            return


def run(source: bytes, program: Program, kind: str, entry_point: str) -> dict[str, Any]:
    """Runs the tests; the verdict, and whether this process can take `more`."""
    record = Record()
    names = tuple(name.strip() for name in entry_point.split(","))
    leaves_nothing = False
    try:
        tests = parsed(source.decode("utf-8", "surrogatepass"), kind, names)
        program.wait_until_loaded()
        _run(tests, kind, names, program, record)
        leaves_nothing = tests.leaves_nothing and not record.is_exhausted
    except ProgramGone:
        program.is_gone = True
    except BaseException as error:  # noqa: BLE001 - test code may raise anything
        if program.is_called:
            record.failed("test code", error)
            record.num_tests = max(
                record.num_tests, record.num_passed + 1
            )  # what is no assert of the top level counts too
        else:
            record.bad = f"{type(error).__name__}: {error}"[:500]
    if not program.is_called and not program.is_gone and not record.bad:
        record.bad = "the test code never calls the program"
    return {
        "tests": record.num_tests,
        "passed": record.num_passed,
        "failures": record.failures,
        "bad": record.bad,
        "gone": program.is_gone,
        "more": leaves_nothing and not program.is_gone,
    }


def _run(tests: Tests, kind: str, names: tuple[str, ...], program: Program, record: Record) -> None:
    module = types.ModuleType("tests")
    sys.modules["tests"] = module
    space = module.__dict__
    space.update({name: Entry(program, name) for name in names})
    if kind == "assert":
        _run_asserts(tests, space, program, record)
        return
    exec(tests.statements[0][0], space)
    if kind == "check":
        record.num_tests = 1
        check = space.get("check")
        if not callable(check):
            raise NameError("the test code defines no check(candidate)")
        _one(
            "check", lambda: check(space[names[0]] if names[0] in space else Entry(program, names[0])), program, record
        )
        return
    _run_unittest(module, program, record)


def _run_asserts(tests: Tests, space: dict[str, Any], program: Program, record: Record) -> None:
    num_asserts = sum(is_assert for _, is_assert in tests.statements)
    record.num_tests = num_asserts or 1
    number = 0
    for code, is_assert in tests.statements:
        if is_assert:
            number += 1
            _one(f"test {number}", lambda code=code: exec(code, space), program, record)
        else:
            exec(code, space)
    if not num_asserts:  # asserts in functions or loops: the whole is one test
        record.num_passed = 1


def _one(name: str, test: Callable[[], Any], program: Program, record: Record) -> None:
    try:
        test()
    except Exception as error:
        if not program.is_called:
            raise  # not the program's doing
        record.failed(name, error)
    else:
        record.num_passed += not program.is_gone


def _run_unittest(module: types.ModuleType, program: Program, record: Record) -> None:
    import unittest

    def cases(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
        for item in suite:
            if isinstance(item, unittest.TestSuite):
                yield from cases(item)
            else:
                yield item

    tests = list(cases(unittest.defaultTestLoader.loadTestsFromModule(module)))
    record.num_tests = len(tests)
    for test in tests:
        result = unittest.TestResult()
        name = test.id().removeprefix("tests.")
        unittest.TestSuite([test]).run(result)
        problems = [*result.failures, *result.errors, *((case, f"skipped: {why}") for case, why in result.skipped)]
        if result.testsRun == 1 and not problems and not result.expectedFailures and not result.unexpectedSuccesses:
            record.num_passed += not program.is_gone
            continue
        text = problems[0][1].strip().splitlines()[-1] if problems else "an unexpected success, or not run"
        if not program.is_called:
            raise RuntimeError(f"{name} failed before it called the program: {text}")
        record.failed(name, AssertionError(text))
