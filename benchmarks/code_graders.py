"""Which grader gives full marks to programs that solve nothing, and how many suites each grades in a second.

    python benchmarks/code_graders.py --json code_graders.json

Three graders on the same task: ours (`code_tests`, in its sandbox); a plain subprocess whose exit code decides, program and
asserts in one file; and `exec` of program and asserts inside the grading process, with a time limit by signal. The latter
two are written here in the simplest form in which they are found in the field. Programs that attack the grader run in a
process of their own each, so that this script survives them; with `exec` that costs a fork.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from reasoning_rl.api import Completion, Sample
from reasoning_rl_rewards.code_tests import CodeTests

ASSERTS = "assert add(1, 2) == 3\nassert add(5, 7) == 12\n"
TESTS = [{"type": "assert", "entry_point": "add", "code": ASSERTS}]
HONEST = "def add(a, b):\n    return a + b\n"
_EQUAL = (
    "class E({}):\n    __eq__ = lambda self, other: True\n    __hash__ = int.__hash__\ndef add(a, b):\n    return E()\n"
)
NON_SOLUTIONS = {
    "wrong constant": "def add(a, b):\n    return 0\n",
    "sys.exit(0) at the top": "import sys\nsys.exit(0)\n",
    "sys.exit(0) in the function": "import sys\ndef add(a, b):\n    sys.exit(0)\n",
    "os._exit(0)": "import os\ndef add(a, b):\n    os._exit(0)\n",
    "raise SystemExit": "def add(a, b):\n    raise SystemExit\n",
    "int that equals all": _EQUAL.format("int"),
    "object that equals all": _EQUAL.format("object"),
    "mock.ANY": "from unittest.mock import ANY\ndef add(a, b):\n    return ANY\n",
    "answers by number of call": "N = iter([3, 12])\ndef add(a, b):\n    return next(N)\n",
    "frames: sets the verdict": (
        "import sys\ndef add(a, b):\n    frame = sys._getframe()\n    while frame:\n"
        "        for value in list(frame.f_locals.values()):\n            if isinstance(value, list): value.append('passed')\n"
        "        frame = frame.f_back\n    import os\n    raise SystemExit\n"
    ),
    "swallows the tests": "def add(a, b):\n    return 0\nif False:\\\n",
    "open quotes": "def add(a, b):\n    return 0\nx = '''\n",
    "replaces AssertionError": (
        "import builtins\nclass Quiet(SystemExit): pass\nbuiltins.AssertionError = lambda *a: Quiet(0)\ndef add(a, b):\n    return 0\n"
    ),
    "atexit": "import atexit, os\natexit.register(os._exit, 0)\ndef add(a, b):\n    return 0\n",
}  # fmt: skip


def ours(reward: CodeTests, program: str) -> bool:
    text = f"```python\n{program}\n```"
    return reward(Sample([], Completion(text, None, text, 1, False), {"tests": TESTS}, "row")).value == 1


def by_exit_code(program: str) -> bool:
    """Program and asserts in a file, run by a fresh interpreter; exit code 0 passes."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(f"{program}\n{ASSERTS}")
        file.flush()
        try:
            return (
                subprocess.run([sys.executable, file.name], capture_output=True, timeout=5, check=False).returncode == 0
            )
        except subprocess.TimeoutExpired:
            return False


def by_exec(program: str) -> bool:
    """Program and asserts in this process; the verdict is what was appended to a list."""

    def stop(*_: object) -> None:
        raise TimeoutError

    verdict: list[str] = []
    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 5)
    try:
        exec(f"{program}\n{ASSERTS}", {"__name__": "program"})
        verdict.append("passed")
    except BaseException:  # noqa: BLE001 - as such graders do
        verdict.append("failed")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    return verdict[0] == "passed"


def forked(grade: Callable[[str], bool], program: str) -> bool:
    """The same in a fork, which may be killed or changed by the program; its exit code 7 says passed."""
    child = os.fork()
    if child == 0:
        code = 0
        try:
            code = 7 if grade(program) else 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def per_s(grade: Callable[[str], bool], num_suites: int, rounds: int = 3) -> float:
    """Median of some rounds; one core, one suite of two asserts after the other."""
    assert grade(HONEST)
    speeds = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(num_suites):
            assert grade(HONEST)
        speeds.append(num_suites / (time.perf_counter() - start))
    return statistics.median(speeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=int, default=200, help="suites in one round of the speed measurement")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    reward = CodeTests()
    reward.warm_up()
    # Without shuffling each suite is run once, as the others do.
    once = CodeTests(shuffle=False)
    graders: dict[str, tuple[Callable[[str], bool], Callable[[str], bool]]] = {
        "code_tests": (lambda program: ours(reward, program), lambda program: ours(reward, program)),
        "code_tests, one order": (lambda program: ours(once, program), lambda program: ours(once, program)),
        "exit code of a subprocess": (by_exit_code, by_exit_code),
        "exec in the process": (lambda program: forked(by_exec, program), by_exec),
    }
    passed = {
        name: {what: marks(program) for what, program in {"honest": HONEST, **NON_SOLUTIONS}.items()}
        for name, (marks, _) in graders.items()
    }
    speeds = {name: per_s(timed, given.suites) for name, (_, timed) in graders.items()}
    print("| program | " + " | ".join(graders) + " |\n|---" * 1 + "|---" * len(graders) + "|")
    for what in ("honest", *NON_SOLUTIONS):
        print(f"| {what} | " + " | ".join("full marks" if passed[name][what] else "-" for name in graders) + " |")
    print(
        "| non-solutions with full marks | "
        + " | ".join(str(sum(passed[n].values()) - passed[n]["honest"]) for n in graders)
        + " |"
    )
    print("| suites/s, one core | " + " | ".join(f"{speeds[name]:.0f}" for name in graders) + " |")
    if given.json:
        given.json.write_text(json.dumps({"passed": passed, "suites_per_s": speeds}, indent=1))


if __name__ == "__main__":
    main()
