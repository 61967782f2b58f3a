"""Runs the tests of a row against a program in a sandbox, and says how it did.

Knows the sandbox's outcomes and nothing of completions or scores. Expected values stay on this side: for `stdio` and `call`
the program's output is compared here; test code runs in a process of the sandbox that the program cannot reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from reasoning_rl.sandbox import Call, Failure, Limits, Outcome, ProgramRunner, RunResult, Sandbox, TestCode, shown
from reasoning_rl_rewards.code_tests.cases import BadTests, CallCase, Case, CodeCase, Compare, StdioCase
from reasoning_rl_rewards.code_tests.compare import same_output, same_value
from reasoning_rl_rewards.code_tests.orders import call_orders, code_orders, nth_assert

ACCEPTED = "accepted"
WRONG_ANSWER = "wrong_answer"
_SHOWN_CHARS = 200
#: Where a sandbox does not say how long a program queued, its elapsed time counts by this part: programs on a machine with
#: eight times as many as it has cores are not blamed, and those that sleep do not outlast the pool's deadline.
_CROWD = 8


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for all tests of a row.

    `limits` are for one run: one stdio test, or all calls of the row, or one piece of test code. `total_s` bounds the
    seconds of all runs together, without the time that they queue for a core. `seed` decides the order of the tests,
    `None` leaves it as it is. `is_thorough` runs all tests, also after one has failed.
    """

    limits: Limits = field(default_factory=Limits)
    total_s: float = 60.0
    compare: Compare = "tokens"
    float_tolerance: float | None = None
    tuple_as_list: bool = False
    seed: str | None = ""
    is_thorough: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """How a program did.

    `outcome` is `accepted`, `wrong_answer` or a value of the sandbox's `Outcome`, that of the first test that failed.
    `fraction` is the mean over the tests, from 0 to 1; within test code every assert or test method counts.
    """

    outcome: str
    fraction: float
    num_passed: int
    num_tests: int
    failed: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Found:
    """The result of one test of the row: its share of marks, and what was wrong when that is below 1."""

    share: float
    outcome: str = ACCEPTED
    detail: dict[str, Any] = field(default_factory=dict)


class _OutOfTime(Exception):  # noqa: N818 - not an error
    """All tests together have taken too long."""


def judge(sandbox: ProgramRunner, program: str, cases: Sequence[Case], rules: Rules) -> Judged:
    """Runs the tests; unless `rules.is_thorough`, up to the first that fails. Calls and test code need a `Sandbox`.

    Raises:
        BadTests: arguments that cannot be sent, or test code that fails by itself; the data's fault.
        SandboxError: the sandbox is closed.
    """
    found: dict[int, _Found] = {}
    try:
        for position, result in _Judge(sandbox, program, cases, rules).results():
            found[position] = result
            if result.outcome in (Outcome.SANDBOX_FAILURE, Outcome.SECURITY_VIOLATION):
                break
            if result.share < 1 and not rules.is_thorough:
                break
    except _OutOfTime:
        position = next(index for index in range(len(cases)) if index not in found)
        found[position] = _Found(0.0, Outcome.TIME_LIMIT, {"reason": f"{rules.total_s:g} s for all tests together"})
    bad = [position for position in sorted(found) if found[position].share < 1]
    severe = [p for p in bad if found[p].outcome in (Outcome.SANDBOX_FAILURE, Outcome.SECURITY_VIOLATION)]
    fraction = sum(result.share for result in found.values()) / len(cases)
    num_passed = sum(result.share == 1 for result in found.values())
    if not bad and len(found) == len(cases):
        return Judged(ACCEPTED, 1.0, num_passed, len(cases))
    first = (severe or bad)[0]
    detail = {"test": f"tests[{first}]", **found[first].detail}
    return Judged(found[first].outcome, 0.0 if severe else min(fraction, 0.999999), num_passed, len(cases), detail)


