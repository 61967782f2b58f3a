"""Starting `reasoning_rl.train` in the right processes with the right environment. Imports no torch.

`reasoning-rl train` calls `accelerate launch` with the recipe's `launch` section and does nothing else; whoever calls
`accelerate launch -m reasoning_rl.train` gets the same run. Called as a module it is `accelerate launch`, silent about a run
that has itself said why it stopped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from reasoning_rl import compiler
from reasoning_rl.recipe import Launch
from reasoning_rl.upstream import is_cpu_torch
from reasoning_rl.workers.proc import children

#: Through this file the launched process tells its exit code, which `accelerate launch` would turn into 1.
EXIT_FILE = "REASONING_RL_EXIT_FILE"

#: The program that is launched.
RUN_MODULE = "reasoning_rl.train"

#: torchrun would hand a Ctrl-C on to its processes and kill them 30 s later, saved or not.
_INTERRUPT_IS_OURS = {"PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGHUP,SIGQUIT"}


def launch(recipe: str, overrides: Sequence[str], settings: Launch) -> int:
    """Runs a recipe under `accelerate launch`; returns its exit code. Ctrl-C goes to the run, which saves and stops."""
    with tempfile.TemporaryDirectory() as scratch:
        exit_file = Path(scratch) / "exit"
        process = subprocess.Popen(
            command(recipe, overrides, settings),
            env={**os.environ, EXIT_FILE: str(exit_file), **_INTERRUPT_IS_OURS},
            preexec_fn=_ignore_interrupt,
        )
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:
                _hand_on_interrupt(process.pid)
        said = int(exit_file.read_text()) if exit_file.exists() else 0
        return said or code


def command(recipe: str, overrides: Sequence[str], settings: Launch) -> list[str]:
    """The `accelerate launch` command line of a run."""
    options: dict[str, object] = {}
    if settings.config_file is None:
        # Said explicitly, because accelerate warns about each of them when it is left to its default.
        options = {"num_processes": 1, "num_machines": 1, "mixed_precision": "no", "dynamo_backend": "no"}
    else:
        options = {"config_file": settings.config_file}
    if settings.num_processes is not None:
        options["num_processes"] = settings.num_processes
    options |= settings.args
    words = [sys.executable, "-m", "reasoning_rl.launch", "--quiet"]
    for name, value in options.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return [*words, "-m", RUN_MODULE, recipe, *overrides]


def process_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What must be set before torch is imported, given what already is.

    vLLM's CPU worker runs with one thread unless OMP_NUM_THREADS says otherwise at import, and `accelerate launch` sets
    it to 1 for a plain launch; so 1 counts as unset. `REASONING_RL_THREADS` overrides.
    """
    processes = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    threads = environment.get("OMP_NUM_THREADS", "1")
    if threads == "1":
        threads = str(max(1, len(os.sched_getaffinity(0)) // processes))
    defaults = {
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
    }
    if not environment.keys() & {"VLLM_LOGGING_LEVEL", "VLLM_LOGGING_CONFIG_PATH"}:
        defaults["VLLM_CONFIGURE_LOGGING"] = "0"  # its records are handled like those of other libraries
    if is_cpu_torch():
        defaults["DS_ACCELERATOR"] = "cpu"  # else DeepSpeed says on stdout that it has found no other
    if is_cpu_torch() and compiler.problem():
        defaults["TORCH_COMPILE_DISABLE"] = "1"  # torch would stop at the first function that it is to compile
    return {
        **{key: value for key, value in defaults.items() if key not in environment},
        "OMP_NUM_THREADS": environment.get("REASONING_RL_THREADS", threads),
    }


def _hand_on_interrupt(launcher: int) -> None:
    """A single process has received a Ctrl-C with us, as it is in the terminal's group; those of torchrun are not."""
    for pid in children(launcher):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) != os.getpgid(0):
                os.kill(pid, signal.SIGINT)


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _accelerate_launch() -> None:
    """`accelerate launch` with this process's arguments. With several processes torchrun logs each that ends with an error
    and raises; where the run has left its exit code, it has also said in one sentence what was wrong."""
    logging.disable(logging.ERROR)
    try:
        runpy.run_module("accelerate.commands.launch", run_name="__main__")
    except Exception:
        said = Path(os.environ.get(EXIT_FILE, ""))
        if not said.is_file() or said.read_text() == "0":  # the first process ended well, another one did not
            raise
        sys.exit(1)


if __name__ == "__main__":
    _accelerate_launch()
