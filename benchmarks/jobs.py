"""What one process of a comparison with stock TRL does, and how it is started (`arm.py` runs it).

Arms: `A0` TRL as it is; `A1` TRL with the smallest patch with which its weight sync works on a CPU; `B` this project with
the same mathematics; `C` with options that change what is learned; `P`, on a GPU, B with packed micro-batches. Imports no
torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reasoning_rl.launch import process_environment

PROMPTS, GROUP = 4, 8
#: The least that vLLM's variable for CPUs can say; TRL hands nothing finer on.
STOCK_KV_CACHE_GIB = 1


@dataclass(frozen=True)
class Case:
    """One training run of an arm: `warm_up` steps that are left out, then `steps` that count."""

    name: str
    max_tokens: int
    ask: str = "final"
    reward: str = "checksum"  # or "correct"
    half_idle: bool = False
    warm_up: int = 1
    steps: int = 3
    learning_rate: float = 1e-5
    batch: int = PROMPTS * GROUP
    """Micro-batch; the rest of a step's completions is accumulated."""
    prompts: int = PROMPTS
    """Prompts in a step, `GROUP` completions each."""
    context: int = 256
    """Tokens that the engine has room for per sequence."""


@dataclass(frozen=True)
class Goal:
    """Train until the accuracy on held-out problems is reached; the evaluations are not on the clock."""

    accuracy: float = 0.9
    every: int = 4
    samples: int = 4


@dataclass(frozen=True)
class Job:
    """What one process does. `out` gets one JSON object per line, as soon as it is known."""

    arm: str
    seed: int
    cases: tuple[Case, ...]
    model: str
    out: str
    overrides: tuple[str, ...] = ()
    """Keys of the recipe that differ, for our arms."""
    goal: Goal | None = None

    @classmethod
    def load(cls, path: Path) -> Job:
        tree = json.loads(path.read_text())
        cases = tuple(Case(**case) for case in tree.pop("cases"))
        goal = tree.pop("goal")
        return cls(**{**tree, "overrides": tuple(tree["overrides"])}, cases=cases, goal=Goal(**goal) if goal else None)


def start_in_turns(jobs: Sequence[Job], timeout_s: float) -> list[dict[str, Any]]:
    """Runs jobs in fresh processes of which only one works at a time, from one step's start to the next; the others wait.

    The same step of all jobs so runs within moments, and a machine that gets slower or faster meanwhile does so for all of
    them. A turn may take `timeout_s`. Returns what the processes wrote; a crash or a time-out is a row with `error`.
    """
    running: list[_Process] = []
    try:
        for job in jobs:  # the first turn is loading
            running.append(_Process(job))
            running[-1].wait(timeout_s)
        while any(process.is_waiting for process in running):
            for process in running:
                process.take_turn(timeout_s)
    finally:
        for process in running:
            process.kill()
    return [row for process in running for row in process.rows()]


class _Process:
    """`arm.py` with a job; its standard input is a socket, over which it says where a step starts and is told to go on."""

    def __init__(self, job: Job) -> None:
        self.is_waiting = False
        self._job, self._out = job, Path(job.out)
        self._out.unlink(missing_ok=True)
        self._log = self._out.with_suffix(".log")
        self._problem: str | None = None
        job_file = self._out.with_suffix(".job.json")
        job_file.write_text(json.dumps(asdict(job)))
        environment = {**os.environ, **process_environment(os.environ)}
        environment.pop("VLLM_CPU_KVCACHE_SPACE", None)
        if job.arm.startswith("A"):
            environment["VLLM_CPU_KVCACHE_SPACE"] = str(STOCK_KV_CACHE_GIB)
        self._channel, theirs = socket.socketpair()
        with self._log.open("w") as stream, theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("arm.py")), str(job_file)],
                env=environment,
                stdin=theirs.fileno(),
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def take_turn(self, timeout_s: float) -> None:
        """Lets a process that waits go on to where it waits again, or to its end."""
        if self.is_waiting:
            with contextlib.suppress(OSError):  # it was killed while it waited: `wait` finds that
                self._channel.send(b".")
            self.wait(timeout_s)

    def wait(self, timeout_s: float) -> None:
        """Until it waits for its turn or has ended; it is killed at the time-out."""
        self.is_waiting, deadline = False, time.monotonic() + timeout_s
        while self._process.poll() is None:
            if select.select([self._channel], [], [], 0.1)[0] and self._channel.recv(1):
                self.is_waiting = True
                return
            if time.monotonic() > deadline:
                self.kill()
                self._problem = f"killed after {timeout_s:.0f} s; see {self._log.name}"
                return
        if self._process.returncode:
            self._problem = f"exit code {self._process.returncode}; see {self._log.name}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def rows(self) -> list[dict[str, Any]]:
        """What it wrote, and what it died of unless it wrote that itself."""
        rows = [json.loads(line) for line in self._out.read_text().splitlines()] if self._out.exists() else []
        if self._problem and not any("error" in row for row in rows):
            rows.append({"case": None, "error": self._problem})
        return [{"arm": self._job.arm, "seed": self._job.seed, **row} for row in rows]


def wait_for_turn() -> None:
    """In a process that `start_in_turns` started: until the others have done their step."""
    if not stat.S_ISSOCK(os.fstat(0).st_mode):
        return  # started by hand
    with socket.socket(fileno=os.dup(0)) as channel:
        channel.send(b".")
        if not channel.recv(1):
            raise EOFError("the process that compares the arms has ended")
