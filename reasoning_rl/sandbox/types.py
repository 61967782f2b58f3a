"""What a sandbox takes and gives back: limits, outcomes, results, and the `Sandbox` protocol. Public.

Standard library only. Nothing here runs a program: `reasoning_rl.sandbox.LocalSandbox` does, and so may an adapter of a
remote service. A sandbox never learns a right answer: it reports what a program printed or returned, and whoever asked
compares. Test code that holds expected values (`TestCode`) runs in a process of its own that the program cannot reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

#: Values that may cross between the caller and a program: of exactly these types, never of a subclass, nested at most
#: `MAX_DEPTH` deep and at most `MAX_MESSAGE_BYTES` long when encoded.
Plain: TypeAlias = (
    bool
    | int
    | float
    | complex
    | str
    | bytes
    | list[Any]
    | tuple[Any, ...]
    | set[Any]
    | frozenset[Any]
    | dict[Any, Any]
    | None
)
MAX_DEPTH = 200
MAX_MESSAGE_BYTES = 8 << 20


class Outcome(StrEnum):
    """How a program ended. All but the last two are the program's own doing.

    EXITED: by itself, with exit code 0 (`run`), having answered every call (`calls`), or with every test run to its end
        (`grade`). It says nothing about right or wrong.
    RUNTIME_ERROR: another exit code, a signal, an exit in the middle of a call, a name that is missing, a syntax error.
    TIME_LIMIT: CPU time over `Limits.cpu_s`; or blocked (asleep, not waiting for a core) for `Limits.wall_s`.
    MEMORY_LIMIT: memory ran out.
    OUTPUT_LIMIT: more than `Limits.output_bytes` on stdout and stderr together.
    SECURITY_VIOLATION: a system call that no honest program makes, or a program that takes the sandbox down twice.
    BAD_TESTS: the test code failed before it called the program, or never called it. Our fault, or the data's: abstain.
    SANDBOX_FAILURE: the sandbox did not work, also on a second, fresh attempt. Our fault: abstain. It is decided by
        evidence that the program cannot touch; no exit code, no output and no crash of the program leads here.
    """

    EXITED = "exited"
    RUNTIME_ERROR = "runtime_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    SECURITY_VIOLATION = "security_violation"
    BAD_TESTS = "bad_tests"
    SANDBOX_FAILURE = "sandbox_failure"

    @property
    def is_our_fault(self) -> bool:
        """Whether the tests or the sandbox failed, not the program: such a result carries no score."""
        return self in (Outcome.BAD_TESTS, Outcome.SANDBOX_FAILURE)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use: one run, or loading and all calls of one `calls`, or of one `grade`.

    Attributes:
        cpu_s: CPU seconds, over 0. Decides TIME_LIMIT, however loaded the machine is.
        wall_s: seconds of waiting and computing, without the time spent queueing for a core; at least `cpu_s` makes
            sense. A program that sleeps longer is at TIME_LIMIT.
        memory_mb: memory on top of the bare interpreter, in MiB of address space.
        output_bytes: bytes that are kept of stdout and stderr together; one more ends the program.
        scratch_mb: MiB of files in the working directory, which is empty at the start and gone at the end. 0: none.
        processes: threads, the first included. Other processes are always refused.

    Raises:
        ValueError: a limit is out of range.
    """

    cpu_s: float = 2.0
    wall_s: float = 10.0
    memory_mb: int = 512
    output_bytes: int = 4 << 20
    scratch_mb: int = 16
    processes: int = 16

    def __post_init__(self) -> None:
        for name, low in (("cpu_s", 0.01), ("wall_s", 0.01), ("memory_mb", 16), ("processes", 1)):
            if not low <= getattr(self, name) < float("inf"):
                raise ValueError(f"limit {name} is {getattr(self, name)}; it must be at least {low}")
        for name in ("output_bytes", "scratch_mb"):
            if getattr(self, name) < 0:
                raise ValueError(f"limit {name} is {getattr(self, name)}; it must not be negative")


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a program ended and what it wrote.

    Attributes:
        outcome: see `Outcome`.
        exit_code: 0 to 255 when it exited, `None` when a signal or the sandbox ended it.
        signal: number of the signal that ended it, else `None`.
        stdout, stderr: what it wrote, at most `output_bytes` together. Untrusted bytes.
        cpu_s, wall_s: used CPU time and elapsed time.
        queued_s: of that, seconds in which it was ready and waited for a core; `None` when the sandbox cannot tell.
        peak_memory_mb: resident memory at its largest.
        reason: one sentence for people, empty for `EXITED`. Not for programs to parse.
    """

    outcome: Outcome
    exit_code: int | None = None
    signal: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    queued_s: float | None = None
    peak_memory_mb: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function that the program defines.

    Attributes:
        entry_point: `name`; or `Class.method`, which makes an instance without arguments for every call.
        args, kwargs: plain data (`Plain`); the program gets copies.
        write_back: also return the arguments as they are after the call, for functions that work in place.
        as_list: turn an iterator or a view that is returned into a list first.
    """

    entry_point: str
    args: Sequence[Plain] = ()
    kwargs: Mapping[str, Plain] = field(default_factory=dict)
    write_back: bool = False
    as_list: bool = False


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception that a call raised.

    `type_name` is the nearest builtin exception class (`ValueError` for a subclass of the program's own); `BadType` when
    the call returned a value that is not plain data, `TooLarge` when it returned too much. `message` is untrusted text,
    at most 1,000 characters.
    """

    type_name: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call gave: `value`, or `raised`. `args` are the arguments afterwards, with `write_back` only.

    Values are exact plain types, so that `==` runs no code of the program. Beware of `repr` of huge integers: it raises
    above 4,300 digits; use `shown`.
    """

    value: Plain = None
    raised: Raised | None = None
    args: tuple[Plain, ...] | None = None


@dataclass(frozen=True, slots=True)
class CallsResult:
    """Answers in the order of the calls; fewer than calls unless `end.outcome` is EXITED.

    `end.outcome` is EXITED when every call was answered, be it with an exception.
    """

    answers: tuple[Answer, ...]
    end: RunResult


@dataclass(frozen=True, slots=True)
class TestCode:
    """Test code, which runs out of the program's reach and calls it through a stand-in that passes plain data only.

    Attributes:
        kind: `assert`: statements; every top-level `assert` is one test, in order.
            `check`: defines `check(candidate)`, which is called with the stand-in and is one test (HumanEval).
            `unittest`: defines `unittest.TestCase` classes; every test method is one test, a skipped one fails.
        code: the test code.
        entry_point: name that the program defines and the test code uses; a class gives instances that stay with the
            program, with methods and plain attributes. `unittest` and `assert` code may name several, separated by
            commas. Names that the program also defines are not visible otherwise.
    """

    __test__ = False  # not for pytest

    kind: Literal["assert", "check", "unittest"]
    code: str
    entry_point: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that did not pass: its name (`test 2`, `TestAdd.test_zero`) and what was raised."""

    test: str
    raised: Raised


@dataclass(frozen=True, slots=True)
class GradeResult:
    """How the program did in one `TestCode`.

    Attributes:
        num_tests: tests in the code, known without running the program; 0 for BAD_TESTS or when the code was not run.
        num_passed: those that passed, at most `num_tests`. Tests after the end of the program did not.
        failures: those that failed, in order, at most 20.
        end: `end.outcome` is EXITED when every test was run to its end; otherwise what ended the program or the tests.
    """

    num_tests: int
    num_passed: int
    failures: tuple[Failure, ...]
    end: RunResult

    @property
    def accepted(self) -> bool:
        """Whether there are tests, all were run to their end, and all passed."""
        return self.end.outcome is Outcome.EXITED and self.num_passed == self.num_tests > 0 and not self.failures


class ProgramRunner(Protocol):
    """Runs whole programs with input and output: as much as a sandbox of another language or machine can do."""

    def run(self, program: str, stdin: bytes | str = b"", limits: Limits = DEFAULT_LIMITS) -> RunResult:
        """Runs a program with `stdin` as its standard input; failures of ours are `Outcome.SANDBOX_FAILURE`."""
        ...

    def close(self) -> None:
        """Ends everything that was started. Idempotent."""
        ...


@runtime_checkable
class Sandbox(Protocol):
    """Runs untrusted Python programs. Safe to share between threads, not between processes: a fork needs its own.

    Every method returns, whatever the program does, at the latest when its limits are used up; a method raises only on
    wrong use (`ValueError`, `TypeError`) and `SandboxError` when closed.
    """

    def run(self, program: str, stdin: bytes | str = b"", limits: Limits = DEFAULT_LIMITS) -> RunResult:
        """Runs a program as `__main__` with `stdin` as its standard input."""
        ...

    def calls(self, program: str, calls: Sequence[Call], limits: Limits = DEFAULT_LIMITS) -> CallsResult:
        """Loads a program once, as a module named `solution`, and makes the calls one after the other.

        Raises:
            TypeError: an argument is not plain data.
            ValueError: the arguments are too large or nested too deeply.
        """
        ...

    def grade(self, program: str, tests: TestCode, limits: Limits = DEFAULT_LIMITS) -> GradeResult:
        """Loads a program once, as a module named `solution`, and runs test code against it from another process.

        The limits hold for the program; the test code gets the same for itself.
        """
        ...

    def close(self) -> None:
        """Ends everything that the sandbox started. Idempotent."""
        ...


def shown(value: object, max_chars: int = 200) -> str:
    """A value as short text, for details and logs; never raises on plain data, however large."""
    if type(value) is int and value.bit_length() > 1000:
        return f"int of {value.bit_length()} bits"
    try:
        text = repr(value)
    except (ValueError, RecursionError, MemoryError) as error:
        return f"{type(value).__name__} that cannot be shown ({type(error).__name__})"
    return text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"
