"""Programs per second in the sandbox, against plain `subprocess`, which isolates nothing.

    python benchmarks/sandbox_speed.py [--programs 300] [--parallel 1]

Prints a Markdown table for every tier that holds here. "per core" divides by the CPU seconds of everything that the row
started and of the host, so that it does not depend on how many cores were free; "per second" is by the clock.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from reasoning_rl.sandbox import Call, Limits, LocalSandbox, Outcome, TestCode
from reasoning_rl.sandbox.tiers import try_tiers
from reasoning_rl.workers.proc import cpu_s

STDIO = "a, b = map(int, input().split())\nprint(a + b)\n"
ADD = "def add(a, b):\n    return a + b\n"
CALLS = [Call("add", (1, 2)), Call("add", (5, 7))]
SUITE = TestCode("assert", "assert add(1, 2) == 3\nassert add(5, 7) == 12", "add")


def plain() -> bool:
    """What most graders do: an interpreter per program."""
    command = [sys.executable, "-I", "-S", "-c", STDIO]
    return subprocess.run(command, input=b"1 2\n", capture_output=True, timeout=10).stdout == b"3\n"


def measure(work: Callable[[], bool], programs: int, parallel: int) -> tuple[float, float]:
    """Programs per second by the clock, and per CPU second."""
    work()
    with ThreadPoolExecutor(parallel) as pool:
        started, used = time.perf_counter(), _used_s()
        right = list(pool.map(lambda _: work(), range(programs)))
        seconds, used = time.perf_counter() - started, _used_s() - used
    assert all(right)
    return programs / seconds, programs / used


def _used_s() -> float:
    """CPU seconds of this process, of its living descendants and of all that they have reaped."""
    done = resource.getrusage(resource.RUSAGE_CHILDREN)
    return max(cpu_s(os.getpid()) or 0.0, time.process_time() + done.ru_utime + done.ru_stime)


def verdict_delay_ms(sandbox: LocalSandbox) -> float:
    """Milliseconds between a CPU limit and the verdict, at worst of five."""
    ends = []
    for _ in range(5):
        started = time.perf_counter()
        end = sandbox.run("while True: pass", limits=Limits(cpu_s=0.5))
        assert end.outcome is Outcome.TIME_LIMIT
        ends.append(1000 * max(end.cpu_s - 0.5, time.perf_counter() - started - end.wall_s))
    return max(ends)


def main() -> None:
    parser = argparse.ArgumentParser(description="Programs per second in the sandbox.")
    parser.add_argument("--programs", type=int, default=300)
    parser.add_argument("--parallel", type=int, default=1)
    options = parser.parse_args()
    print(f"{options.programs} programs, {options.parallel} at a time, load {os.getloadavg()[0]:.1f} before\n")
    print("| what | per second | per core |\n|---|---|---|")

    def row(what: str, work: Callable[[], bool]) -> None:
        by_clock, by_cpu = measure(work, options.programs, options.parallel)
        print(f"| {what} | {by_clock:.0f} | {by_cpu:.0f} |", flush=True)

    row("plain `subprocess`, no isolation", plain)
    delays = []
    for trial in try_tiers(all_of_them=True):
        if not trial.holds or trial.tier.walls.namespaces == "root":
            continue
        name = trial.tier.name
        with LocalSandbox(tier=name, parallel=options.parallel) as sandbox:
            row(f"{name} stdin/stdout test", lambda sandbox=sandbox: sandbox.run(STDIO, "1 2\n").stdout == b"3\n")
            row(f"{name} two calls", lambda sandbox=sandbox: len(sandbox.calls(ADD, CALLS).answers) == 2)
            row(f"{name} suite of two asserts", lambda sandbox=sandbox: sandbox.grade(ADD, SUITE).accepted)
            delays.append(f"{name}: verdict at most {verdict_delay_ms(sandbox):.0f} ms past a CPU limit")
    print("\n" + "\n".join(delays))


if __name__ == "__main__":
    main()
