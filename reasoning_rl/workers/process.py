"""One grading process as the host sees it: starting, sending without blocking, receiving, killing.

Decides nothing: which task goes where, what a deadline or a crash means, is `dispatch`.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reasoning_rl.workers.proc import cpu_s, queued_s
from reasoning_rl.workers.wire import MalformedReply, Reply, frame, take_frame, unpack_reply

#: What is kept of a process's stdout and stderr, to say why it died.
_OUTPUT_TAIL_BYTES = 4096
_CHUNK_BYTES = 1 << 16
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from reasoning_rl.workers.child import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)
#: sympy with gmpy2 computes huge integers in C code that no signal interrupts; one thread per process, no GPU, and the
#: same order of sets and dicts in every process.
_ENVIRONMENT = {
    "SYMPY_GROUND_TYPES": "python",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}


@dataclass(frozen=True, slots=True)
class Started:
    """The rewards are imported; samples can be sent."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """Importing or building the rewards failed."""

    reason: str


class GradingProcess:
    """A warden and its grader in a fresh interpreter, in a session of their own: Ctrl-C in the terminal is the host's.

    Args:
        rewards: `use` and options of each reward.
        memory_mb: address space that grading may take on top of the imports.
    """

    def __init__(self, rewards: Sequence[tuple[str, Mapping[str, Any]]], memory_mb: int) -> None:
        self.socket, theirs = socket.socketpair()
        self.output, output = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(output, True)
        path = [os.path.abspath(entry or ".") for entry in sys.path]  # noqa: PTH100 - "" must become the working directory
        try:
            self.warden = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, json.dumps(path), str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **_ENVIRONMENT},
                start_new_session=True,
            )
        finally:
            theirs.close()
            os.close(output)
        self.socket.setblocking(False)
        self.started_at = time.monotonic()
        self.pid = 0
        self.num_done = 0
        self.rss_mb = self.base_rss_mb = 0
        self.num_received = 0
        self.tail = bytearray()
        self._cpu_s = 0.0
        self._queued_s = 0.0
        self._inbox = bytearray()
        self._outbox = memoryview(b"")
        self._ended_at: float | None = None
        self.send(frame(pickle.dumps({"rewards": [(u, dict(o)) for u, o in rewards], "memory_mb": memory_mb})))

    @property
    def has_to_send(self) -> bool:
        """Whether a part of the last task has not been taken yet."""
        return bool(self._outbox)

    @property
    def has_ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended_at is not None

    def send(self, body: bytes) -> None:
        """Starts sending; `go_on_sending` does the rest when the socket is ready."""
        assert not self._outbox
        self._outbox = memoryview(body)
        self.go_on_sending()

    def go_on_sending(self) -> None:
        """Sends what the socket takes now. A process that is gone is noticed when it is read."""
        try:
            while self._outbox:
                self._outbox = self._outbox[self.socket.send(self._outbox[: 4 * _CHUNK_BYTES]) :]
        except BlockingIOError:
            pass
        except OSError:
            self._outbox = memoryview(b"")

    def receive(self) -> list[Started | StartFailed | Reply]:
        """What has arrived.

        Raises:
            EOFError: the process is gone.
            MalformedReply: it sent something else.
        """
        ended = False
        try:
            chunk = self.socket.recv(_CHUNK_BYTES)
            self._inbox += chunk
            ended = not chunk
        except BlockingIOError:
            pass
        except OSError:
            ended = True
        found: list[Started | StartFailed | Reply] = []
        while (body := take_frame(self._inbox)) is not None:
            found.append(self._understood(body))
        if ended and not found:
            raise EOFError
        return found

    def read_output(self) -> bool:
        """Reads a piece of what the process prints, keeping the end of it; whether there may be more."""
        try:
            chunk = os.read(self.output, _CHUNK_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.tail = (self.tail + chunk)[-_OUTPUT_TAIL_BYTES:]
        return bool(chunk)

    def used_s(self) -> tuple[float, float]:
        """CPU seconds and seconds of queueing for a core since the last reply."""
        used = cpu_s(self.pid)
        return max(0.0, (used or 0.0) - self._cpu_s), max(0.0, queued_s(self.pid) - self._queued_s)

    def end(self) -> None:
        """Tells the warden to kill everything, by closing the socket. Returns at once; see `is_gone`."""
        if self._ended_at is not None:
            return
        self._ended_at = time.monotonic()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # closing alone says nothing while a fork of the host holds a copy
        self.socket.close()

    def is_gone(self) -> bool:
        """Whether all processes are gone after `end`. A warden that takes over a second is killed with its group."""
        assert self._ended_at is not None
        if self.warden.poll() is None:
            if time.monotonic() - self._ended_at > 1.0:
                self.warden.kill()  # the grader follows: the kernel kills it when its parent dies
            return False
        if self.output >= 0:
            self.read_output()
            os.close(self.output)
            self.output = -1
        return True

    def exit_reason(self) -> tuple[int, str]:
        """Exit code (128 + n for signal n) and the last words of a process that is gone."""
        code = self.warden.returncode
        code = 128 - code if code < 0 else code
        how = f"signal {code - 128}" if code > 128 else f"exit code {code}"
        words = self.tail.decode(errors="replace").strip().splitlines()
        return code, f"{how}: {words[-1][:200]}" if words else how

    def _understood(self, body: bytes) -> Started | StartFailed | Reply:
        if self.pid:
            reply = unpack_reply(body)
            self._cpu_s, self._queued_s, self.rss_mb = reply.cpu_s, reply.queued_s, reply.rss_mb
            return reply
        try:
            fields = json.loads(body)
            if "error" in fields:
                return StartFailed(str(fields["error"]))
            self.pid = int(fields["pid"])
            self._cpu_s, self._queued_s = float(fields["cpu_s"]), float(fields["queued_s"])
            self.rss_mb = int(fields["rss_mb"])
            self.base_rss_mb = self.rss_mb
            return Started()
        except (ValueError, TypeError, KeyError) as error:
            raise MalformedReply(f"sent no greeting but {body[:40]!r} ({error})") from None
