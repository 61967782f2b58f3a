"""The attack table through the reward `code_tests`: the right verdict for every program, and an untouched host after it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attack_kit import LIMITED, Program, letters, sample
from code_attacks import FIXED, escapes

from reasoning_rl.errors import SandboxError
from reasoning_rl.sandbox.jail import bwrap_path
from reasoning_rl.workers.proc import descendants
from reasoning_rl_rewards.code_tests.sandboxes import shared_sandbox

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SYSTEM_PYTHON = "/usr/bin/python3"
DOCKER_LIKE = HERE.parent / "sandbox" / "docker_like.py"
#: Facts that stand in for the host's when the table is only listed; the names of the programs do not hang on them.
NO_FACTS: dict[str, Any] = {"canary": "", "port": 0, "udp": 0, "abstract": "", "pid": 0, "sibling": 0, "uid": 0}
ESCAPES = escapes(NO_FACTS)


class Host:
    """What attacks are after: listeners on the loopback interface, a file open to all, a process of the same user."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="canary-"))
        self.folder.chmod(0o777)
        self.canary = self.folder / "canary"
        self.canary.write_text("a secret of the host")
        self.canary.chmod(0o666)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(f"\0{self.folder.name}")
        self.unix.listen()
        self.sibling = subprocess.Popen(["sleep", "1000"])
        for server in (self.tcp, self.udp, self.unix):
            server.setblocking(False)
        self.facts = {
            "canary": str(self.canary),
            "port": self.tcp.getsockname()[1],
            "udp": self.udp.getsockname()[1],
            "abstract": f"\0{self.folder.name}",
            "pid": os.getpid(),
            "sibling": self.sibling.pid,
            "uid": os.geteuid(),
        }
        self.before = self.state()

    def state(self) -> dict[str, Any]:
        """Everything that must stay as it is."""
        found = self.canary.stat()
        return {
            "canary": (self.canary.read_text(), found.st_mode, found.st_mtime_ns, found.st_uid, found.st_nlink),
            "folder": sorted(path.name for path in self.folder.iterdir()),
            "pwned": Path("/tmp/pwned").exists(),
            "sibling": self.sibling.poll(),
            "contacts": [name for name, server in self.servers().items() if has_news(server)],
            "affinity": os.sched_getaffinity(0),
            "priority": os.getpriority(os.PRIO_PROCESS, 0),
        }

    def servers(self) -> dict[str, socket.socket]:
        return {"tcp": self.tcp, "udp": self.udp, "unix": self.unix}

    def close(self) -> None:
        self.sibling.kill()
        self.sibling.wait()
        for server in self.servers().values():
            server.close()
        shutil.rmtree(self.folder)


def has_news(server: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError):
        server.recv(1) if server.type == socket.SOCK_DGRAM else server.accept()
        return True
    return False


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    os.environ["CANARY_TOKEN"] = "a secret of the environment"
    found = Host()
    yield found
    found.close()
    del os.environ["CANARY_TOKEN"]


@pytest.fixture(scope="module", params=["T1", "T2"])
def tier(request: pytest.FixtureRequest) -> str:
    try:
        shared_sandbox("python", None, request.param, (), LIMITED.scratch_mb)
    except SandboxError as error:
        pytest.skip(str(error))
    return request.param


def bring_up(tier: str) -> None:
    """Both jails run: the program before may have taken one down, and its successor is no process that is left."""
    program = honest("honest function")
    assert program.verdict(program.columns()["A"], tier) == "AC"


def honest(name: str) -> Program:
    return next(program for program in FIXED if program.name == name)


def processes() -> int:
    """Living descendants of this process."""
    living = 0
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            living += Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return living


def try_out(program: Program, fixture: str, tier: str, host: Host) -> None:
    if program.needs and importlib.util.find_spec(program.needs) is None:
        pytest.skip(f"{program.needs} is not installed")
    own_sandbox = any(name == "packages" for name, _ in program.options)
    bring_up(tier)
    num_processes, start = processes(), time.monotonic()
    found = program.verdict(program.columns()[fixture], tier)
    elapsed = time.monotonic() - start
    assert found in program.expected.split("|")
    assert host.state() == host.before
    assert processes() <= num_processes or own_sandbox, "a process is left"
    return None if elapsed < LIMITED.wall_s + 1 else check_alone(program, fixture, tier)


def check_alone(program: Program, fixture: str, tier: str) -> None:
    """It took long, perhaps because the machine was busy: how much of it was the program's?"""
    pressure = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    assert pressure > 1, f"{program.name} took more than its wall limit and a second on an idle machine"


CASES = [(program, fixture) for program in FIXED for fixture in program.columns()]
#: One fixture of each program by default, all of them in the slow tests.
FIRST = [(program, next(iter(program.columns()))) for program in FIXED]


def case_id(value: object) -> str:
    return value.name if isinstance(value, Program) else str(value)


@pytest.mark.parametrize(("program", "fixture"), FIRST, ids=case_id)
def test_verdict(program: Program, fixture: str, tier: str, host: Host) -> None:
    try_out(program, fixture, tier, host)