class _Judge:
    """One program on its way through the tests."""

    def __init__(self, sandbox: ProgramRunner, program: str, cases: Sequence[Case], rules: Rules) -> None:
        self.sandbox, self.program, self.cases, self.rules = sandbox, program, cases, rules
        self.spent_s = 0.0

    def results(self) -> Iterator[tuple[int, _Found]]:
        """Position and result of each test; the cheap ones first."""
        calls = [(position, case) for position, case in enumerate(self.cases) if isinstance(case, CallCase)]
        if calls:
            yield from self.call([position for position, _ in calls], [case for _, case in calls])
        for position, case in enumerate(self.cases):
            if isinstance(case, CodeCase):
                yield position, self.code(case)
        for position, case in enumerate(self.cases):
            if isinstance(case, StdioCase):
                yield position, self.stdio(case)

    def begin(self) -> Limits:
        """The limits of the next run."""
        left = self.rules.total_s - self.spent_s
        if left < 0.01:
            raise _OutOfTime
        limits = self.rules.limits
        return replace(limits, cpu_s=min(limits.cpu_s, left), wall_s=min(limits.wall_s, left))

    def end(self, result: RunResult) -> None:
        """Counts what a run took. Only the time it queued for a core is no doing of the program."""
        queued_s = result.queued_s
        elapsed_s = result.wall_s / _CROWD if queued_s is None else result.wall_s - queued_s
        self.spent_s += max(result.cpu_s, elapsed_s)

    def stdio(self, case: StdioCase) -> _Found:
        result = self.sandbox.run(self.program, case.stdin.encode("utf-8", "surrogatepass"), self.begin())
        self.end(result)
        detail: dict[str, Any] = {"type": "stdio", "input": _short(case.stdin), "expected": _short(case.expected)}
        if result.outcome is not Outcome.EXITED:
            return _Found(0.0, result.outcome, detail | {"reason": self.reason(result)})
        tolerance = self.rules.float_tolerance if case.float_tolerance is None else case.float_tolerance
        compare = case.compare or self.rules.compare
        if same_output(result.stdout, case.expected, compare, None if compare == "exact" else tolerance):
            return _Found(1.0)
        return _Found(0.0, WRONG_ANSWER, detail | {"found": _short(result.stdout.decode(errors="replace"))})

    def call(self, positions: Sequence[int], cases: Sequence[CallCase]) -> Iterator[tuple[int, _Found]]:
        """All calls in one run, then in a second one backwards those that passed the first."""
        seed = self.rules.seed
        orders = call_orders(cases, seed) if seed is not None else (tuple(range(len(cases))),)
        found = self.calls(cases, orders[0])
        is_clean = all(result.share == 1 for result in found.values())
        if len(orders) > 1 and (is_clean or (self.rules.is_thorough and any(r.share for r in found.values()))):
            for index, again in self.calls(cases, orders[1]).items():
                if found[index].share == 1:
                    found[index] = again
        for index in sorted(found):
            yield positions[index], found[index]

    def calls(self, cases: Sequence[CallCase], order: Sequence[int]) -> dict[int, _Found]:
        requests = [
            Call(case.entry_point, case.args, case.kwargs, case.in_place is not None, case.as_list)
            for case in (cases[index] for index in order)
        ]
        try:
            assert isinstance(self.sandbox, Sandbox)
            result = self.sandbox.calls(self.program, requests, self.begin())
        except (TypeError, ValueError) as error:
            raise BadTests(f"the arguments of a call cannot be sent: {error}") from None
        self.end(result.end)
        found: dict[int, _Found] = {}
        for index, answer in zip(order, result.answers, strict=False):
            case = cases[index]
            detail = {**_call_detail(case), "expected": shown(case.expected, _SHOWN_CHARS)}
            if answer.raised:
                what = f"{answer.raised.type_name}: {answer.raised.message}"[:_SHOWN_CHARS]
                found[index] = _Found(0.0, Outcome.RUNTIME_ERROR, detail | {"reason": what})
                continue
            value = answer.value if case.in_place is None else (answer.args or ())[case.in_place]
            tolerance = self.rules.float_tolerance if case.float_tolerance is None else case.float_tolerance
            if same_value(value, case.expected, float_tolerance=tolerance, tuple_as_list=self.rules.tuple_as_list):
                found[index] = _Found(1.0)
            else:
                found[index] = _Found(0.0, WRONG_ANSWER, detail | {"found": shown(value, _SHOWN_CHARS)})
        is_whole = result.end.outcome is Outcome.EXITED and len(result.answers) == len(cases)
        if result.end.outcome in (Outcome.SANDBOX_FAILURE, Outcome.SECURITY_VIOLATION):
            found.clear()  # whatever it had answered before
        for index in () if is_whole else order:
            outcome = Outcome.RUNTIME_ERROR if result.end.outcome is Outcome.EXITED else result.end.outcome
            reason = self.reason(result.end) or "it ended before it had answered every call"
            found.setdefault(index, _Found(0.0, outcome, _call_detail(cases[index]) | {"reason": reason}))
        return found

    def code(self, case: CodeCase) -> _Found:
        seed = self.rules.seed
        worst = _Found(1.0)
        for code in code_orders(case, seed) if seed is not None else (case.code,):
            worst = self.grade(case, code)
            if worst.share < 1:
                break
        return worst

    def grade(self, case: CodeCase, code: str) -> _Found:
        tests = TestCode(case.kind, code, ",".join(case.names))
        assert isinstance(self.sandbox, Sandbox)
        result = self.sandbox.grade(self.program, tests, self.begin())
        self.end(result.end)
        if result.accepted:
            return _Found(1.0)
        detail: dict[str, Any] = {"type": case.kind}
        outcome = result.end.outcome
        if outcome is Outcome.BAD_TESTS:
            if (problem := _bad_by_itself(self.sandbox, tests)) is not None:
                raise BadTests(problem)
            # The same tests work with another program: it is this one that makes them fail.
            return _Found(
                0.0, Outcome.RUNTIME_ERROR, detail | {"reason": "it broke the test code before its first call"}
            )
        if result.failures:
            failure = result.failures[0]
            detail["failed"] = failure.test
            if case.kind == "assert" and failure.test.startswith("test ") and failure.test[5:].isdecimal():
                detail["failed"] = _short(nth_assert(code, int(failure.test[5:])) or failure.test)
            detail["reason"] = _reason(failure, case.kind)
        share = result.num_passed / result.num_tests if result.num_tests else 0.0
        if outcome is not Outcome.EXITED:
            return _Found(min(share, 0.999), outcome, detail | {"reason": self.reason(result.end)})
        is_wrong = all(_reason(failure, case.kind).startswith("AssertionError") for failure in result.failures)
        outcome = WRONG_ANSWER if is_wrong else Outcome.RUNTIME_ERROR
        return _Found(min(share, 0.999), outcome, detail)

    def reason(self, result: RunResult) -> str:
        """Why a run ended, without figures that differ from run to run."""
        limits = self.rules.limits
        return {
            Outcome.TIME_LIMIT: f"over {limits.cpu_s:g} s of CPU time, or blocked for {limits.wall_s:g} s",
            Outcome.MEMORY_LIMIT: f"over {limits.memory_mb} MiB of memory",
            Outcome.OUTPUT_LIMIT: f"over {limits.output_bytes} bytes of output",
        }.get(result.outcome, _short(result.reason.strip().removesuffix(":")))


