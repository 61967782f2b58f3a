"""Running the program as a user does, for tests of whole runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ACCELERATE_CONFIGS = Path(__file__).parents[2] / "recipes" / "accelerate"

CLI = [sys.executable, "-c", "from reasoning_rl.cli import main; main()"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "-m", "reasoning_rl.train"]
#: Seconds for one run; more can be given on a machine that does other work.
TIMEOUT_S = float(os.environ.get("REASONING_RL_TEST_TIMEOUT_S", "400"))


def cli_that_launches(module: str) -> list[str]:
    """`reasoning-rl`, but what it launches is a module of this folder, which must be on PYTHONPATH."""
    code = f"import reasoning_rl.launch as it; it.RUN_MODULE = {module!r}; from reasoning_rl.cli import main; main()"
    return [sys.executable, "-c", code]


def run(command: list[str], timeout: float = TIMEOUT_S, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, env={**os.environ, **environment}
    )


def start(command: list[str]) -> subprocess.Popen[str]:
    """Starts a command in a session of its own and with Ctrl-C at work, as a terminal does: whoever runs the tests in the
    background of a shell has it switched off."""

    def listen() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=listen)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], timeout: float = TIMEOUT_S) -> None:
    """Waits for something that a running process does."""
    deadline = time.monotonic() + timeout
    while not condition():
        if process.poll() is not None:
            raise AssertionError(f"the run ended first: {process.communicate()[1][-3000:]}")
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill(process: subprocess.Popen[str]) -> None:
    """kill -9 for the command and everything that it has started."""
    from reasoning_rl.workers.proc import descendants

    below = descendants(process.pid)
    for pid in (process.pid, *below):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate(timeout=60)


def watched(folder: Path) -> dict[int, list[dict]]:
    """What each process of a watched run wrote down, by rank."""
    from reasoning_rl.run_dir import read_jsonl

    return {
        int(path.stem.removeprefix("rank_")): list(read_jsonl(path)) for path in sorted(folder.glob("rank_*.jsonl"))
    }
