"""Test code from the host's side: keeps processes for it, gives them tests, puts the verdict together.

The processes hold test code and never a program's. One serves again only when it says that its tests left nothing behind;
whatever goes wrong in one that had served before is decided by a fresh one.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from typing import Any

from reasoning_rl.sandbox.jail import Jail
from reasoning_rl.sandbox.runs import NOT_STARTED, OVERLOAD, Run, sealed
from reasoning_rl.sandbox.types import Failure, GradeResult, Limits, Outcome, Raised, RunResult, TestCode

_MAX_VERDICT_BYTES = 1 << 18


class Grader:
    """A process for test code, ready to take it. Not shared between threads while it works."""

    def __init__(self, jail: Jail, limits: Limits) -> None:
        self.jail, self.limits = jail, limits
        self.has_served = self.is_resting = False
        self.connection, theirs = socket.socketpair()
        self.connection.setblocking(False)
        with theirs:
            self.run = Run(jail, "grader", b"", b"", limits, {}, (theirs.fileno(),))
        if self.run.wait(self.connection):
            self.connection.recv(1)  # it is there; or this is empty, and it has ended

    def give(self, tests: TestCode, program: socket.socket) -> None:
        """Test code, and the connection to the program that it is for."""
        if self.is_resting:
            self.run.resume()
            self.is_resting = False
        options = json.dumps({"kind": tests.kind, "entry_point": tests.entry_point}).encode()
        try:
            file = sealed(options + b"\n" + tests.code.encode("utf-8", "surrogatepass"))
            try:
                socket.send_fds(self.connection, [b"T"], [file, program.fileno()])
            finally:
                os.close(file)
        except OSError as error:
            self.run.fail(f"{NOT_STARTED}: the jail takes no test code ({error})")

    def verdict(self, program: Run) -> tuple[bool, dict[str, Any] | None]:
        """Waits until the tests or their process have ended, while what the program prints is read.

        Returns:
            Whether the program was called, and the verdict, if there is one.
        """
        data = b""
        is_open = True
        while True:
            is_over = self.run.result is not None  # so that what is read now is all
            try:
                while is_open and (chunk := self.connection.recv(1 << 16)):
                    data += chunk
                is_open = False
            except BlockingIOError:
                pass
            except OSError:
                is_open = False
            is_called = data.startswith(b"called\n")
            line = data.removeprefix(b"called\n")
            if line.endswith(b"\n"):
                return is_called, json.loads(line)
            if len(data) > _MAX_VERDICT_BYTES:
                self.run.kill()
                is_open = False
            if is_over:
                return is_called, None
            Run.wait_any((program, self.run), self.connection if is_open else None)

    def end(self, program: Run) -> RunResult:
        """Waits for the end of the process, which has no more to do, while what the program prints is read."""
        while self.run.result is None:
            Run.wait_any((program, self.run), None)
        return self.run.end()

    def rest(self) -> None:
        """Waits for more, in the jail's keeping."""
        self.run.pause()
        self.is_resting = True
        self.jail.idle.append(self)
        if self.jail.is_closed:
            self.jail.end_idle()

    def close(self) -> None:
        """Ends it and frees everything."""
        self.run.kill()
        self.run.close()
        self.connection.close()


def grade(program_jail: Jail, grader_jail: Jail, source: bytes, tests: TestCode, limits: Limits) -> GradeResult:
    """Loads a program in one jail and runs test code against it in the other."""
    test_limits = Limits(
        cpu_s=limits.cpu_s + 1.0,
        # It mostly waits for the program, which its own limits end; so this one only ends tests that hang by themselves.
        wall_s=4 * limits.wall_s + 10.0,
        memory_mb=max(limits.memory_mb, 256),
        output_bytes=1 << 20,
        scratch_mb=0,
        processes=1,
    )
    grader = _idle(grader_jail, test_limits) or Grader(grader_jail, test_limits)
    result, is_kept = _attempt(program_jail, grader, source, tests, limits)
    if result is None:
        result, is_kept = _attempt(program_jail, Grader(grader_jail, test_limits), source, tests, limits)
        assert result is not None
    if not is_kept:
        Grader(grader_jail, test_limits).rest()  # the next one, so that the number of processes stays
    return result


