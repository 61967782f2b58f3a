"""The fork server inside a jail: forks one child per request, confines it, measures it, kills it, says how it ended.

It runs no model code and reads none: source and test code pass through it as file descriptors. Requests come as packets
on a socket, each with a socket of its own for the report. On that one the host says `PAUSE` when a child has nothing to do,
`RESUME` when it has again, with its limits anew; closing it kills the child. When the host dies, by whatever signal, the
zygote kills its children and goes. Single-threaded; standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import select
import shutil
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from typing import Any

from reasoning_rl.sandbox import confine, program, seccomp

#: A child that has been there for this much longer than its wall limit, mostly queueing for a core, is given up.
OVERLOAD_FACTOR, OVERLOAD_S = 10, 30.0
PAUSE, RESUME = b"pause", b"resume"


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
        self.look_at = self.started = time.monotonic()
        self.cpu_before_s = self.queued_before_s = 0.0
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
        confine.begin()
        for name in settings["preload"]:
            __import__(name)
        program.open_streams()
        self.free = list(range(settings["slots"]))
        for slot in self.free:
            self.make_scratch(slot)
        self.confinement = confine.Confinement(settings, [self.scratch(slot) for slot in self.free])
        has_threads = len(os.listdir("/proc/self/task")) > 1  # of a package that was imported
        self.fork = os.fork if has_threads else confine.fork
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
        gc.collect()
        gc.freeze()
        while not self.is_over:
            now = time.monotonic()
            due = min([now + 60, *(child.look_at for child in self.children.values())])
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
            os.chown(folder, confine.FIRST_UID + slot, confine.FIRST_UID + slot)

    def give_back(self, slot: int) -> None:
        """Makes a slot free for the next program; one whose folder cannot be emptied stays out of use."""
        folder = self.scratch(slot)
        try:
            try:
                _empty(folder)
            except PermissionError:
                _unlock(folder)
                _empty(folder)
        except OSError as error:
            sys.stderr.write(f"scratch of slot {slot} cannot be emptied: {error}\n")
        else:
            self.free.append(slot)

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
            pid = self.fork()
        except OSError as error:
            report.send(json.dumps({"problem": f"fork: {error}"}).encode())
            report.close()
            ours.close()
            theirs.close()
            _close(fds[1:])
            self.free.append(slot)
            return
        if pid == 0:
            self.confinement.enter(request, slot, fds[1:], theirs)
        theirs.close()
        _close(fds[1:])
        child = Child(pid, slot, report, ours, request["limits"])
        child.look_at += self.soonest_end_s(child.limits["cpu_s"], child.limits["wall_s"], child.limits)
        self.children[pid] = child
        pidfd = os.pidfd_open(pid)
        child.fds = [pidfd, report.fileno(), ours.fileno()]
        self.watch(pidfd, lambda: self.reap(child))
        self.watch(report.fileno(), lambda: self.obey(child))
        self.watch(ours.fileno(), lambda: self.hear(child))

    def obey(self, child: Child) -> None:
        """The host has said something about a child, or has closed the connection: it wants no more of it."""
        try:
            word = child.report.recv(16)
        except OSError:
            word = b""
        if word == PAUSE:
            child.look_at = float("inf")
        elif word == RESUME:
            child.look_at = child.started = time.monotonic()
            child.cpu_before_s, child.queued_before_s = _cpu_s(child.pid), _queued_s(child.pid)
            child.look_at += self.soonest_end_s(child.limits["cpu_s"], child.limits["wall_s"], child.limits)
        else:
            self.unwatch(child.report.fileno())
            child.kill("host")

    def hear(self, child: Child) -> None:
        """The child says, before it runs any program, that it is confined, or why it could not be."""
        message, fds, _, _ = socket.recv_fds(child.setup, 4096, 1)
        self.unwatch(child.setup.fileno())
        if message == b"R":
            child.ready = True
            for child.listener in fds:
                self.watch(child.listener, lambda: self.decide(child))
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
        used = _cpu_s(child.pid) - child.cpu_before_s
        child.queued_s = _queued_s(child.pid) - child.queued_before_s
        left_cpu, left_wall = limits["cpu_s"] - used, limits["wall_s"] - (elapsed - child.queued_s)
        left_patience = OVERLOAD_FACTOR * limits["wall_s"] + OVERLOAD_S - elapsed
        if left_cpu <= 0:
            child.kill("cpu")
        elif left_wall <= 0:
            child.kill("wall")
        elif left_patience <= 0:
            child.kill("overload")
        wait = min(self.soonest_end_s(left_cpu, left_wall, limits), left_patience)
        child.look_at = now + (60.0 if child.killed_for else max(0.005, wait))

    def soonest_end_s(self, left_cpu: float, left_wall: float, limits: dict[str, Any]) -> float:
        """Until then no limit can be used up, however many threads compute."""
        return min(left_cpu / min(self.cores, limits["processes"]), left_wall)

    def reap(self, child: Child) -> None:
        child.queued_s = max(child.queued_s, _queued_s(child.pid) - child.queued_before_s)  # gone once it is waited for
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
        self.give_back(child.slot)
        report = {
            "ready": child.ready,
            "problem": child.problem,
            "status": os.waitstatus_to_exitcode(status),
            "killed_for": child.killed_for,
            "cpu_s": usage.ru_utime + usage.ru_stime - child.cpu_before_s,
            "wall_s": time.monotonic() - child.started,
            "queued_s": child.queued_s,
            "peak_mb": usage.ru_maxrss >> 10,
        }
        with contextlib.suppress(OSError):  # nobody may ask any more
            child.report.send(json.dumps(report).encode())
        child.report.close()


def _empty(folder: str) -> None:
    for entry in os.listdir(folder):
        path = f"{folder}/{entry}"
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def _unlock(folder: str) -> None:
    """Opens the folders below that a program has closed, to itself and to a zygote of the same user."""
    for _, names, _, fd in os.fwalk(folder):
        for name in names:
            if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                os.chmod(name, 0o700, dir_fd=fd)


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # the clock of that process
    except OSError:
        return 0.0


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


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def boot(argument: str) -> None:
    """What the interpreter of a jail runs."""
    settings = json.loads(argument)
    sys.path[:] = [entry for entry in sys.path if entry] + settings["package_paths"]
    main(settings, settings["control_fd"], settings["host_fd"])
