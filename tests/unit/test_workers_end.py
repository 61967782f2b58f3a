"""Grading processes end with their host, whatever ends it, and leave nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_workers import command, grader, reward, sample, score_of

from reasoning_rl.errors import ScoringError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading processes are watched through /proc")

# A host of its own: prints the processes below it, then grades a completion that does not end.
HOST = f"""
import os, sys, time, threading
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_workers import grader, reward, sample, descendants
pool = grader(reward("act", timeout_s=60.0), workers=2)
below = 0
if sys.argv[1:] == ["fork"]:  # as the loader processes of a trainer do: it keeps copies of the sockets
    below = os.fork()
    if below == 0:
        time.sleep(10)
        os._exit(0)
futures = [pool.submit(sample("daemon")), pool.submit(sample("sleep 50"))]
futures[0].result()
print(*(pid for pid in descendants(os.getpid()) if pid != below), flush=True)
try:
    futures[1].result()
except KeyboardInterrupt:
    start = time.monotonic()
    pool.close()
    print("closed", descendants(os.getpid()), time.monotonic() - start < 2, flush=True)
"""


@pytest.mark.parametrize("arguments", [[], ["fork"]], ids=["alone", "with a fork"])
def test_nothing_outlives_a_host_that_is_killed(arguments: list[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", HOST, *arguments], stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        processes = [int(pid) for pid in host.stdout.readline().split()]
        assert len(processes) >= 5  # two wardens, two graders, one daemon
        host.kill()
        host.wait(timeout=10)
        end = time.monotonic() + 2.0
        while any(is_running(pid) for pid in processes) and time.monotonic() < end:
            time.sleep(0.02)
        assert [command(pid) for pid in processes if is_running(pid)] == []


def is_running(pid: int) -> bool:
    """Whether a process runs, a zombie not counting: in a container nobody may reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_ctrl_c() -> None:
    with subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        host.stdout.readline()
        time.sleep(0.2)
        host.send_signal(signal.SIGINT)
        assert host.stdout.readline().strip() == "closed [] True"
        assert host.wait(timeout=10) == 0


def test_close_with_work_unfinished() -> None:
    pool = grader(reward("act", timeout_s=60.0), workers=2)
    futures = [pool.submit(sample("sleep 50", i=i)) for i in range(5)]
    time.sleep(0.2)
    pool.close()
    for future in futures:
        with pytest.raises(ScoringError, match="closed"):
            future.result(timeout=5)
    pool.close()
    assert isinstance(pool.submit(sample("x")).exception(timeout=5), ScoringError)


def test_temporary_files_go_with_their_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with grader(reward("act")) as pool:
        score_of(pool, "leave_a_file_and_spin")
        assert pool.stats()["kills"] == 1
        assert score_of(pool, "nothing").value == 1.0
        (folder,) = tmp_path.iterdir()  # of the process that runs now
        assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == []
