"""What runs in a grading process: a warden, and below it the process that imports and calls the rewards.

The warden outlives nothing: when the host closes the socket or dies, or the grader ends, it kills every descendant of the
grader, daemons and process groups of their own included (it is their subreaper), removes their temporary files, and goes.
It runs no reward code, so no input can stop it. The grader serves one sample at a time; the host decides about time, the
kernel about memory.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from reasoning_rl.workers.proc import descendants

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
#: How long the warden goes on killing what keeps forking.
_KILL_FOR_S = 2.0
#: How often the warden looks whether its host lives, where the kernel cannot tell it.
_LOOK_EVERY_MS = 500


def main(socket_fd: int, host_pid: int) -> None:
    """Runs the warden, which forks the grader before either has imported anything."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    warden = os.getpid()
    temporary = _temporary_folder()
    grader = os.fork()
    if grader == 0:
        code = 1
        try:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            os.setpgid(0, 0)
            if os.getppid() == warden:
                serve(socket.socket(fileno=socket_fd))
                code = 0
        except BaseException:  # noqa: BLE001 - the host reads it as the reason of a crash
            traceback.print_exc()
        finally:
            os._exit(code)
    code = _watch(grader, host_pid, socket_fd)
    if temporary is not None:
        shutil.rmtree(temporary, ignore_errors=True)
    os._exit(code)


def _temporary_folder() -> str | None:
    """A folder for the temporary files of the grader, which is killed before it can remove them; `None` where there is no
    place for one."""
    try:
        folder = tempfile.mkdtemp(prefix="reasoning-rl-grading-")
    except OSError:
        return None
    Path(folder).chmod(0o711)  # a sandbox below the reward passes through it as another user
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    return folder


def serve(host: socket.socket) -> None:
    """Builds the rewards, then scores samples until the host closes the socket."""
    import faulthandler
    import json

    faulthandler.enable()
    setup = _receive(host)
    if setup is None:
        return
    from reasoning_rl.workers.grade import LoadedRewards
    from reasoning_rl.workers.wire import frame

    try:
        rewards = LoadedRewards(**pickle.loads(setup))
    except BaseException as error:  # noqa: BLE001 - the reward's module may raise anything; the host says it
        host.sendall(frame(json.dumps({"error": f"{type(error).__name__}: {error}"[:2000]}).encode()))
        return
    host.sendall(frame(json.dumps({"pid": os.getpid(), **rewards.state()}).encode()))
    while (body := _receive(host)) is not None:
        rewards.run(body, host.sendall)


def _receive(host: socket.socket) -> bytes | None:
    header = _receive_exactly(host, 4)
    return None if header is None else _receive_exactly(host, struct.unpack(">I", header)[0])


def _receive_exactly(host: socket.socket, size: int) -> bytes | None:
    received = bytearray(size)
    view = memoryview(received)
    while view:
        count = host.recv_into(view)
        if count == 0:
            return None
        view = view[count:]
    return bytes(received)


def _watch(grader: int, host_pid: int, socket_fd: int) -> int:
    """Waits for the end of the grader, the socket or the host; kills what is left; returns the grader's exit code."""
    poll = select.poll()
    poll.register(socket_fd, getattr(select, "POLLRDHUP", select.POLLHUP))
    wait_ms = None
    for pid in (grader, host_pid):
        try:
            poll.register(os.pidfd_open(pid), select.POLLIN)
        except (OSError, AttributeError):
            wait_ms = _LOOK_EVERY_MS  # no pidfd here: look from time to time
    exits = _Exits(grader)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # so that the end of a daemon wakes poll and is reaped
    wakeup, sender = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    poll.register(wakeup, select.POLLIN)
    while not exits.reap() and os.getppid() == host_pid:
        ready = {fd for fd, _ in poll.poll(wait_ms)}
        if socket_fd in ready:
            break
        if wakeup in ready:
            os.read(wakeup, 4096)
    _kill_all(exits.reap)
    return exits.code


class _Exits:
    """Reaps children; remembers how the grader ended: its exit code, or 128 + the signal."""

    def __init__(self, grader: int) -> None:
        self.grader, self.code, self.none_left = grader, 0, False

    def reap(self) -> bool:
        """Reaps whatever has ended; whether the grader has."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self.grader:
                    code = os.waitstatus_to_exitcode(status)
                    self.grader, self.code = 0, code if code >= 0 else 128 - code
        except ChildProcessError:
            self.none_left = True
        return self.grader == 0


def _kill_all(reap: Callable[[], bool]) -> None:
    end = time.monotonic() + _KILL_FOR_S
    while time.monotonic() < end:
        reap()
        left = descendants(os.getpid())
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue  # gone, or not ours to kill
        time.sleep(0.002)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
