"""`code_tests`: score of a program by its tests. Formats and policies: docs/code-rewards.md."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from reasoning_rl.api import Sample, Score, Verdict
from reasoning_rl.errors import SandboxError
from reasoning_rl.sandbox import LanguageSandbox, Limits, LocalSandbox, Outcome, PistonSandbox
from reasoning_rl_rewards.code_tests.cases import BadTests, CallCase, Case, StdioCase, parse_tests
from reasoning_rl_rewards.code_tests.extract import TAGS, Extracted, extract, fenced
from reasoning_rl_rewards.code_tests.judge import ACCEPTED, Judged, Rules, judge
from reasoning_rl_rewards.code_tests.sandboxes import shared_sandbox

#: Verdicts of outcomes other than `accepted`; what is not listed is plainly wrong.
_VERDICTS: dict[str, Verdict] = {
    Outcome.TIME_LIMIT: Verdict.TIMEOUT,
    Outcome.MEMORY_LIMIT: Verdict.MEMORY_LIMIT,
}

#: Of each language: a program that prints nothing, and what makes another one print a line too many.
_NOT_RIGHT = {
    "python": ("pass", "\nprint('one line too many')"),
    "cpp": ("int main() {}", ""),
    "javascript": (";", "\nconsole.log('one line too many')"),
}


@dataclass(frozen=True)
class CodeTests:
    """1 when the program in the last fenced block passes all tests of its row, else 0 (or the share that it passes).

    Attributes:
        tests: column with the tests, a list or JSON text of one.
        solution: optional column with a program that passes, for the audit; `canonical_solution` is looked at too.
        prelude: optional column with code that stands before the program, such as imports that the prompt gave.
        credit: `binary`, or `fraction` for the share of tests that pass.
        language: of the program. C++ (g++) and JavaScript (Node) run where these are installed; `stdio` tests only.
        server: address of a Piston API, such as `http://host:2000/api/v2`, to run programs there; `stdio` tests only.
        fence: whether a program must stand in a fenced block. Otherwise a text without any block is one.
        compare: how output of stdio tests is compared: `tokens` (blanks aside) or `exact`. A test may say otherwise.
        float_tolerance: how far numbers may be off; by default not at all. A test may say otherwise.
        tuple_as_list: whether a returned tuple equals a list.
        shuffle: shuffle calls and asserts by row, and run them a second time backwards.
        seed: changes the order.
        cpu_s: CPU seconds of one run: one stdio test, or all calls of a row, or one piece of test code.
        wall_s: seconds of one run without queueing for a core.
        memory_mb: MiB of memory of one run, beside the interpreter's.
        output_bytes: bytes that one run may print.
        scratch_mb: MiB of files of one run.
        processes: threads of one run, the first included.
        total_s: seconds for all runs of one completion together.
        packages: installed packages that programs may import besides the standard library.
        tier: insist on a tier of the sandbox.

    Raises:
        ValueError: an option is out of range.
    """

    tests: str = "tests"
    solution: str = "solution"
    prelude: str = "prelude"
    credit: Literal["binary", "fraction"] = "binary"
    language: Literal["python", "cpp", "javascript"] = "python"
    server: str | None = None
    fence: bool = True
    compare: Literal["tokens", "exact"] = "tokens"
    float_tolerance: float | None = None
    tuple_as_list: bool = False
    shuffle: bool = True
    seed: int = 0
    cpu_s: float = 4.0
    wall_s: float = 12.0
    memory_mb: int = 512
    output_bytes: int = 4 << 20
    scratch_mb: int = 16
    processes: int = 16
    total_s: float = 60.0
    packages: tuple[str, ...] = ()
    tier: Literal["T1", "T2"] | None = None

    version = 2
    #: Of several blocks the last one counts, and prose beside it is not read.
    tolerates = frozenset({"other_then_gold"})

    def __post_init__(self) -> None:
        self._limits()
        if self.packages and not self._has_calls:
            raise ValueError("packages are for Python programs on this machine; leave them out")
        if self.server is not None and self.tier:
            raise ValueError("tier is one of this machine, and server another; give only one")
        if self.total_s < self.cpu_s:
            raise ValueError(f"total_s is {self.total_s:g}, less than cpu_s ({self.cpu_s:g}); give at least as much")
        if self.float_tolerance is not None and not 0 <= self.float_tolerance < float("inf"):
            raise ValueError(f"float_tolerance is {self.float_tolerance}; it must be a number from 0 on")

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({self.tests})

    @property
    def default_timeout_s(self) -> float:
        """The reward itself ends after `total_s`, queueing for cores aside; this only stops one that is broken."""
        return 10 * (self.total_s + self.wall_s) + 60

    def warm_up(self) -> None:
        """Starts the sandbox, so that a machine without one is found out before anything is graded."""
        result = self._sandbox().run("pass", b"", self._limits())
        if self.server is not None and result.outcome is Outcome.SANDBOX_FAILURE:
            raise SandboxError(result.reason)  # such as limits above those of the server

    def cache_key(self, sample: Sample) -> Hashable:
        """The tests, the program, and what decides their order."""
        found = self._extract(sample)
        tests = sample.row.get(self.tests)
        tests = tests if isinstance(tests, str) else repr(tests)
        return tests, str(sample.row.get(self.prelude)), found.program, found.problem, sample.row_id

    def reference(self, row: Mapping[str, Any]) -> str | None:
        """The row's solution in a block."""
        solution = self._solution(row)
        return None if solution is None else fenced(solution, self.language)

    def near_misses(self, row: Mapping[str, Any]) -> list[str]:
        """The solution with its function replaced by one that returns nothing, and by one that raises; for stdio,
        programs that print nothing or one line too many."""
        solution = self._solution(row)
        try:
            cases = self._cases(row)
        except BadTests:
            return []
        if solution is None or self._unsuited(cases):
            return []
        if all(isinstance(case, StdioCase) for case in cases):
            has_output = any(isinstance(case, StdioCase) and case.expected.split() for case in cases)
            nothing, more = _NOT_RIGHT[self.language]
            programs = [*([nothing] if has_output else []), *([solution + more] if more else [])]
            return [fenced(program, self.language) for program in programs]
        called = next(case for case in cases if not isinstance(case, StdioCase))
        name = called.entry_point if isinstance(called, CallCase) else called.names[0]
        is_none_right = all(isinstance(case, CallCase) and case.expected is None for case in cases)
        bodies = [*([] if is_none_right else ["return None"]), "raise NotImplementedError"]
        return [fenced(f"{solution}\n\n{_replaced(name, body)}") for body in bodies]

    def __call__(self, sample: Sample, /) -> Score:
        try:
            cases = self._cases(sample.row)
        except BadTests as error:
            return Score.abstain(Verdict.BAD_REFERENCE, outcome=Outcome.BAD_TESTS.value, reason=str(error)[:500])
        if unsuited := self._unsuited(cases):
            return Score.abstain(Verdict.NOT_APPLICABLE, reason=unsuited)
        found = self._extract(sample)
        if found.problem:
            return Score.no_answer(outcome="no_code", reason=found.problem)
        try:
            sandbox = self._sandbox()
            judged = judge(sandbox, self._whole(found.program, sample.row), cases, self._rules(sample.row_id))
        except BadTests as error:
            return Score.abstain(Verdict.BAD_REFERENCE, outcome=Outcome.BAD_TESTS.value, reason=str(error)[:500])
        except SandboxError as error:
            return Score.abstain(
                Verdict.SANDBOX_FAILURE, outcome=Outcome.SANDBOX_FAILURE.value, reason=str(error)[:500]
            )
        return self._score(judged, "server" if isinstance(sandbox, PistonSandbox) else sandbox.tier.name)

    def _score(self, judged: Judged, tier: str) -> Score:
        detail: dict[str, Any] = {
            "outcome": str(judged.outcome),
            "passed": judged.num_passed,
            "tests": judged.num_tests,
        }
        if judged.failed:
            detail["failed"] = judged.failed
        detail["tier"] = tier
        if judged.outcome == ACCEPTED:
            return Score.correct(**detail)
        if judged.outcome == Outcome.SANDBOX_FAILURE:
            return Score.abstain(Verdict.SANDBOX_FAILURE, reason=judged.failed.get("reason", ""), **detail)
        if self.credit == "fraction" and judged.fraction > 0:
            return Score(judged.fraction, Verdict.PARTIAL, detail)
        return Score(0.0, _VERDICTS.get(judged.outcome, Verdict.WRONG), detail)

    def _limits(self) -> Limits:
        return Limits(self.cpu_s, self.wall_s, self.memory_mb, self.output_bytes, self.scratch_mb, self.processes)

    def _rules(self, row_id: str) -> Rules:
        return Rules(
            limits=self._limits(),
            total_s=self.total_s,
            compare=self.compare,
            float_tolerance=self.float_tolerance,
            tuple_as_list=self.tuple_as_list,
            seed=f"{self.seed}/{row_id}" if self.shuffle else None,
            is_thorough=self.credit == "fraction",
        )

    @property
    def _has_calls(self) -> bool:
        return self.language == "python" and self.server is None

    def _unsuited(self, cases: tuple[Case, ...]) -> str:
        """Why these tests cannot be run with these options; empty when they can."""
        if self._has_calls or all(isinstance(case, StdioCase) for case in cases):
            return ""
        where = "on a server" if self.server is not None else f"in {self.language}"
        return f"only stdio tests can be run {where}; the row has others"

    def _sandbox(self) -> LocalSandbox | LanguageSandbox | PistonSandbox:
        return shared_sandbox(self.language, self.server, self.tier, self.packages, self.scratch_mb)

    def _extract(self, sample: Sample) -> Extracted:
        return extract(sample.completion.final_text, is_fence_needed=self.fence, tags=TAGS[self.language])

    def _cases(self, row: Mapping[str, Any]) -> tuple[Case, ...]:
        value = row.get(self.tests)
        if value is None:
            raise BadTests(f"column {self.tests!r} is missing or empty, expected a list of tests")
        return _parsed_text(value, self.tests) if isinstance(value, str) else parse_tests(value, self.tests)

    def _solution(self, row: Mapping[str, Any]) -> str | None:
        """A program that passes. A bare body, as in HumanEval's own file, is put below the prompt."""
        solution = row.get(self.solution) or row.get("canonical_solution")
        if not isinstance(solution, str) or not solution.strip():
            return None
        prompt = row.get("prompt")
        is_body = solution.lstrip("\n")[:1] in (" ", "\t")
        return prompt + solution if is_body and isinstance(prompt, str) else solution

    def _whole(self, program: str, row: Mapping[str, Any]) -> str:
        prelude = row.get(self.prelude)
        # Imports from __future__ must come first; programs that have them bring their other imports too.
        if not isinstance(prelude, str) or not prelude.strip() or "from __future__ import" in program:
            return program
        return f"{prelude}\n{program}"


@lru_cache(maxsize=256)
def _parsed_text(text: str, where: str) -> tuple[Case, ...]:
    return parse_tests(text, where)


def _replaced(name: str, body: str) -> str:
    """Code that puts another function in the place of `name` or `Class.name`."""
    *owners, last = name.split(".")
    lines = [f"{'    ' * depth}class {owner}:" for depth, owner in enumerate(owners)]
    indent = "    " * len(owners)
    return "\n".join([*lines, f"{indent}def {last}(*args, **kwargs):", f"{indent}    {body}"])