@pytest.mark.slow
@pytest.mark.parametrize(("program", "fixture"), [case for case in CASES if case not in FIRST], ids=case_id)
def test_verdict_on_the_other_fixtures(program: Program, fixture: str, tier: str, host: Host) -> None:
    try_out(program, fixture, tier, host)


@pytest.mark.parametrize("number", range(len(ESCAPES)), ids=lambda number: ESCAPES[number].name)
def test_escape(number: int, tier: str, host: Host) -> None:
    program = escapes(host.facts)[number]
    assert program.name.split()[0] == ESCAPES[number].name.split()[0]
    for fixture in program.columns():
        try_out(program, fixture, tier, host)


def test_the_host_would_notice(host: Host) -> None:
    """The checks of the host see what they are there for."""
    before = host.state()
    with socket.create_connection(("127.0.0.1", host.facts["port"])):
        assert host.state()["contacts"] == ["tcp"]
    host.canary.chmod(0o600)
    assert host.state() != before
    host.canary.chmod(0o666)
    assert host.state() == before


def test_nothing_is_found_by_the_next_program(tier: str) -> None:
    leave = (
        "import os, json\nopen('left.txt', 'w').write('x'); os.makedirs('a/b')\njson.loads = None\nos.environ['LEFT'] = '1'\n"
        "def add(a, b): return 0"
    )
    look = (
        "import os, json\ndef add(a, b):\n    if os.listdir() or 'LEFT' in os.environ or json.loads is None: raise OSError\n"
        "    return a + b"
    )
    tests = honest("honest function").columns()["A"]
    for _ in range(3):
        assert Program("leaves", "A", leave, "WA").verdict(tests, tier) == "WA"
        assert Program("looks", "A", look, "AC").verdict(tests, tier) == "AC"


def test_a_machine_without_a_sandbox_grades_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from reasoning_rl.sandbox import tiers

    monkeypatch.setenv(tiers.WITHOUT, "bwrap,landlock")
    # Options of its own, so that no sandbox of another test is shared.
    reward = type(LIMITED)(scratch_mb=3)
    with pytest.raises(SandboxError, match="no sandbox here"):
        reward.warm_up()
    score = reward(sample("def add(a, b): return a + b", honest("honest function").columns()["A"]))
    assert (letters(score), score.value) == ("SF", None)


@pytest.mark.slow
@pytest.mark.parametrize("fixture", ["A", "P", "S"])
def test_two_hundred_runs_leave_nothing(
    fixture: str, tier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # others use the machine's
    program = honest("honest stdio" if fixture == "S" else "honest function")
    tests = program.columns()[fixture]

    def counts() -> tuple[int, int, int]:
        left = [
            path for path in tmp_path.iterdir() if not path.name.startswith("reasoning-rl-sandbox-")
        ]  # of a new jail
        return len(list(Path("/proc/self/fd").iterdir())), processes(), len(left)

    def resident_mb() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

    for _ in range(10):
        assert program.verdict(tests, tier) == "AC"
    before, memory = counts(), resident_mb()
    for _ in range(200):
        assert program.verdict(tests, tier) == "AC"
    assert counts() == before
    assert len(list(tmp_path.iterdir())) <= 2  # one for each jail
    assert resident_mb() - memory <= 20


def elsewhere(host: Host, *command: str, **environment: str) -> dict[str, Any]:
    """Runs the whole table with the system's Python, which other users can read."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    check = [SYSTEM_PYTHON, "-c", "import sys; assert sys.version_info >= (3, 11)"]
    if not os.access(SYSTEM_PYTHON, os.X_OK) or subprocess.run(check, check=False, capture_output=True).returncode:
        pytest.skip(f"{SYSTEM_PYTHON} is missing or older than 3.11")
    if any(not folder.stat().st_mode & 1 for folder in (ROOT, *ROOT.parents)):
        pytest.skip(f"other users cannot read {ROOT}")
    bwrap = bwrap_path()
    path = f"/usr/bin:/bin:{Path(bwrap).parent}" if bwrap else "/usr/bin:/bin"
    facts = host.facts | {"uid": int(command[0]) if command else 0}
    done = subprocess.run(
        [sys.executable, DOCKER_LIKE, *command, SYSTEM_PYTHON, HERE / "code_attacks.py", json.dumps({"facts": facts})],
        env={
            "PATH": path,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'rewards'}",
            "CANARY_TOKEN": "a secret of the environment",
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert host.state() == host.before
    found = json.loads(done.stdout)
    assert found.pop("num_programs") == len(FIXED) + len(ESCAPES)
    return found


@pytest.mark.slow
def test_as_an_unprivileged_user(host: Host) -> None:
    if bwrap_path() is None:
        pytest.skip("bubblewrap is not installed")
    assert elsewhere(host, "65534", DOCKER_LIKE="no") == {"tier": "T1", "wrong": []}


@pytest.mark.slow
@pytest.mark.parametrize("uid", [(), ("1000",)], ids=["root", "uid 1000"])
def test_in_a_container(host: Host, uid: tuple[str, ...]) -> None:
    assert elsewhere(host, *uid) == {"tier": "T2", "wrong": []}
