"""What becomes of jails and their processes: close, fork, a killed host, killed jails, growth, many threads, a busy machine."""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reasoning_rl.errors import SandboxError
from reasoning_rl.sandbox import Call, Limits, LocalSandbox, Outcome, TestCode
from reasoning_rl.sandbox.tiers import try_tiers
from reasoning_rl.workers.proc import descendants, rss_mb

ADD = "def add(a, b): return a + b\n"
SUITE = TestCode("assert", "assert add(1, 2) == 3\nassert add(5, 7) == 12", "add")


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_close_and_fork() -> None:
    others = set(descendants(os.getpid()))
    sandbox = LocalSandbox()
    assert sandbox.run("print(1)").stdout == b"1\n"
    pid = os.fork()
    if pid == 0:
        try:
            sandbox.run("print(1)")
        except SandboxError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert sandbox.run("print(1)").stdout == b"1\n"
    children = set(descendants(os.getpid())) - others
    assert children
    sandbox.close()
    sandbox.close()
    assert eventually(lambda: not children & set(descendants(os.getpid())), 1.0)
    with pytest.raises(SandboxError, match="closed"):
        sandbox.run("print(1)")


def test_nothing_outlives_a_killed_host(tmp_path: Path) -> None:
    script = tmp_path / "host.py"
    script.write_text("""
import sys, threading, time
from reasoning_rl.sandbox import *
for tier in sys.argv[1:]:
    sandbox = LocalSandbox(tier=tier, parallel=3)
    for program in ("while True: pass", "import time; time.sleep(100)"):
        threading.Thread(target=sandbox.run, args=(program,), kwargs={"limits": Limits(cpu_s=50, wall_s=50)}).start()
    threading.Thread(target=sandbox.grade, args=("def f():\\n    while True: pass", TestCode("assert", "assert f()", "f")),
                     kwargs={"limits": Limits(cpu_s=50, wall_s=50)}).start()
time.sleep(1)
print("ready", flush=True)
time.sleep(100)
""")
    tiers = [
        trial.tier.name
        for trial in try_tiers(all_of_them=True)
        if trial.holds and trial.tier.walls.namespaces != "root"
    ]
    assert tiers
    host = subprocess.Popen([sys.executable, str(script), *tiers], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None and host.stdout.readline() == "ready\n"
    started = descendants(host.pid)
    assert len(started) >= 5 * len(tiers)
    host.send_signal(signal.SIGKILL)
    assert eventually(lambda: not any(_is_alive(pid) for pid in started), 1.0)
    host.wait()
    host.stdout.close()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_jail_killed_from_outside_costs_nothing(sandbox: LocalSandbox) -> None:
    sandbox.run("")
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(sandbox.run, "import time; time.sleep(0.6); print(1)") for _ in range(2)]
        time.sleep(0.3)
        zygotes = [
            pid
            for pid in descendants(os.getpid())
            if b"reasoning_rl.sandbox" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        assert zygotes
        for pid in zygotes:
            with contextlib.suppress(ProcessLookupError):  # they take each other along
                os.kill(pid, signal.SIGKILL)
        assert [future.result().stdout for future in running] == [b"1\n", b"1\n"]


def test_a_program_killed_from_outside_is_tried_again(sandbox: LocalSandbox) -> None:
    before = set(descendants(os.getpid()))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(sandbox.run, "import time; time.sleep(0.6); print(1)")
        time.sleep(0.3)
        new = set(descendants(os.getpid())) - before
        if len(new) > 1:  # the jail was started too; the program is its youngest
            new = {max(new)}
        for pid in new:
            os.kill(pid, signal.SIGKILL)
        assert running.result().stdout == b"1\n"


def test_nothing_grows(sandbox: LocalSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with LocalSandbox(tier=sandbox.tier.name) as own:
        _run_many(own, tmp_path)
    assert list(tmp_path.iterdir()) == []


def _run_many(sandbox: LocalSandbox, folder: Path) -> None:
    def state() -> tuple[int, int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(descendants(os.getpid())), len(list(folder.iterdir()))

    programs = [
        ADD,
        "import sys; sys.exit(3)",
        "open('x', 'w').write('x')",
        "import os; os._exit(0)",
        "x = bytearray(1 << 40)",
    ]

    def some(n: int) -> None:
        for i in range(n):
            sandbox.run(programs[i % 5])
            sandbox.grade(programs[i % 5], SUITE)
            sandbox.calls(programs[i % 5], [Call("add", (1, 2))])

    some(10)
    before, memory = state(), rss_mb()
    some(70)
    assert state() == before
    assert rss_mb() - memory <= 20


def test_threads_share_it(sandbox: LocalSandbox) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda i: sandbox.run("print(int(input()) ** 2)", str(i)).stdout, range(64)))
    assert found == [f"{i * i}\n".encode() for i in range(64)]


@contextlib.contextmanager
def busy(per_core: int) -> Iterator[None]:
    """A machine on which so many others compute too."""
    command = [sys.executable, "-c", "while True: pass"]
    burners = [subprocess.Popen(command) for _ in range(per_core * len(os.sched_getaffinity(0)))]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


@pytest.mark.slow
def test_no_honest_program_is_at_its_time_limit_on_a_busy_machine() -> None:
    program = "x = 0\nfor i in range(3_000_000): x += i\nprint(x)"
    with busy(7), LocalSandbox(parallel=64) as sandbox, ThreadPoolExecutor(64) as pool:
        ends = list(pool.map(lambda _: sandbox.run(program, limits=Limits(cpu_s=2.0, wall_s=4.0)), range(64)))
    assert {end.outcome for end in ends} == {Outcome.EXITED}
    assert max(end.wall_s for end in ends) > 4.0  # or it was not busy


@pytest.mark.slow
def test_nor_is_one_that_is_called(sandbox: LocalSandbox) -> None:
    program = "def f(n):\n    for i in range(100_000): n += 1\n    return n\n"
    tests = TestCode("assert", "\n".join(f"assert f({n}) == {n + 100_000}" for n in range(40)), "f")
    limits = Limits(cpu_s=2.0, wall_s=4.0)
    with busy(7), LocalSandbox(tier=sandbox.tier.name, parallel=64) as own, ThreadPoolExecutor(64) as pool:
        called = list(pool.map(lambda _: own.calls(program, [Call("f", (n,)) for n in range(40)], limits), range(64)))
        graded = list(pool.map(lambda _: own.grade(program, tests, limits), range(64)))
    assert {result.end.outcome for result in (*called, *graded)} == {Outcome.EXITED}
    assert all(result.accepted for result in graded)
    assert max(result.end.wall_s for result in (*called, *graded)) > 1.0  # or it was not busy


def test_other_descriptors_on_their_way_are_in_nobodys_way(sandbox: LocalSandbox) -> None:
    """The kernel sends no descriptor for a user with more of them under way than the sender may have open."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for _ in range(100):
            ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
        assert sandbox.run("print(1)").stdout == b"1\n"
        assert sandbox.grade(ADD, SUITE).accepted


def test_ends_promptly(sandbox: LocalSandbox) -> None:
    """A hang in any of the threads would keep this from returning at all; the bound is that of the wall limit."""
    done = threading.Event()

    def work() -> None:
        sandbox.run("import os, time\nos.close(1); os.close(2); time.sleep(100)", limits=Limits(wall_s=0.5))
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(10)


def test_folders_that_a_program_has_closed_are_emptied(sandbox: LocalSandbox) -> None:
    """By the jail that ran it, which goes on."""
    sandbox.run("pass")
    before = {role: jail.process.pid for role, jail in sandbox._jails.items()}
    closed = "os.umask(0o777)\nos.mkdir('d'); open('f', 'w').close()"
    long = "for _ in range(25):\n    os.mkdir('n' * 200)\n    os.chdir('n' * 200)"  # more than a path can have
    for program in (closed, f"{long}\n{closed}"):
        assert sandbox.run(f"import os\n{program}").outcome is Outcome.EXITED
    nothing_left = sandbox.run("import os\nprint(os.listdir())")
    assert nothing_left.stdout == b"[]\n"
    assert {role: jail.process.pid for role, jail in sandbox._jails.items()} == before
    assert all(jail.process.poll() is None for jail in sandbox._jails.values())
