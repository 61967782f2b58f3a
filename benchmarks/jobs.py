"""What one process of a comparison with stock TRL does, and how it is started (`arm.py` runs it).

Arms: `A0` TRL as it is; `A1` TRL with the smallest patch with which its weight sync works on a CPU; `B` this project with
the same mathematics; `C` with options that change what is learned; `P`, on a GPU, B with packed micro-batches. Imports no
torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
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


def start(job: Job, timeout_s: float) -> list[dict[str, Any]]:
    """Runs a job in a fresh process and returns what it wrote. A crash or a time-out is a row with `error`."""
    out = Path(job.out)
    out.unlink(missing_ok=True)
    job_file = out.with_suffix(".job.json")
    job_file.write_text(json.dumps(asdict(job)))
    environment = {**os.environ, **process_environment(os.environ)}
    environment.pop("VLLM_CPU_KVCACHE_SPACE", None)
    if job.arm.startswith("A"):
        environment["VLLM_CPU_KVCACHE_SPACE"] = str(STOCK_KV_CACHE_GIB)
    log = out.with_suffix(".log")
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("arm.py")), str(job_file)],
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            code = process.wait(timeout_s)
            problem = f"exit code {code}; see {log.name}" if code else None
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            problem = f"killed after {timeout_s:.0f} s; see {log.name}"
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    if problem and not any("error" in row for row in rows):
        rows.append({"case": None, "error": problem})
    return [{"arm": job.arm, "seed": job.seed, **row} for row in rows]
