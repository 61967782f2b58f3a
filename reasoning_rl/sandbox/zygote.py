"""The fork server inside a jail: forks one child per request, confines it, measures it, kills it, says how it ended.

It runs no model code and reads none: source and test code pass through it as file descriptors. Requests come as packets
on a socket, each with a socket of its own for the report; closing that one kills the child. When the host dies, by
whatever signal, the zygote kills its children and goes. Single-threaded; standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from reasoning_rl.sandbox import landlock, program, seccomp

#: A child that has been there for this much longer than its wall limit, mostly queueing for a core, is given up.
OVERLOAD_FACTOR, OVERLOAD_S = 10, 30.0
_FIRST_UID = 60_000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 1, 4, 8, 38
_CAP_DAC_READ_SEARCH = 2
_CAPSET = 126
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(settings: dict[str, Any], control_fd: int, host_fd: int) -> None:
    """Serves until the host is gone. `settings` are those of `jail.Jail`; `host_fd` is a pidfd of the host, or -1."""
    try:
        zygote = Zygote(settings, socket.socket(fileno=control_fd), host_fd)
        try:
            zygote.serve()
        finally:
            zygote.end()
    finally:
        if settings["scratch_is_ours"]:
            shutil.rmtree(settings["scratch"], ignore_errors=True)


class Child:
    """One running program as the zygote sees it."""

    def __init__(
        self, pid: int, slot: int, report: socket.socket, setup: socket.socket, limits: dict[str, Any]
    ) -> None:
        self.pid, self.slot, self.report, self.setup, self.limits = pid, slot, report, setup, limits
        self.started = time.monotonic()
        self.look_at = self.started
        self.listener = -1
        self.ready = False
        self.problem = ""
        self.killed_for = ""
        self.num_created = 0
        self.queued_s = 0.0
        self.fds: list[int] = []

    def kill(self, why: str) -> None:
        if not self.killed_for:
            self.killed_for = why
            os.kill(self.pid, signal.SIGKILL)  # not reaped yet, so the pid is its own


class Zygote:
    def __init__(self, settings: dict[str, Any], control: socket.socket, host_fd: int) -> None:
        self.settings, self.control = settings, control
        self.poll = select.poll()
        self.on: dict[int, Callable[[], None]] = {}
        self.children: dict[int, Child] = {}
        self.is_over = False
        self.cores = len(os.sched_getaffinity(0))
        _prctl(_PR_SET_DUMPABLE, 0)
        for name in settings["preload"]:
            __import__(name)
        self.base_bytes = _address_space_bytes()
        self.free = list(range(settings["slots"]))
        self.rules: list[int] = []
        for slot in self.free:
            self.make_scratch(slot)
            if settings["landlock"]:
                rights = landlock.python_paths(settings["library_folders"], settings["library_files"])
                rights |= {"/dev/null": landlock.READ | landlock.WRITE, self.scratch(slot): landlock.SCRATCH}
                rights |= dict.fromkeys(self.settings["executables"], landlock.READ | landlock.EXECUTE)
                self.rules.append(landlock.ruleset(rights, settings["landlock"]))
        self.watch(control.fileno(), self.accept)
        if host_fd >= 0:
            self.watch(host_fd, self.stop)
        control.send(json.dumps({"ready": True}).encode())

    def watch(self, fd: int, action: Callable[[], None], events: int = select.POLLIN | select.POLLHUP) -> None:
        self.on[fd] = action
        self.poll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        if self.on.pop(fd, None):
            self.poll.unregister(fd)

    def stop(self) -> None:
        self.is_over = True

    def serve(self) -> None:
        import gc

        gc.collect()
        gc.freeze()
        while not self.is_over:
            now = time.monotonic()
            due = min((child.look_at for child in self.children.values()), default=now + 60)
            for fd, _ in self.poll.poll(max(0, (due - now) * 1000 + 0.5)):
                if fd in self.on:  # an earlier event of this round may have ended it
                    self.on[fd]()
            now = time.monotonic()
            for child in list(self.children.values()):
                if now >= child.look_at:
                    self.look(child, now)

    def end(self) -> None:
        for child in list(self.children.values()):
            child.kill("end")
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, 0)

    def scratch(self, slot: int) -> str:
        return f"{self.settings['scratch']}/{slot}"

    def make_scratch(self, slot: int) -> None:
        folder = self.scratch(slot)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if self.settings["drop_uid"]:
            os.chown(folder, _FIRST_UID + slot, _FIRST_UID + slot)

    def empty_scratch(self, slot: int) -> None:
        folder = self.scratch(slot)
        for entry in os.listdir(folder):
            path = f"{folder}/{entry}"
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    def accept(self) -> None:
        try:
            packet, fds, _, _ = socket.recv_fds(self.control, 1 << 16, 8)
        except BlockingIOError:
            return
        if not packet:
            self.stop()
            return
        request = json.loads(packet)
        report = socket.socket(fileno=fds[0])
        slot = self.free.pop() if self.free else -1
        if slot < 0:
            report.send(json.dumps({"problem": "no free slot"}).encode())
            report.close()
            _close(fds[1:])
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = os.fork()
        except OSError as error:
            report.send(json.dumps({"problem": f"fork: {error}"}).encode())
            report.close()
            ours.close()
            theirs.close()
            _close(fds[1:])
            self.free.append(slot)
            return
        if pid == 0:
            self.confine(request, slot, fds[1:], theirs, os.getppid())
        theirs.close()
        _close(fds[1:])
        child = Child(pid, slot, report, ours, request["limits"])
        self.children[pid] = child
        pidfd = os.pidfd_open(pid)
        child.fds = [pidfd, report.fileno(), ours.fileno()]
        self.watch(pidfd, lambda: self.reap(child))
        self.watch(report.fileno(), lambda: self.give_up(child))
        self.watch(ours.fileno(), lambda: self.hear(child))

    def give_up(self, child: Child) -> None:
        self.unwatch(child.report.fileno())
        child.kill("host")

    def hear(self, child: Child) -> None:
        """The child says, before it runs any program, that it is confined, or why it could not be."""
        message, fds, _, _ = socket.recv_fds(child.setup, 4096, 1)
        if message == b"L":
            child.listener = fds[0]
            self.watch(child.listener, lambda: self.decide(child))
            return
        self.unwatch(child.setup.fileno())
        if message == b"R":
            child.ready = True
        else:
            child.problem = message.decode(errors="replace") or "the child died while it was confined"

    def decide(self, child: Child) -> None:
        """A new thread or file: allowed while there are few."""
        call = seccomp.receive(child.listener)
        if call is None:
            if self.listener_is_dead(child):
                self.unwatch(child.listener)
            return
        number, is_thread = call
        error = 0
        if is_thread:
            try:
                too_many = os.stat(f"/proc/{child.pid}/task").st_nlink - 2 >= child.limits["processes"]
            except OSError:
                too_many = True
            error = errno.EAGAIN if too_many else 0
        else:
            child.num_created += 1
            error = errno.ENOSPC if child.num_created > child.limits["files"] else 0
        seccomp.reply(child.listener, number, error)

    def listener_is_dead(self, child: Child) -> bool:
        poll = select.poll()
        poll.register(child.listener, select.POLLIN)
        return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))

    def look(self, child: Child, now: float) -> None:
        """Kills a child whose time is up; decides when to look again."""
        limits, elapsed = child.limits, now - child.started
        try:
            used = time.clock_gettime((~child.pid << 3) | 2)  # the CPU clock of that process
        except OSError:
            used = 0.0
        child.queued_s = _queued_s(child.pid)
        left_cpu, left_wall = limits["cpu_s"] - used, limits["wall_s"] - (elapsed - child.queued_s)
        left_patience = OVERLOAD_FACTOR * limits["wall_s"] + OVERLOAD_S - elapsed
        if left_cpu <= 0:
            child.kill("cpu")
        elif left_wall <= 0:
            child.kill("wall")
        elif left_patience <= 0:
            child.kill("overload")
        wait = min(left_cpu / min(self.cores, limits["processes"]), left_wall, left_patience)
        child.look_at = now + (60.0 if child.killed_for else max(0.005, wait))

    def reap(self, child: Child) -> None:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid == 0:
            return
        if not child.ready and not child.problem:  # it may have said so just before the end
            child.setup.setblocking(False)
            try:
                while not child.ready and not child.problem:
                    self.hear(child)
            except OSError:
                child.problem = "the child died while it was confined"
        for fd in (*child.fds, child.listener):
            if fd >= 0:
                self.unwatch(fd)
        os.close(child.fds[0])
        child.setup.close()
        if child.listener >= 0:
            os.close(child.listener)
        del self.children[child.pid]
        self.empty_scratch(child.slot)
        self.free.append(child.slot)
        report = {
            "ready": child.ready,
            "problem": child.problem,
            "status": os.waitstatus_to_exitcode(status),
            "killed_for": child.killed_for,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "wall_s": time.monotonic() - child.started,
            "queued_s": child.queued_s,
            "peak_mb": usage.ru_maxrss >> 10,
        }
        with contextlib.suppress(OSError):  # nobody may ask any more
            child.report.send(json.dumps(report).encode())
        child.report.close()

    def confine(self, request: dict[str, Any], slot: int, fds: list[int], setup: socket.socket, zygote: int) -> None:
        """In the child: gives everything up, says so, runs the program. Never returns."""
        setup_fd = setup.detach()
        try:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != zygote:
                os._exit(1)
            num_fds = len(fds)
            kept = [*fds, setup_fd]
            if self.settings["landlock"]:
                kept.append(self.rules[slot])
            kept = [fcntl.fcntl(fd, fcntl.F_DUPFD, 40) for fd in kept]  # out of the way of the final numbers
            for number, fd in enumerate(kept):
                os.dup2(fd, number if number < num_fds else number + 10)
            os.closerange(num_fds, num_fds + 10 if num_fds > 0 else 0)
            last = len(kept) + 10
            setup_fd, rules_fd = num_fds + 10, num_fds + 11
            os.closerange(last, 4096)
            os.chdir(self.scratch(slot))
            _set_limits(request["limits"], self.base_bytes, request["options"].get("data_mb"))
            if self.settings["drop_uid"]:
                _drop_uid(_FIRST_UID + slot)
            listener = _lock(self.settings, rules_fd, is_binary=request["mode"] == "binary")
            os.umask(0o077)
            if self.settings["landlock"]:
                os.close(rules_fd)
            confirm = socket.socket(fileno=setup_fd)
            if listener >= 0:
                socket.send_fds(confirm, [b"L"], [listener])
                os.close(listener)
            start = program.prepare(request["mode"], request["options"])
            confirm.send(b"R")
            confirm.close()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the program must not run
            try:
                os.write(setup_fd, f"{type(error).__name__}: {error}".encode()[:2000])
            finally:
                os._exit(1)
        try:
            start()
        finally:
            os._exit(1)


def _lock(settings: dict[str, Any], rules_fd: int, *, is_binary: bool) -> int:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if settings["landlock"]:
        landlock.restrict(rules_fd)
    return seccomp.install(is_binary=is_binary) if settings["seccomp"] else -1


def _set_limits(limits: dict[str, Any], base_bytes: int, data_mb: int | None) -> None:
    """`data_mb` bounds what can be written to instead of all addresses: some runtimes reserve terabytes of these."""
    cpu = int(limits["cpu_s"]) + 2
    memory = (resource.RLIMIT_AS, base_bytes + (limits["memory_mb"] << 20))
    for name, value in (
        (resource.RLIMIT_CPU, cpu),
        memory if data_mb is None else (resource.RLIMIT_DATA, data_mb << 20),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_SIGPENDING, 64),
    ):
        _, hard = resource.getrlimit(name)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    stack = 64 << 20
    resource.setrlimit(resource.RLIMIT_STACK, (stack if hard == resource.RLIM_INFINITY else min(stack, hard), hard))


def _drop_uid(uid: int) -> None:
    """From root to a user of nobody, who may only still read what the rules allow, such as a Python below /root."""
    _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    keep = 1 << _CAP_DAC_READ_SEARCH
    header, data = struct.pack("<Ii", 0x20080522, 0), struct.pack("<6I", keep, keep, 0, 0, 0, 0)
    if _LIBC.syscall(_CAPSET, header, data) != 0:
        data = struct.pack("<6I", 0, 0, 0, 0, 0, 0)
        if _LIBC.syscall(_CAPSET, header, data) != 0:
            raise OSError(ctypes.get_errno(), "capset")
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user clears it


def _queued_s(pid: int) -> float:
    """Seconds that the threads of a process were ready and waited for a core, of the one that waited longest."""
    longest = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat", "rb") as file:
                longest = max(longest, int(file.read().split()[1]))
    except (OSError, IndexError, ValueError):
        pass
    return longest / 1e9


def _address_space_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def boot(argument: str) -> None:
    """What the interpreter of a jail runs."""
    settings = json.loads(argument)
    sys.path[:] = [entry for entry in sys.path if entry] + settings["package_paths"]
    main(settings, settings["control_fd"], settings["host_fd"])
