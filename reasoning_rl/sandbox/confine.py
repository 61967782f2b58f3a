"""What a forked child gives up before it runs anything: files, calls, resources, its user. Runs inside a jail.

What is the same for every child is given up once, by the zygote (`begin`), and inherited; the rest by the child itself
(`Confinement.enter`), which is short because every page that a child touches is copied for it. Standard library only.
"""

from __future__ import annotations

import array
import ctypes
import os
import random
import resource
import signal
import socket
import struct
from typing import Any, NoReturn

from reasoning_rl.sandbox import landlock, program, seccomp

FIRST_UID = 60_000
#: The descriptors of a child have numbers below this one, those that reach the zygote from now on others.
_NUM_LOW_FDS = 16
_STACK_BYTES = 64 << 20
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 1, 4, 8, 38
_CAP_DAC_READ_SEARCH = 2
_CAPSET = 126
_LIBC = ctypes.CDLL(None, use_errno=True)
_FORK = ctypes.PyDLL(None, use_errno=True).fork  # keeps the interpreter's lock
#: Set by the zygote and inherited. It needs none of them itself.
_SHARED_LIMITS = (
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_MEMLOCK, 0),
    (resource.RLIMIT_MSGQUEUE, 0),
    (resource.RLIMIT_SIGPENDING, 64),
)
_OWN_LIMITS = (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE)
_NUM_FDS = 64


def fork() -> int:
    """`os.fork` without what modules have registered for afterwards, for a process with a single thread.

    That mends locks of threads which the child has not got, and on the way writes to some 190 pages, each copied: about a
    tenth of the CPU time of a small program. Here no other thread is there to hold a lock. What `random` registers, a
    seed of the child's own, `Confinement.enter` sees to.
    """
    pid = _FORK()
    if pid < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return pid


class Confinement:
    """What children of a zygote are put under. Made once, after everything was imported and before the first fork.

    Args:
        settings: those of the jail.
        scratch: the folder of each slot.
    """

    def __init__(self, settings: dict[str, Any], scratch: list[str]) -> None:
        self.drops_uid, self.has_seccomp = settings["drop_uid"], settings["seccomp"]
        self.scratch = scratch
        self.base_bytes = _address_space_bytes()
        self.zygote = os.getpid()
        self.hard = {name: resource.getrlimit(name)[1] for name in _OWN_LIMITS}
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.num_fds = _NUM_FDS if hard == resource.RLIM_INFINITY else min(_NUM_FDS, hard)
        if settings["executables"]:
            seccomp.allow_exec()
        self.rules: list[int] = []
        for folder in scratch if settings["landlock"] else ():
            rights = landlock.python_paths(settings["library_folders"], settings["library_files"])
            rights |= {"/dev/null": landlock.READ | landlock.WRITE, folder: landlock.SCRATCH}
            rights |= dict.fromkeys(settings["executables"], landlock.READ | landlock.EXECUTE)
            self.rules.append(landlock.ruleset(rights, settings["landlock"]))

    def enter(self, request: dict[str, Any], slot: int, fds: list[int], setup: socket.socket) -> NoReturn:
        """In the child: gives everything up, says so on `setup`, runs the program."""
        setup_fd = setup.fileno()
        try:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self.zygote:
                os._exit(1)
            os.chdir(self.scratch[slot])
            if self.rules:
                landlock.restrict(self.rules[slot])
            for number, fd in enumerate(fds):  # no number is in the way of another: see `begin`
                os.dup2(fd, number)
            os.closerange(len(fds), setup_fd)
            os.closerange(setup_fd + 1, 4096)
            self.set_limits(request["limits"], request["options"].get("data_mb"))
            if self.drops_uid:
                for fd in (1, 2):
                    os.fchmod(fd, 0o622)  # pipes of root: `open("/dev/stdout", "w")` works for the other user too
                _drop_uid(FIRST_UID + slot)
            listener = [seccomp.install()] if self.has_seccomp else []
            random.seed()
            start = program.prepare(request["mode"], request["options"])
            setup.sendmsg(
                [b"R"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", listener))] if listener else []
            )
            for fd in listener:
                os.close(fd)
            setup.close()
            # Only now: with more descriptors of the user on their way than this, be they of others, the kernel sends none.
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.num_fds, self.num_fds))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the program must not run
            try:
                os.write(setup_fd, f"{type(error).__name__}: {error}".encode()[:2000])
            finally:
                os._exit(1)
        try:
            start()
        finally:
            os._exit(1)

    def set_limits(self, limits: dict[str, Any], data_mb: int | None) -> None:
        """Resource limits of this child. With `data_mb` memory is what it can write to: some runtimes reserve terabytes of
        addresses."""
        memory = (resource.RLIMIT_AS, self.base_bytes + (limits["memory_mb"] << 20))
        for name, value in (
            (resource.RLIMIT_CPU, int(limits["cpu_s"]) + 2),
            memory if data_mb is None else (resource.RLIMIT_DATA, data_mb << 20),
            (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        ):
            hard = self.hard[name]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(name, (value, value))


def begin() -> None:
    """In the zygote, before anything else: gives up what neither it nor a child needs."""
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    os.umask(0o077)
    for name, value in _SHARED_LIMITS:
        _, hard = resource.getrlimit(name)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(
        resource.RLIMIT_STACK, (_STACK_BYTES if hard == resource.RLIM_INFINITY else min(_STACK_BYTES, hard), hard)
    )
    while (fd := os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)) < _NUM_LOW_FDS - 1:
        pass  # kept open, so that what a request brings gets other numbers
    if fd >= _NUM_LOW_FDS:
        os.close(fd)


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


def _address_space_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")
