"""One run from the host's side: gives a jail the program, reads what it writes, decides how it ended.

The evidence is the zygote's report, the bytes on the pipes and the clock; nothing that a program says about itself
chooses between its own fault and ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from reasoning_rl.sandbox.jail import Jail
from reasoning_rl.sandbox.types import Limits, Outcome, RunResult
from reasoning_rl.sandbox.zygote import OVERLOAD_FACTOR, OVERLOAD_S, PAUSE, RESUME

_CHUNK = 1 << 16
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
#: Reasons of a failure that a second attempt of the same program cannot be blamed for.
OVERLOAD = "the machine is overloaded: the program was queueing for a core nearly all of the time"
NOT_STARTED = "the program was not started"


class Run:
    """A program in a jail, from its start to its end. Use as a context manager: leaving ends the program.

    Args:
        mode: `stdio`, `binary`, `calls` or `grader`.
        connections: file descriptors that it gets from number 4 on.
    """

    def __init__(
        self,
        jail: Jail,
        mode: str,
        source: bytes,
        stdin: bytes,
        limits: Limits,
        options: Mapping[str, Any] | None = None,
        connections: tuple[int, ...] = (),
    ) -> None:
        self.limits = limits
        self.started = time.monotonic()
        self.output = {"stdout": bytearray(), "stderr": bytearray()}
        self.result: RunResult | None = None
        self.has_overflowed = self.is_killed = False
        self._names: dict[int, str] = {}
        self._report: socket.socket | None = None
        self._poll = select.poll()
        self._patience_s = OVERLOAD_FACTOR * limits.wall_s + OVERLOAD_S + 10
        request = {
            "mode": mode,
            "options": dict(options or {}),
            "limits": {
                "cpu_s": limits.cpu_s,
                "wall_s": limits.wall_s,
                "memory_mb": limits.memory_mb,
                "processes": limits.processes,
                "files": jail.walls.num_files if limits.scratch_mb else 0,
                "file_bytes": jail.walls.file_bytes(limits.scratch_mb),
            },
        }
        theirs: list[int] = []
        try:
            theirs.append(sealed(stdin))
            for name in self.output:
                ours, pipe = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(ours, False)
                self._names[ours] = name
                theirs.append(pipe)
                self._poll.register(ours, select.POLLIN)
            theirs.append(sealed(source))
            self._report = jail.submit(request, [*theirs, *connections])
            self._poll.register(self._report, select.POLLIN)
        except OSError as error:
            self.fail(f"{NOT_STARTED}: the jail takes no program ({error})")
        finally:
            for fd in theirs:
                os.close(fd)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, connection: socket.socket | None = None, *, to_write: bool = False) -> bool:
        """Until the run has ended (`False`), or something can be done on the connection (`True`)."""
        if connection is not None:
            self._poll.register(connection, select.POLLIN | (select.POLLOUT if to_write else 0))
        try:
            while self.result is None:
                left = self.started + self._patience_s - time.monotonic()
                if left <= 0:
                    self.fail("the jail does not answer")
                    break
                ready = [fd for fd, _ in self._poll.poll(left * 1000)]
                self._handle(ready)
                if self.result is None and connection is not None and connection.fileno() in ready:
                    return True
            return False
        finally:
            if connection is not None:
                self._poll.unregister(connection)

    @staticmethod
    def wait_any(runs: Sequence[Run], connection: socket.socket | None) -> None:
        """Until something happens to one of these runs, or on the connection; what the runs write is read meanwhile."""
        poll = select.poll()
        if connection is not None:
            poll.register(connection, select.POLLIN)
        running = [run for run in runs if run.result is None]
        for run in running:
            for fd in (*run._names, run._report):
                if fd is not None:
                    poll.register(fd, select.POLLIN)
        patience = min((run.started + run._patience_s for run in running), default=0.0) - time.monotonic()
        ready = {fd for fd, _ in poll.poll(max(0, patience * 1000))}
        for run in running:
            run._handle(ready)
            if run.result is None and run.started + run._patience_s < time.monotonic():
                run.fail("the jail does not answer")

    def is_running(self) -> bool:
        """Whether it has not ended by now."""
        self._handle([fd for fd, _ in self._poll.poll(0)])
        return self.result is None

    def pause(self) -> None:
        """Its time stands still, until `resume`."""
        self._tell(PAUSE)

    def resume(self) -> None:
        """Its time and its output start anew."""
        self.started = time.monotonic()
        for text in self.output.values():
            text.clear()
        self._tell(RESUME)

    def _tell(self, word: bytes) -> None:
        if self._report is not None:
            with contextlib.suppress(OSError):  # it has ended, which its report says
                self._report.send(word)

    def _handle(self, ready: Collection[int]) -> None:
        for fd in ready:
            if fd in self._names:
                self._read(fd)
        if self._report is not None and self._report.fileno() in ready:
            self._finish()

    def end(self) -> RunResult:
        """Waits for the end."""
        self.wait()
        assert self.result is not None
        return self.result

    def kill(self) -> None:
        """Ends the program; the report still comes."""
        self.is_killed = True
        if self._report is not None:
            with contextlib.suppress(OSError):
                self._report.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Frees everything. The program ends if it has not."""
        for fd in self._names:
            os.close(fd)
        self._names.clear()
        if self._report is not None:
            self._report.close()
            self._report = None

    def _read(self, fd: int) -> bool:
        """Reads a piece; whether there may be more now."""
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        room = self.limits.output_bytes - sum(map(len, self.output.values()))
        self.output[self._names[fd]] += chunk[:room]
        if len(chunk) > room and not self.has_overflowed:
            self.has_overflowed = True
            self.kill()
        if not chunk:
            self._poll.unregister(fd)
            del self._names[fd]
            os.close(fd)
        return bool(chunk) and not self.has_overflowed

    def _finish(self) -> None:
        assert self._report is not None
        packet = b""
        with contextlib.suppress(OSError):
            try:
                packet = self._report.recv(1 << 16)
            except (
                ConnectionResetError
            ):  # said once when a word of ours was not read any more; the report comes after it
                packet = self._report.recv(1 << 16)
        for fd in list(self._names):
            while fd in self._names and self._read(fd):
                pass
        if not packet:
            self.fail("the jail died")
            return
        self._judge(json.loads(packet))

    def fail(self, reason: str) -> None:
        """It has ended, through no fault of the program."""
        self.result = RunResult(Outcome.SANDBOX_FAILURE, wall_s=time.monotonic() - self.started, reason=reason)

    def _judge(self, report: dict[str, Any]) -> None:
        was_stopped = self.is_killed and report.get("killed_for") == "host"  # by us, maybe before it had started
        was_stopped &= report.get("status") == -signal.SIGKILL
        if "status" not in report or not (report["ready"] or was_stopped):
            self.fail(f"{NOT_STARTED}: {report.get('problem')}")
            return
        outcome, reason = self._outcome(report)
        status = report["status"]
        self.result = RunResult(
            outcome,
            exit_code=status if status >= 0 else None,
            signal=-status if status < 0 else None,
            stdout=bytes(self.output["stdout"]),
            stderr=bytes(self.output["stderr"]),
            cpu_s=report["cpu_s"],
            wall_s=report["wall_s"],
            queued_s=report["queued_s"],
            peak_memory_mb=report["peak_mb"],
            reason=reason,
        )

    def _outcome(self, report: dict[str, Any]) -> tuple[Outcome, str]:
        limits, status, why = self.limits, report["status"], report["killed_for"]
        if self.has_overflowed:
            return Outcome.OUTPUT_LIMIT, f"more than {limits.output_bytes} bytes of output"
        if why == "cpu" or report["cpu_s"] >= limits.cpu_s:
            return Outcome.TIME_LIMIT, f"{report['cpu_s']:.2f} s of CPU time, limit {limits.cpu_s:g} s"
        if why == "wall":
            return Outcome.TIME_LIMIT, f"blocked: {report['wall_s']:.2f} s elapsed, limit {limits.wall_s:g} s"
        if why == "overload":
            return Outcome.SANDBOX_FAILURE, OVERLOAD
        if why == "host" and self.is_killed and status == -signal.SIGKILL:  # else it ended just before
            return Outcome.EXITED, ""
        if status == 0:
            return Outcome.EXITED, ""
        if status == -signal.SIGSYS:
            return Outcome.SECURITY_VIOLATION, "a system call that no honest program makes"
        if status == -signal.SIGKILL:  # which a program cannot send itself
            return Outcome.SANDBOX_FAILURE, "the program was killed from outside"
        # Between labels of the program's own fault, what it wrote may choose.
        last_line = self.output["stderr"].rstrip().rpartition(b"\n")[2]
        if last_line.startswith(b"MemoryError") or report["peak_mb"] >= limits.memory_mb:
            return Outcome.MEMORY_LIMIT, f"out of memory, limit {limits.memory_mb} MiB"
        how = f"exit code {status}" if status > 0 else f"signal {-status}"
        return Outcome.RUNTIME_ERROR, f"{how}: {last_line[-200:].decode(errors='replace')}"


def sealed(data: bytes) -> int:
    """A file in memory that nobody can change any more."""
    file = os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.lseek(file, 0, os.SEEK_SET)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(file)
        raise
    return file
