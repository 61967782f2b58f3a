"""Programs per second in the sandbox, against plain `subprocess`, which isolates nothing, and how soon a limit is noticed.

    python benchmarks/sandbox_speed.py [--programs 300] [--repeats 3] [--parallel 1]

Prints Markdown tables for every tier that holds here. "per core" divides by the CPU seconds of the whole machine
meanwhile, so nothing else may run; "per second" is by the clock. Rows are measured in turn, `--repeats` times over, and the
median counts, so that a busy minute falls on all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reasoning_rl.sandbox import Call, Limits, LocalSandbox, Outcome, TestCode
from reasoning_rl.sandbox.tiers import try_tiers

STDIO = "a, b = map(int, input().split())\nprint(a + b)\n"
ADD = "def add(a, b):\n    return a + b\n"
CALLS = [Call("add", (1, 2)), Call("add", (5, 7))]
ASSERTS = "assert add(1, 2) == 3\nassert add(5, 7) == 12"
SUITE = TestCode("assert", ASSERTS, "add")
#: An import may leave something behind, so that the process for test code is not used again.
IMPORTING = TestCode("assert", f"import random\n{ASSERTS}", "add")
CHECK = TestCode(
    "check", "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(5, 7) == 12\n", "add"
)
SPIN, SLEEP = "while True: pass", "import time; time.sleep(60)"
PLAIN = "plain `subprocess`, no isolation"


def plain(source: str, given: bytes, expected: bytes) -> bool:
    """What most graders do: an interpreter per program, in the suite's case with the tests below the program."""
    command = [sys.executable, "-I", "-S", "-c", source]
    done = subprocess.run(command, input=given, capture_output=True, timeout=10, check=False)
    return (done.returncode, done.stdout) == (0, expected)


def measure(work: Callable[[], bool], programs: int, parallel: int) -> tuple[float, float]:
    """Programs per second by the clock, and per CPU second."""
    work()
    with ThreadPoolExecutor(parallel) as pool:
        started, used = time.perf_counter(), used_s()
        right = list(pool.map(lambda _: work(), range(programs)))
        seconds, used = time.perf_counter() - started, used_s() - used
    used = max(used, 1 / os.sysconf("SC_CLK_TCK"))  # it is counted in ticks
    assert all(right)
    return programs / seconds, programs / used


def used_s() -> float:
    """CPU seconds of the machine: of a sandbox's processes, those that nobody waits for leave their time to no one."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def rows(sandbox: LocalSandbox) -> dict[str, Callable[[], bool]]:
    """What is measured in a tier."""
    tier = sandbox.tier.name
    return {
        f"{tier} stdin/stdout test": lambda: sandbox.run(STDIO, "1 2\n").stdout == b"3\n",
        f"{tier} two calls": lambda: len(sandbox.calls(ADD, CALLS).answers) == 2,
        f"{tier} suite of two asserts": lambda: sandbox.grade(ADD, SUITE).accepted,
        f"{tier} `check` of two asserts": lambda: sandbox.grade(ADD, CHECK).accepted,
        f"{tier} suite that imports": lambda: sandbox.grade(ADD, IMPORTING).accepted,
    }


def delays_ms(sandbox: LocalSandbox, program: str, limits: Limits, times: int) -> list[float]:
    """Milliseconds from the limit to the verdict: by CPU time what was used beyond it, and the time until the answer."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        end = sandbox.run(program, limits=limits)
        elapsed = time.perf_counter() - started
        assert end.outcome is Outcome.TIME_LIMIT
        beyond = end.cpu_s - limits.cpu_s if program is SPIN else end.wall_s - limits.wall_s
        found.append(1000 * (beyond + elapsed - end.wall_s))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Programs per second in the sandbox.")
    parser.add_argument("--programs", type=int, default=300, help="of each row and repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--limits", type=int, default=20, help="programs that run into each limit")
    options = parser.parse_args()
    print(f"{options.programs} programs, {options.repeats} times, {options.parallel} at a time, ", end="")
    print(f"Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f} before\n")
    with contextlib.ExitStack() as stack:
        trials = [
            trial for trial in try_tiers(all_of_them=True) if trial.holds and trial.tier.walls.namespaces != "root"
        ]
        sandboxes = [
            stack.enter_context(LocalSandbox(tier=trial.tier.name, parallel=options.parallel)) for trial in trials
        ]
        work: dict[str, Callable[[], bool]] = {
            f"{PLAIN}: stdin/stdout test": lambda: plain(STDIO, b"1 2\n", b"3\n"),
            f"{PLAIN}: suite of two asserts": lambda: plain(f"{ADD}\n{ASSERTS}", b"", b""),
        }
        for sandbox in sandboxes:
            work |= rows(sandbox)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
        for _ in range(options.repeats):
            for name, action in work.items():
                found[name].append(measure(action, options.programs, options.parallel))
        print("| what | per second | per core |\n|---|---|---|")
        for name, speeds in found.items():
            by_clock, by_cpu = (statistics.median(values) for values in zip(*speeds, strict=True))
            print(f"| {name} | {by_clock:.0f} | {by_cpu:.0f} |")
        print("\n| from the limit to the verdict | p50 ms | most ms |\n|---|---|---|")
        for sandbox in sandboxes:
            for what, program, limits in (
                ("computing, CPU limit 0.5 s", SPIN, Limits(cpu_s=0.5)),
                ("asleep, wall limit 0.5 s", SLEEP, Limits(wall_s=0.5)),
            ):
                delays = delays_ms(sandbox, program, limits, options.limits)
                print(
                    f"| {sandbox.tier.name} {what} | {statistics.median(delays):.0f} | {max(delays):.0f} |", flush=True
                )


if __name__ == "__main__":
    main()