def _idle(jail: Jail, limits: Limits) -> Grader | None:
    """A process that waits for test code. Those with other limits are ended, for each takes a place."""
    while jail.idle:
        try:
            grader = jail.idle.pop()
        except IndexError:  # another thread was faster
            break
        if grader.run.is_running() and grader.limits == limits:
            return grader
        grader.run.kill()
        grader.run.end()
        grader.close()
    return None


def _attempt(
    program_jail: Jail, grader: Grader, source: bytes, tests: TestCode, limits: Limits
) -> tuple[GradeResult | None, bool]:
    """The result, and whether the process for test code waits for more; else it has ended.

    There is no result when one that had served before gave no verdict, other than by computing for too long: a fresh one
    tells whose fault that is.
    """
    for_program, for_tests = socket.socketpair()
    is_kept = False
    try:
        with for_program, for_tests:
            program = Run(program_jail, "calls", source, b"", limits, {"handles": True}, (for_program.fileno(),))
            for_program.close()
            with program:
                grader.give(tests, for_tests)
                for_tests.close()
                is_called, found = grader.verdict(program)
                program.kill()
                if found is not None and found["more"]:
                    tests_end = RunResult(Outcome.EXITED)
                    grader.has_served = is_kept = True
                    grader.rest()
                else:
                    tests_end = grader.end(program)
                    if found is None and grader.has_served and tests_end.cpu_s < grader.limits.cpu_s:
                        return None, False
                return _verdict(is_called, found, tests_end, _excused(program.end(), tests_end, limits)), is_kept
    finally:
        if not is_kept:
            grader.close()


def _excused(program: RunResult, grader: RunResult, limits: Limits) -> RunResult:
    """Waiting for test code that itself waits for a core most of the time is no doing of the program."""
    is_starved = (grader.queued_s or 0.0) > limits.wall_s / 2
    if is_starved and program.outcome is Outcome.TIME_LIMIT and program.cpu_s < limits.cpu_s:
        return replace(program, outcome=Outcome.SANDBOX_FAILURE, reason=OVERLOAD)
    return program


def _verdict(is_called: bool, found: dict[str, Any] | None, grader: RunResult, program: RunResult) -> GradeResult:
    """Puts together what the test code said and how both processes ended."""
    num_tests, num_passed = (found["tests"], found["passed"]) if found else (0, 0)
    failures = tuple(Failure(test, Raised(name, message)) for test, name, message in (found or {}).get("failures", ()))
    if found is not None and grader.outcome is Outcome.EXITED and not found["gone"]:
        # The tests came to their end while the program answered. How it went down after them does not matter, unless
        # it had used up its limits or broken out by then.
        if program.outcome in (Outcome.RUNTIME_ERROR, Outcome.SANDBOX_FAILURE):
            program = replace(program, outcome=Outcome.EXITED, reason="")
        if found["bad"]:
            return GradeResult(0, 0, (), replace(program, outcome=Outcome.BAD_TESTS, reason=found["bad"]))
        return GradeResult(num_tests, num_passed, failures, program)
    if program.outcome is not Outcome.EXITED:
        return GradeResult(num_tests, num_passed, failures, program)
    if grader.outcome is Outcome.SANDBOX_FAILURE:
        return GradeResult(0, 0, (), grader)
    if found is not None and found["gone"]:
        end = replace(program, outcome=Outcome.RUNTIME_ERROR, reason="the program ended in the middle of the tests")
        return GradeResult(num_tests, num_passed, failures, end)
    # The tests themselves ended badly. Once the program has been called, what it returned may be the cause.
    reason = f"the test code ended: {grader.reason}"
    if not is_called:
        return GradeResult(0, 0, (), replace(program, outcome=Outcome.BAD_TESTS, reason=reason))
    outcome = Outcome.RUNTIME_ERROR if grader.outcome is Outcome.EXITED else grader.outcome
    return GradeResult(0, 0, (), replace(program, outcome=outcome, reason=reason))