@lru_cache(maxsize=256)
def _bad_by_itself(sandbox: Sandbox, tests: TestCode) -> str | None:
    """Why test code fails with a program that defines the names and does nothing; `None` when it does not fail."""
    stub = "class _Nothing:\n    def __init__(self, *args, **kwargs): pass\n"
    for name in dict.fromkeys(name.partition(".")[0] for name in tests.entry_point.split(",")):
        stub += f"{name} = _Nothing\n"
    result = sandbox.grade(stub, tests, Limits())
    return result.end.reason if result.end.outcome is Outcome.BAD_TESTS else None


def _call_detail(case: CallCase) -> dict[str, Any]:
    arguments = [shown(value, _SHOWN_CHARS) for value in case.args[:8]]
    arguments += [f"{name}={shown(value, _SHOWN_CHARS)}" for name, value in list(case.kwargs.items())[:8]]
    return {"type": "call", "input": _short(f"{case.entry_point}({', '.join(arguments)})")}


def _reason(failure: Failure, kind: str) -> str:
    """What a failed test raised. What `unittest` reports names the exception by itself."""
    name, message = failure.raised.type_name, failure.raised.message
    return _short(message if kind == "unittest" else f"{name}: {message}".removesuffix(": "))


def _short(text: str) -> str:
    text = text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"
    return text.encode("utf-8", "replace").decode()
