"""The launched process gets the right words, the right environment, and its exit code comes back."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.launch import command, launch, process_environment
from reasoning_rl.recipe import Launch

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (Launch(), "--num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no"),
        (Launch(num_processes=3), "--num_processes 3 --num_machines 1 --mixed_precision no --dynamo_backend no"),
        (Launch(config_file="/a/b.yaml"), "--config_file /a/b.yaml"),
        (Launch(num_processes=4, config_file="/a/b.yaml"), "--config_file /a/b.yaml --num_processes 4"),
        (
            Launch(args={"num_machines": 2, "machine_rank": 0, "multi_gpu": True}),
            "--num_processes 1 --num_machines 2 --mixed_precision no --dynamo_backend no --machine_rank 0 --multi_gpu",
        ),
    ],
    ids=["default", "number", "config file", "both", "args"],
)
def test_command(settings: Launch, options: str) -> None:
    words = command("r.yaml", ["grpo.max_steps=2", "run.dir=a b"], settings)
    start = [sys.executable, "-m", "reasoning_rl.launch", "--quiet"]
    end = ["-m", "reasoning_rl.train", "r.yaml", "grpo.max_steps=2", "run.dir=a b"]
    assert words == [*start, *options.split(), *end]


@pytest.mark.parametrize(
    ("given", "threads"),
    [
        ({}, max(1, CORES)),
        ({"OMP_NUM_THREADS": "1"}, max(1, CORES)),
        ({"OMP_NUM_THREADS": "7"}, 7),
        ({"LOCAL_WORLD_SIZE": "2"}, max(1, CORES // 2)),
        ({"LOCAL_WORLD_SIZE": "1000"}, 1),
        ({"REASONING_RL_THREADS": "3"}, 3),
        ({"REASONING_RL_THREADS": "1", "OMP_NUM_THREADS": "7"}, 1),
    ],
)
def test_threads(given: dict[str, str], threads: int) -> None:
    assert process_environment(given)["OMP_NUM_THREADS"] == str(threads)


def test_the_environment_keeps_what_is_set() -> None:
    assert process_environment({})["VLLM_NO_USAGE_STATS"] == "1"
    assert "VLLM_NO_USAGE_STATS" not in process_environment({"VLLM_NO_USAGE_STATS": "0"})


@pytest.fixture
def accelerate_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `python -m accelerate.commands.launch` a script of ours."""

    def script(text: str) -> None:
        folder = tmp_path / "accelerate" / "commands"
        folder.mkdir(parents=True)
        for package in (folder.parent, folder):
            (package / "__init__.py").touch()
        (folder / "launch.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return script


RAISES = "class ChildFailedError(Exception): pass\nraise ChildFailedError('a table of processes')"
SAYS_0 = "import os, pathlib; pathlib.Path(os.environ['REASONING_RL_EXIT_FILE']).write_text('0')\n"
REFUSES = "import os, pathlib; pathlib.Path(os.environ['REASONING_RL_EXIT_FILE']).write_text('2')\n"


@pytest.mark.parametrize(
    ("text", "code", "is_silent"),
    [(REFUSES + RAISES, 2, True), (RAISES, 1, False), (SAYS_0 + RAISES, 1, False)],
    ids=["the run spoke", "it crashed", "the first process ended well, another one crashed"],
)
def test_torchrun_is_silent_when_the_run_has_spoken(
    accelerate_is: Any, capfd: pytest.CaptureFixture[str], text: str, code: int, is_silent: bool
) -> None:
    accelerate_is(text)
    assert launch("r.yaml", [], Launch()) == code
    assert ("a table of processes" not in capfd.readouterr().err) is is_silent


CHILD = """
import os, signal, subprocess, sys, time
run = "import signal, sys, time; signal.signal(signal.SIGINT, lambda *_: sys.exit(7)); print(flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", run], stdout=subprocess.PIPE, start_new_session={own_session})
child.stdout.readline()
os.kill(os.getppid(), signal.SIGINT)
time.sleep({pause})
code = child.wait(20) if {own_session} else child.poll() is not None
child.kill()
sys.exit(code)
"""


@pytest.mark.parametrize(("own_session", "pause", "code"), [(True, 0, 7), (False, 2, 0)], ids=["torchrun", "plain"])
def test_ctrl_c_reaches_each_process_once(accelerate_is: Any, own_session: bool, pause: int, code: int) -> None:
    """The launcher hands it on to processes outside the terminal's group, as torchrun's are, and to no others."""
    accelerate_is(CHILD.format(own_session=own_session, pause=pause))
    assert launch("r.yaml", [], Launch()) == code


def test_torchrun_leaves_an_interrupt_to_the_run(accelerate_is: Any) -> None:
    accelerate_is("import os, sys; sys.exit('SIGINT' in os.environ.get('PET_SIGNALS_TO_HANDLE', 'SIGINT'))")
    assert launch("r.yaml", [], Launch()) == 0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("import os, pathlib, sys; pathlib.Path(os.environ['REASONING_RL_EXIT_FILE']).write_text('2'); sys.exit(1)", 2),
        ("import os, pathlib, sys; pathlib.Path(os.environ['REASONING_RL_EXIT_FILE']).write_text('0')", 0),
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit(sys.argv[-1] != 'grpo.max_steps=2' or sys.argv[-2] != 'r.yaml')", 0),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", 0),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9),
    ],
    ids=["the run refuses", "done", "accelerate fails", "arguments", "an interrupt is left to the run", "killed"],
)
def test_exit_code(accelerate_is: Any, text: str, code: int) -> None:
    accelerate_is(text)
    assert launch("r.yaml", ["grpo.max_steps=2"], Launch()) == code
