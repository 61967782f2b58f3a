"""Runs test code, which is ours, against a program in another process. Runs confined, in a jail of its own.

The test code reaches the program only through stand-ins that pass plain data; what comes back cannot carry code, lie
about equality, or skip a test. The verdict goes to a descriptor of its own, as JSON.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import socket
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from reasoning_rl.sandbox import codec
from reasoning_rl.sandbox.codec import Handle

_VERDICT_FD = 5
_MAX_FAILURES = 20


class ProgramGone(BaseException):
    """The program's process ended, or sent something that is no answer."""


class BadType(Exception):  # noqa: N818 - the name that the program's side reports
    """The program returned something that is not plain data."""


class Program:
    """The connection to the program."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.is_called = self.is_gone = False

    def wait_until_loaded(self) -> None:
        self.read()

    def ask(self, *request: Any) -> Any:
        if not self.is_called:
            self.is_called = True
            os.write(_VERDICT_FD, b"called\n")
        try:
            self.connection.sendall(codec.frame(codec.encode(request, _handle_of)))
        except OSError:
            self.gone()
        kind, value, rest = self.read()
        if kind == "value":
            return value
        error = getattr(builtins, value, None) if type(value) is str else None
        if not (isinstance(error, type) and issubclass(error, Exception)):
            error = BadType
        try:
            raised = error(rest if type(rest) is str else "")
        except Exception:  # noqa: BLE001 - some take other arguments
            raised = Exception(f"{value}: {rest}")
        raise raised from None

    def read(self) -> tuple[Any, Any, Any]:
        try:
            body = None if self.is_gone else codec.receive(self.connection)
            if body is not None:
                kind, value, rest = codec.decode(body, lambda handle: Remote(self, handle))
                return kind, value, rest
        except (codec.Malformed, ValueError, TypeError, OSError):
            pass
        self.gone()
        raise AssertionError

    def gone(self) -> None:
        self.is_gone = True
        raise ProgramGone


class Remote:
    """An object of the program. Equal only to itself; calls and attributes go over."""

    __slots__ = ("_handle", "_program")

    def __init__(self, program: Program, handle: Handle) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_handle", handle)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._program.ask("call", self._handle, args, kwargs, False, False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__") and name not in ("__name__", "__doc__"):
            raise AttributeError(name)
        return self._program.ask("get", self._handle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._program.ask("set", self._handle, name, value)

    def _special(self, name: str, *args: Any) -> Any:
        return self._program.ask("get", self._handle, name)(*args)

    def __len__(self) -> int:
        return self._special("__len__")

    def __getitem__(self, key: Any) -> Any:
        return self._special("__getitem__", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._special("__setitem__", key, value)

    def __contains__(self, key: Any) -> bool:
        return self._special("__contains__", key) is True

    def __iter__(self) -> Iterator[Any]:
        return iter(self._program.ask("call", self._program.ask("get", self._handle, "__iter__"), (), {}, False, True))

    def __str__(self) -> str:
        return self._special("__str__")

    def __eq__(self, other: object) -> bool:
        return type(other) is Remote and self._handle.number == other._handle.number

    def __hash__(self) -> int:
        return hash(self._handle.number)


class Entry:
    """A name that the program defines. Calling it is one message."""

    def __init__(self, program: Program, name: str) -> None:
        self._program, self.__name__ = program, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._program.ask("call", self.__name__, args, kwargs, False, False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return getattr(self._program.ask("entry", self.__name__), name)


def _handle_of(value: Any) -> Handle:
    if type(value) is Remote:
        return value._handle
    raise codec.NotPlain(f"test code passes a {type(value).__name__}, which is not plain data")


class Record:
    """Counts tests; keeps the first failures."""

    def __init__(self) -> None:
        self.num_tests = self.num_passed = 0
        self.failures: list[tuple[str, str, str]] = []
        self.bad = ""

    def failed(self, test: str, error: BaseException) -> None:
        if len(self.failures) < _MAX_FAILURES:
            try:
                message = str(error)[:1000]
            except Exception:  # noqa: BLE001 - text of a huge integer, for one
                message = ""
            self.failures.append((test, type(error).__name__, message))


def run(source: bytes, connection: socket.socket, options: dict[str, Any]) -> None:
    """Runs the tests and writes the verdict."""
    record, program = Record(), Program(connection)
    try:
        _run(source.decode("utf-8", "surrogatepass"), program, options, record)
    except ProgramGone:
        program.is_gone = True
    except BaseException as error:  # noqa: BLE001 - test code may raise anything
        if program.is_called:
            record.failed("test code", error)
        else:
            record.bad = f"{type(error).__name__}: {error}"[:500]
    if not program.is_called and not program.is_gone and not record.bad:
        record.bad = "the test code never calls the program"
    verdict = {
        "tests": record.num_tests,
        "passed": record.num_passed,
        "failures": record.failures,
        "bad": record.bad,
        "gone": program.is_gone,
    }
    os.write(_VERDICT_FD, json.dumps(verdict).encode() + b"\n")


def _run(source: str, program: Program, options: dict[str, Any], record: Record) -> None:
    names = [name.strip() for name in options["entry_point"].split(",")]
    module = types.ModuleType("tests")
    sys.modules["tests"] = module
    space = module.__dict__
    space.update({name: Entry(program, name) for name in names})
    tree = ast.parse(source, "tests.py")
    program.wait_until_loaded()
    if options["kind"] == "assert":
        _run_asserts(tree, space, program, record)
        return
    exec(compile(tree, "tests.py", "exec"), space)
    if options["kind"] == "check":
        record.num_tests = 1
        check = space.get("check")
        if not callable(check):
            raise NameError("the test code defines no check(candidate)")
        _one(
            "check", lambda: check(space[names[0]] if names[0] in space else Entry(program, names[0])), program, record
        )
        return
    _run_unittest(module, program, record)


def _run_asserts(tree: ast.Module, space: dict[str, Any], program: Program, record: Record) -> None:
    record.num_tests = sum(isinstance(node, ast.Assert) for node in tree.body) or 1
    has_asserts = any(isinstance(node, ast.Assert) for node in tree.body)
    number = 0
    for node in tree.body:
        code = compile(ast.Module([node], []), "tests.py", "exec")
        if isinstance(node, ast.Assert):
            number += 1
            _one(f"test {number}", lambda code=code: exec(code, space), program, record)
        else:
            exec(code, space)
    if not has_asserts:  # asserts in functions or loops: the whole is one test
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
