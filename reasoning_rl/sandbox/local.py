"""The local sandbox: chooses a tier, keeps two jails (programs, test code), retries once what failed through our fault.

How one run is judged is `runs`; what a jail is made of is `jail`; which tier holds here is `tiers`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

from reasoning_rl.errors import SandboxError
from reasoning_rl.sandbox import codec, tiers
from reasoning_rl.sandbox.jail import Jail
from reasoning_rl.sandbox.runs import OVERLOAD, Run
from reasoning_rl.sandbox.types import (
    DEFAULT_LIMITS,
    Answer,
    Call,
    CallsResult,
    Failure,
    GradeResult,
    Limits,
    Outcome,
    Raised,
    RunResult,
    TestCode,
)

#: A jail is replaced after so many runs, when it is idle.
_RECYCLE_AFTER = 1000
#: A longer program is refused unseen.
MAX_PROGRAM_BYTES = 4 << 20
_MAX_VERDICT_BYTES = 1 << 18
_TOO_LONG = RunResult(Outcome.RUNTIME_ERROR, reason=f"the program is longer than {MAX_PROGRAM_BYTES} bytes")
_T = TypeVar("_T")
_Role = Literal["program", "grader"]


class LocalSandbox:
    """Runs programs on this machine behind the strongest tier that holds here. See `Sandbox` for the methods.

    The tier is chosen by attacks that are really tried when the sandbox is made (about a second), and never gets weaker
    afterwards. Threads may share it; a forked process needs its own.

    Args:
        tier: `T1` or `T2` to insist on one; by default the strongest that passes.
        parallel: programs at a time; further calls wait for a free place. By default the usable cores.
        packages: installed packages that programs may import besides the standard library, such as `("numpy",)`.
        scratch_mb: the largest `Limits.scratch_mb` that will be asked for.
        executables: files that `run_binary` may need: an interpreter, the loader of the C library.
        allow_unsandboxed: run without isolation where no tier holds, if the environment variable
            REASONING_RL_SANDBOX_UNSANDBOXED is `yes` too. Never for programs that you have not read.

    Raises:
        SandboxError: no tier holds here, or not the one asked for. Nothing of a program was run.
    """

    def __init__(
        self,
        *,
        tier: str | None = None,
        parallel: int | None = None,
        packages: Sequence[str] = (),
        scratch_mb: int = 16,
        executables: Sequence[str] = (),
        allow_unsandboxed: bool = False,
    ) -> None:
        self._parallel = parallel or len(os.sched_getaffinity(0))
        self._packages, self._scratch_mb, self._executables = tuple(packages), scratch_mb, tuple(executables)
        self._places = threading.BoundedSemaphore(self._parallel)
        self._lock = threading.Lock()
        self._jails: dict[_Role, Jail] = {}
        self._is_closed = False
        self._pid = os.getpid()
        self.tier = tiers.choose(tier, allow_unsandboxed=allow_unsandboxed)

    def __enter__(self) -> LocalSandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, program: str, stdin: bytes | str = b"", limits: Limits = DEFAULT_LIMITS) -> RunResult:
        """Runs a program as `__main__`. See `Sandbox.run`."""
        self._check(limits)
        return self._run("stdio", _bytes(program), _bytes(stdin), limits, {})

    def run_binary(self, source: bytes, stdin: bytes, limits: Limits, options: Mapping[str, Any]) -> RunResult:
        """Runs a compiled program, or a source by an interpreter (`binary.prepare` says how), behind the same walls."""
        self._check(limits)
        return self._run("binary", source, stdin, limits, options)

    def _run(self, mode: str, source: bytes, given: bytes, limits: Limits, options: Mapping[str, Any]) -> RunResult:
        if len(source) > MAX_PROGRAM_BYTES:
            return _TOO_LONG

        def attempt(jails: dict[_Role, Jail]) -> RunResult:
            with Run(jails["program"], mode, source, given, limits, options) as run:
                return run.end()

        return self._twice(("program",), attempt, lambda result: result)

    def calls(self, program: str, calls: Sequence[Call], limits: Limits = DEFAULT_LIMITS) -> CallsResult:
        """Loads a program once and calls it. See `Sandbox.calls`."""
        self._check(limits)
        source = _bytes(program)
        if len(source) > MAX_PROGRAM_BYTES:
            return CallsResult((), _TOO_LONG)
        requests = [
            codec.frame(
                codec.encode(
                    ("call", call.entry_point, list(call.args), dict(call.kwargs), call.write_back, call.as_list)
                )
            )
            for call in calls
        ]
        return self._twice(
            ("program",), lambda jails: _calls(jails["program"], source, requests, limits), lambda result: result.end
        )

    def grade(self, program: str, tests: TestCode, limits: Limits = DEFAULT_LIMITS) -> GradeResult:
        """Runs test code against a program. See `Sandbox.grade`."""
        self._check(limits)
        source = _bytes(program)
        if len(source) > MAX_PROGRAM_BYTES:
            return GradeResult(0, 0, (), _TOO_LONG)
        return self._twice(
            ("program", "grader"),
            lambda jails: _grade(jails["program"], jails["grader"], source, tests, limits),
            lambda result: result.end,
        )

    def close(self) -> None:
        """Ends everything that the sandbox started. Idempotent."""
        with self._lock:
            self._is_closed = True
            jails = list(self._jails.values())
            self._jails.clear()
        if os.getpid() == self._pid:
            for jail in jails:
                jail.close()

    def _check(self, limits: Limits) -> None:
        if self._is_closed:
            raise SandboxError("the sandbox is closed")
        if os.getpid() != self._pid:
            raise SandboxError("this sandbox belongs to the parent process; make one of your own after a fork")
        if limits.scratch_mb > self._scratch_mb:
            raise ValueError(
                f"limit scratch_mb is {limits.scratch_mb}, more than LocalSandbox(scratch_mb={self._scratch_mb})"
            )

    def _twice(
        self,
        roles: tuple[_Role, ...],
        attempt: Callable[[dict[_Role, Jail]], _T],
        end_of: Callable[[_T], RunResult],
    ) -> _T:
        """Tries again on fresh jails, alone, when the sandbox failed; says whose fault a second failure is."""
        jails: dict[_Role, Jail] = {}
        with self._places:
            with contextlib.ExitStack() as stack:
                try:
                    for role in roles:
                        jails[role] = stack.enter_context(self._shared(role))
                    result = attempt(jails)
                except SandboxError:
                    if self._is_closed:
                        raise
                    result = None
                if result is not None and end_of(result).outcome is not Outcome.SANDBOX_FAILURE:
                    return result
                for role, jail in jails.items():
                    self._retire(role, jail)
            fresh: dict[_Role, Jail] = {}
            try:
                for role in roles:
                    fresh[role] = self._new(role, slots=1)
                result = attempt(fresh)
            finally:
                for jail in fresh.values():
                    jail.close()
            end = end_of(result)
            if end.outcome is Outcome.SANDBOX_FAILURE and end.reason != OVERLOAD and self._is_working():
                # It took a sandbox down twice, and another program runs well: that is its doing.
                blamed = RunResult(Outcome.SECURITY_VIOLATION, wall_s=end.wall_s, reason=f"twice: {end.reason}")
                return _with_end(result, blamed)
            return result

    def _is_working(self) -> bool:
        try:
            jail = self._new("program", slots=1)
        except SandboxError:
            return False
        try:
            with Run(jail, "stdio", b"print(6 * 7)", b"", Limits(scratch_mb=0)) as run:
                return run.end().stdout == b"42\n"
        finally:
            jail.close()

    def _new(self, role: _Role, slots: int) -> Jail:
        preload = ("unittest", "ast", "reasoning_rl.sandbox.grader") if role == "grader" else ()
        packages = self._packages
        return Jail(self.tier.walls, slots, self._scratch_mb, packages, preload, self._executables)

    @contextlib.contextmanager
    def _shared(self, role: _Role) -> Iterator[Jail]:
        with self._lock:
            if self._is_closed:
                raise SandboxError("the sandbox is closed")
            jail = self._jails.get(role)
            if jail is not None and (
                jail.process.poll() is not None or (jail.num_runs >= _RECYCLE_AFTER and not jail.num_users)
            ):
                del self._jails[role]
                if not jail.num_users:
                    jail.close()
                jail = None
            if jail is None:
                jail = self._jails[role] = self._new(role, self._parallel)
            jail.num_users += 1
            jail.num_runs += 1
        try:
            yield jail
        finally:
            with self._lock:
                jail.num_users -= 1
                is_done = jail.num_users == 0 and self._jails.get(role) is not jail
            if is_done:
                jail.close()

    def _retire(self, role: _Role, jail: Jail) -> None:
        with self._lock:
            if self._jails.get(role) is jail:
                del self._jails[role]


def _with_end(result: Any, end: RunResult) -> Any:
    if isinstance(result, CallsResult):
        return CallsResult(result.answers, end)
    if isinstance(result, GradeResult):
        return GradeResult(result.num_tests, 0, (), end)
    return end


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def _calls(jail: Jail, source: bytes, requests: Sequence[bytes], limits: Limits) -> CallsResult:
    ours, theirs = socket.socketpair()
    answers: list[Answer] = []
    with ours, theirs, Run(jail, "calls", source, b"", limits, {"handles": False}, (theirs.fileno(),)) as run:
        theirs.close()
        ours.setblocking(False)
        inbox = bytearray()
        try:
            is_loaded = _receive(run, ours, inbox) is not None
            for request in requests if is_loaded else ():
                if not _send(run, ours, request):
                    break
                body = _receive(run, ours, inbox)
                if body is None:
                    break
                answers.append(_answer(codec.decode(body)))
        except codec.Malformed as error:
            run.kill()
            end = run.end()
            if end.outcome is Outcome.EXITED:
                end = replace(end, outcome=Outcome.RUNTIME_ERROR, reason=f"its answer is no answer: {error}")
            return CallsResult(tuple(answers), end)
        if is_loaded and len(answers) == len(requests):
            run.kill()
            return CallsResult(tuple(answers), run.end())
        end = run.end()
        if end.outcome is Outcome.EXITED:
            end = replace(end, outcome=Outcome.RUNTIME_ERROR, reason="it ended before it had answered every call")
        return CallsResult(tuple(answers), end)


def _answer(reply: Any) -> Answer:
    match reply:
        case ("value", value, None):
            return Answer(value)
        case ("value", value, tuple(arguments)):
            return Answer(value, args=arguments)
        case ("raised", str(name), str(message)):
            return Answer(raised=Raised(name[:100], message[:1000]))
    raise codec.Malformed("neither a value nor an exception")


def _send(run: Run, connection: socket.socket, data: bytes) -> bool:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[connection.send(rest) :]
        except BlockingIOError:
            if not run.wait(connection, to_write=True):
                return False
        except OSError:
            return False
    return True


def _receive(run: Run, connection: socket.socket, inbox: bytearray) -> bytes | None:
    """The next body; `None` when the program has ended or closed the connection."""
    while (body := codec.take_frame(inbox)) is None:
        is_running = run.wait(connection)
        try:
            chunk = connection.recv(1 << 18)
        except BlockingIOError:
            chunk = b"" if not is_running else None
        except OSError:
            chunk = b""
        if chunk:
            inbox += chunk
        elif chunk is not None:
            return None
    return body


def _grade(program_jail: Jail, grader_jail: Jail, source: bytes, tests: TestCode, limits: Limits) -> GradeResult:
    for_program, for_tests = socket.socketpair()
    ours, verdict = socket.socketpair()
    test_limits = Limits(
        cpu_s=limits.cpu_s + 1.0,
        # It mostly waits for the program, which its own limits end; so this one only ends tests that hang by themselves.
        wall_s=4 * limits.wall_s + 10.0,
        memory_mb=max(limits.memory_mb, 256),
        output_bytes=1 << 20,
        scratch_mb=0,
        processes=1,
    )
    options = {"kind": tests.kind, "entry_point": tests.entry_point}
    with contextlib.ExitStack() as stack:
        for connection in (for_program, for_tests, ours, verdict):
            stack.enter_context(connection)
        fds = (for_tests.fileno(), verdict.fileno())
        program = stack.enter_context(
            Run(program_jail, "calls", source, b"", limits, {"handles": True}, (for_program.fileno(),))
        )
        grader = stack.enter_context(Run(grader_jail, "grader", _bytes(tests.code), b"", test_limits, options, fds))
        for connection in (for_program, for_tests, verdict):
            connection.close()
        ours.setblocking(False)
        _wait_for_both(program, grader)
        grader_end = grader.end()
        program.kill()
        return _verdict(_read_all(ours), grader_end, program.end())


def _wait_for_both(program: Run, grader: Run) -> None:
    """Until the test code has ended, while what the program prints is read."""
    while grader.result is None:
        Run.wait_any((program, grader))


def _read_all(connection: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(OSError):
        while len(data) <= _MAX_VERDICT_BYTES and (chunk := connection.recv(1 << 16)):
            data += chunk
    return data


def _verdict(data: bytes, grader: RunResult, program: RunResult) -> GradeResult:
    """Puts together what the test code said and how both processes ended."""
    first, _, rest = data.partition(b"\n")
    is_called = first == b"called"
    line = (rest if is_called else first).strip()
    found: dict[str, Any] | None = json.loads(line) if line else None
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
