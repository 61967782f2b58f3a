"""Runs untrusted Python programs behind operating-system isolation: no Docker, no account, no root. Linux.

    from reasoning_rl.sandbox import Limits, LocalSandbox

    with LocalSandbox() as sandbox:
        result = sandbox.run("print(sum(map(int, input().split())))", "1 2\\n", Limits(cpu_s=1.0))

See docs/sandbox.md for the threat model, the tiers and what is not protected.
"""

from reasoning_rl.sandbox.languages import LanguageSandbox
from reasoning_rl.sandbox.local import LocalSandbox
from reasoning_rl.sandbox.piston import PistonSandbox
from reasoning_rl.sandbox.types import (
    Answer,
    Call,
    CallsResult,
    Failure,
    GradeResult,
    Limits,
    Outcome,
    Plain,
    ProgramRunner,
    Raised,
    RunResult,
    Sandbox,
    TestCode,
    shown,
)

__all__ = [
    "Answer",
    "Call",
    "CallsResult",
    "Failure",
    "GradeResult",
    "LanguageSandbox",
    "Limits",
    "LocalSandbox",
    "Outcome",
    "PistonSandbox",
    "Plain",
    "ProgramRunner",
    "Raised",
    "RunResult",
    "Sandbox",
    "TestCode",
    "shown",
]
