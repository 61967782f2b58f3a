"""How programs of the attack table are written down and judged by the reward `code_tests`.

Verdicts: AC full marks, WA wrong answer, RE runtime error (also: no code), TL time, ML memory, OL output, SV security
violation; SF (the sandbox failed) and BT (bad tests) abstain and are never right here. `X|Y`: either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reasoning_rl.api import Completion, Sample, Score
from reasoning_rl_rewards.code_tests import CodeTests

#: Column `tests` of each fixture.
FIXTURES: dict[str, list[dict[str, Any]]] = {
    "A": [{"type": "assert", "entry_point": "add", "code": "assert add(1, 2) == 3\nassert add(5, 7) == 12"}],
    "C": [
        {
            "type": "check",
            "entry_point": "add",
            "code": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(5, 7) == 12\n",
        }
    ],
    "P": [
        {"type": "call", "entry_point": "add", "args": [1, 2], "expected": 3},
        {"type": "call", "entry_point": "add", "args": [5, 7], "expected": 12},
    ],
    "F": [{"type": "assert", "entry_point": "root", "code": "assert abs(root(2.0) - 1.41421356) < 1e-6"}],
    "U": [
        {
            "type": "unittest",
            "entry_point": "add",
            "code": "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(add(1, 2), 3)\n",
        }
    ],
    "S": [
        {"type": "stdio", "input": "1 2\n", "output": "3\n2\n"},
        {"type": "stdio", "input": "5 7\n", "output": "12\n35\n"},
    ],
}
#: Processor time is half of what a run would allow, so that the table does not take long.
LIMITED = CodeTests(cpu_s=1.0, wall_s=4.0, memory_mb=512, output_bytes=1 << 20, scratch_mb=16, total_s=20.0)
OUTCOMES = {
    "wrong_answer": "WA",
    "runtime_error": "RE",
    "no_code": "RE",
    "time_limit": "TL",
    "memory_limit": "ML",
    "output_limit": "OL",
    "security_violation": "SV",
    "sandbox_failure": "SF",
    "bad_tests": "BT",
    "accepted": "AC",
}


@dataclass(frozen=True)
class Program:
    """A program, the fixtures it is tried on, the verdicts that are right, and what differs from the rule.

    `tests` replaces the fixtures, `options` changes the reward, `needs` names a package that must be installed.
    """

    name: str
    fixtures: str
    source: str
    expected: str
    tests: tuple[dict[str, Any], ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    needs: str = ""

    def columns(self) -> dict[str, list[dict[str, Any]]]:
        """The column `tests` of each fixture, by name."""
        return {"own": list(self.tests)} if self.tests else {name: FIXTURES[name] for name in self.fixtures}

    def verdict(self, tests: list[dict[str, Any]], tier: str | None) -> str:
        """What the reward says, in two letters."""
        reward = replace(LIMITED, tier=tier, **dict(self.options))
        return letters(reward(sample(self.source, tests)))


def sample(source: str, tests: list[dict[str, Any]]) -> Sample:
    """A completion with this program in a block."""
    text = f"```python\n{source}\n```"
    return Sample([], Completion(text, None, text, 1, False), {"tests": tests}, "row")


def letters(score: Score) -> str:
    """A score as a verdict; one whose value contradicts it has none."""
    found = OUTCOMES[score.detail["outcome"]]
    value = 1.0 if found == "AC" else None if found in ("SF", "BT") else 0.0
    return found if score.value == value else f"{found} worth {score.value}"


def ret(expression: str, before: str = "") -> str:
    """`add` returns this."""
    return f"{before}\ndef add(a, b):\n    return {expression}\n"


def body(lines: str, before: str = "") -> str:
    """`add` does this."""
    return f"{before}\ndef add(a, b):\n" + "".join(f"    {line}\n" for line in lines.strip().splitlines())


def stdio(*pairs: tuple[str, str]) -> tuple[dict[str, Any], ...]:
    return tuple({"type": "stdio", "input": given, "output": gold} for given, gold in pairs)


def call(name: str, args: Sequence[Any], expected: Any, **more: Any) -> dict[str, Any]:
    return {"type": "call", "entry_point": name, "args": list(args), "expected": expected, **more}


def asserts(name: str, *lines: str) -> tuple[dict[str, Any], ...]:
    return ({"type": "assert", "entry_point": name, "code": "\n".join(lines)},)


SOLVE = "a, b = map(int, input().split())\nprint(a + b)\nprint(a * b)\n"
C = "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\n"
EQUALS_ALL = (
    "class E({}):\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n    __hash__ = lambda s: 0\n"
)


def wrong_verdicts(
    programs: Sequence[Program], tier: str | None, is_installed: Callable[[str], bool] = lambda name: False
) -> list[str]:
    """All programs on all of their fixtures; one line for each verdict that is not right."""
    wrong = []
    for program in programs:
        for fixture, tests in program.columns().items() if not program.needs or is_installed(program.needs) else ():
            found = program.verdict(tests, tier)
            if found not in program.expected.split("|"):
                wrong.append(f"{program.name} [{fixture}]: {found}, expected {program.expected}")
    return wrong
