"""The attack table: one property each, in every tier, as this user, as nobody, and inside a container-like confinement."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cases import CASES, LIMITS, Case, verdict

from reasoning_rl.sandbox import LocalSandbox, Outcome
from reasoning_rl.sandbox.jail import bwrap_path
from reasoning_rl.sandbox.local import MAX_PROGRAM_BYTES

HERE = Path(__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verdict_is_right(sandbox: LocalSandbox, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_TOKEN", "secret")
    # One fixture here; `test_other_users` and the slow test below take all of them.
    assert verdict(sandbox, case.fixtures[0], case.program) in case.expected.split("|")


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if len(case.fixtures) > 1], ids=lambda case: case.name)
def test_verdict_is_right_on_every_fixture(sandbox: LocalSandbox, case: Case) -> None:
    found = {fixture: verdict(sandbox, fixture, case.program) for fixture in case.fixtures}
    assert {fixture for fixture, name in found.items() if name not in case.expected.split("|")} == set(), found


def test_a_program_that_is_too_long_is_refused_unseen(sandbox: LocalSandbox) -> None:
    assert verdict(sandbox, "S", "#" * (MAX_PROGRAM_BYTES + 1)) == "RE"
    assert verdict(sandbox, "A", "#" * (MAX_PROGRAM_BYTES + 1)) == "RE"


def test_nothing_stays_for_the_next_program(sandbox: LocalSandbox) -> None:
    leave = "import os\nopen('left', 'w').write('x'); os.makedirs('a/b'); open('a/b/c', 'w').close()\nprint(len(os.listdir()))"
    assert sandbox.run(leave, limits=LIMITS).stdout == b"2\n"
    for _ in range(4):
        assert sandbox.run("import os; print(os.listdir())", limits=LIMITS).stdout == b"[]\n"
    patch = "import json, builtins; json.loads = builtins.len = None; json.x = 1"
    assert sandbox.run(patch).exit_code == 0
    assert (
        sandbox.run("import json; print(json.loads('[1]'), hasattr(json, 'x'), len('ab'))").stdout == b"[1] False 2\n"
    )


def elsewhere(*command: str, **environment: str) -> dict[str, object]:
    """Runs the whole table with the system's Python, which other users can read."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    if (
        not os.access(SYSTEM_PYTHON, os.X_OK)
        or subprocess.run([SYSTEM_PYTHON, "-c", "import sys; assert sys.version_info >= (3, 11)"]).returncode
    ):
        pytest.skip(f"{SYSTEM_PYTHON} is missing or older than 3.11")
    root = HERE.parents[1]
    if any(not folder.stat().st_mode & 1 for folder in (root, *root.parents)):
        pytest.skip(f"other users cannot read {root}")
    bwrap = bwrap_path()
    path = f"/usr/bin:/bin:{Path(bwrap).parent}" if bwrap else "/usr/bin:/bin"
    done = subprocess.run(
        [
            shutil.which("python3") or SYSTEM_PYTHON,
            str(HERE / "docker_like.py"),
            *command,
            SYSTEM_PYTHON,
            str(HERE / "cases.py"),
        ],
        env={
            "PATH": path,
            "PYTHONPATH": str(root),
            "CANARY_TOKEN": "secret",
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


PTRACE = """
import ctypes, json, os
from reasoning_rl.sandbox import LocalSandbox, Outcome
trace_me = "import ctypes; c = ctypes.CDLL(None, use_errno=True); print(c.ptrace(0, 0, 0, 0), ctypes.get_errno())"
with LocalSandbox() as sandbox:
    programs = {
        "itself": trace_me,
        "the parent": "import ctypes, os; ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0); print(1)",
        "memory": "import ctypes, os; ctypes.CDLL(None).syscall(310, os.getppid(), 0, 0, 0, 0, 0); print(1)",
        "honest": "print(1)",
    }
    found = {name: sandbox.run(program).outcome for name, program in programs.items()}
    tier = sandbox.tier.name
c = ctypes.CDLL(None, use_errno=True)
print(json.dumps({"tier": tier, "found": found, "outside": c.ptrace(0, 0, 0, 0)}))
"""


@pytest.mark.parametrize(("docker", "outside"), [("", 0), ("old", -1)])
def test_ptrace_in_a_container(docker: str, outside: int) -> None:
    """Outside the sandbox the container allows it or refuses it with an error; in the sandbox it ends the program."""
    command = [sys.executable, str(HERE / "docker_like.py"), sys.executable, "-c", PTRACE]
    done = subprocess.run(command, env={**os.environ, "DOCKER_LIKE": docker}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    violation = Outcome.SECURITY_VIOLATION
    assert json.loads(done.stdout) == {
        "tier": "T2",
        "found": {"itself": violation, "the parent": violation, "memory": violation, "honest": Outcome.EXITED},
        "outside": outside,
    }


@pytest.mark.slow
def test_as_nobody() -> None:
    if bwrap_path() is None:
        pytest.skip("bubblewrap is not installed")
    assert elsewhere("65534", DOCKER_LIKE="no") == {"tier": "T1", "num_cases": len(CASES), "wrong": []}


@pytest.mark.slow
@pytest.mark.parametrize("uid", [(), ("1000",)], ids=["root", "uid 1000"])
def test_in_a_container(uid: tuple[str, ...]) -> None:
    assert elsewhere(*uid) == {"tier": "T2", "num_cases": len(CASES), "wrong": []}


@pytest.mark.slow
def test_as_root_without_user_namespaces() -> None:
    if bwrap_path() is None:
        pytest.skip("bubblewrap is not installed")
    found = elsewhere(DOCKER_LIKE="no", REASONING_RL_SANDBOX_WITHOUT="userns")
    assert found == {"tier": "T1", "num_cases": len(CASES), "wrong": []}
