"""The local sandbox: chooses a tier, keeps two jails (programs, test code), retries once what failed through our fault.

How one run is judged is `runs`; what a jail is made of is `jail`; which tier holds here is `tiers`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from reasoning_rl.errors import SandboxError
from reasoning_rl.sandbox import calling, codec, grading, tiers
from reasoning_rl.sandbox.jail import Jail
from reasoning_rl.sandbox.runs import NOT_STARTED, OVERLOAD, Run
from reasoning_rl.sandbox.types import (
    DEFAULT_LIMITS,
    Call,
    CallsResult,
    GradeResult,
    Limits,
    Outcome,
    RunResult,
    TestCode,
)

#: A jail is replaced after so many runs, when it is idle.
_RECYCLE_AFTER = 1000
#: A longer program is refused unseen.
MAX_PROGRAM_BYTES = 4 << 20
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
            ("program",),
            lambda jails: calling.calls(jails["program"], source, requests, limits),
            lambda result: result.end,
        )

    def grade(self, program: str, tests: TestCode, limits: Limits = DEFAULT_LIMITS) -> GradeResult:
        """Runs test code against a program. See `Sandbox.grade`."""
        self._check(limits)
        source = _bytes(program)
        if len(source) > MAX_PROGRAM_BYTES:
            return GradeResult(0, 0, (), _TOO_LONG)
        return self._twice(
            ("program", "grader"),
            lambda jails: grading.grade(jails["program"], jails["grader"], source, tests, limits),
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
            is_blamed = end.outcome is Outcome.SANDBOX_FAILURE and not end.reason.startswith((OVERLOAD, NOT_STARTED))
            if is_blamed and self._is_working():
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
