"""The system calls that a program may make: a list of what is allowed, as a BPF filter. Runs inside a jail; x86-64.

Calls that no honest program makes end it (SIGSYS, a security violation); the rest of what is not listed fails with EPERM,
or with ENOSYS where the C library has an older way. New threads and new files are reported to the zygote, which counts
them (seccomp user notification): only arguments in registers matter, so a program cannot change them afterwards.

Source: https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER = 317, 1, 1 << 3
_ARCH_X86_64 = 0xC000003E
_X32 = 0x40000000
_KILL, _ERRNO, _NOTIFY, _ALLOW = 0x80000000, 0x00050000, 0x7FC00000, 0x7FFF0000
_LOAD, _JEQ, _JGE, _JSET, _JUMP, _AND, _RET = 0x20, 0x15, 0x35, 0x45, 0x05, 0x54, 0x06
_NR, _ARCH = 0, 4
#: First call that the C library may try and replace by an older one.
_FIRST_NEW = 334

_ALLOWED = {
    "read": 0, "write": 1, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8, "mmap": 9,
    "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17,
    "pwrite64": 18, "readv": 19, "writev": 20, "access": 21, "pipe": 22, "select": 23, "sched_yield": 24, "mremap": 25,
    "msync": 26, "mincore": 27, "madvise": 28, "dup": 32, "dup2": 33, "pause": 34, "nanosleep": 35, "getitimer": 36,
    "alarm": 37, "setitimer": 38, "getpid": 39, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "shutdown": 48,
    "getsockname": 51, "getpeername": 52, "setsockopt": 54, "getsockopt": 55, "exit": 60, "wait4": 61, "uname": 63,
    "ftruncate": 77, "truncate": 76, "getdents": 78, "getcwd": 79, "chdir": 80, "rename": 82, "rmdir": 84, "unlink": 87,
    "readlink": 89, "umask": 95, "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "times": 100,
    "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110, "getpgrp": 111, "getgroups": 115,
    "getresuid": 118, "getresgid": 120, "rt_sigpending": 127, "rt_sigtimedwait": 128, "rt_sigsuspend": 130,
    "sigaltstack": 131, "statfs": 137, "fstatfs": 138, "getpriority": 140, "setrlimit": 160, "gettid": 186, "time": 201,
    "futex": 202, "sched_getaffinity": 204, "getdents64": 217, "set_tid_address": 218, "restart_syscall": 219,
    "fadvise64": 221, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
    "epoll_wait": 232, "epoll_ctl": 233, "waitid": 247, "newfstatat": 262, "unlinkat": 263, "renameat": 264,
    "readlinkat": 267, "faccessat": 269, "pselect6": 270, "ppoll": 271, "set_robust_list": 273, "epoll_pwait": 281,
    "eventfd": 284, "eventfd2": 290, "epoll_create": 213, "epoll_create1": 291, "dup3": 292, "pipe2": 293,
    "renameat2": 316, "getrandom": 318, "membarrier": 324, "statx": 332, "rseq": 334, "close_range": 436,
    "faccessat2": 439, "fsync": 74, "fdatasync": 75, "getpgid": 121, "getsid": 124, "arch_prctl": 158, "getcpu": 309,
}  # fmt: skip

_VIOLATIONS = {
    "ptrace": 101, "pivot_root": 155, "chroot": 161, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168,
    "reboot": 169, "iopl": 172, "ioperm": 173, "init_module": 175, "delete_module": 176, "quotactl": 179, "acct": 163,
    "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272, "perf_event_open": 298,
    "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311,
    "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425,
    "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431,
    "fsmount": 432, "fspick": 433, "mount_setattr": 442,
}  # fmt: skip

_OPEN, _IOCTL, _SENDTO, _SOCKETPAIR, _CLONE, _KILL_CALL, _FCNTL = 2, 16, 44, 53, 56, 62, 72
_EXECVE, _EXECVEAT = 59, 322
_MKDIR, _CREAT, _PRCTL, _TGKILL, _OPENAT, _MKDIRAT, _PRLIMIT = 83, 85, 157, 234, 257, 258, 302
_CLONE_THREAD, _CLONE_NEW = 0x00010000, 0x7E020000
_CREATES = os.O_CREAT | 0o20000000  # with O_TMPFILE's own bit
#: isatty, size of the terminal, bytes to read, close-on-exec, blocking.
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5451, 0x5450, 0x5421)
#: Duplicating, flags, size of a pipe; no locks, no leases, no owner (which receives signals).
_FCNTLS = (0, 1, 2, 3, 4, 1030, 1032)
_PR_SET_NAME, _PR_GET_NAME = 15, 16
#: Stands for the process id of the program, which is put in its place.
_OWN = 0xFFFF_FFF0

_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_REQUEST, _REPLY = struct.Struct("<QIIiIQ6Q"), struct.Struct("<QqiI")
_CONTINUE = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value & 0xFFFFFFFF)


def _argument(number: int) -> bytes:
    """Loads the low half of an argument; the kernel takes no more of those looked at here."""
    return _instruction(_LOAD, 16 + 8 * number)


def _answer(action: int) -> bytes:
    return _instruction(_RET, action)


def _one_of(number: int, values: tuple[int, ...], then: int = _ALLOW, mask: int = 0xFFFFFFFF) -> bytes:
    """`then` when an argument is one of these values, else EPERM."""
    code = _argument(number) + (_instruction(_AND, mask) if mask != 0xFFFFFFFF else b"")
    for value in values:
        code += _instruction(_JEQ, value, 0, 1) + _answer(then)
    return code + _answer(_ERRNO | errno.EPERM)


def _creating(number: int) -> bytes:
    """Ask when these flags of `open` create a file, allow otherwise."""
    return _argument(number) + _instruction(_JSET, _CREATES, 0, 1) + _answer(_NOTIFY) + _answer(_ALLOW)


def _signalling(own: int, signal_argument: int) -> bytes:
    """To itself only, and no SIGKILL: so a child that was killed by it was killed from outside."""
    code = _argument(signal_argument) + _instruction(_JEQ, 9, 0, 1) + _answer(_ERRNO | errno.EPERM)
    return code + _one_of(0, (own,))


def _actions() -> dict[int, bytes]:
    """What happens at each call that is listed."""
    thread = _argument(0) + _instruction(_JSET, _CLONE_NEW, 0, 1) + _answer(_ERRNO | errno.EPERM)
    thread += _instruction(_JSET, _CLONE_THREAD, 0, 1) + _answer(_NOTIFY) + _answer(_ERRNO | errno.EPERM)
    unaddressed = _argument(4) + _instruction(_JEQ, 0, 0, 3) + _instruction(_LOAD, 16 + 8 * 4 + 4)
    unaddressed += _instruction(_JEQ, 0, 0, 1) + _answer(_ALLOW) + _answer(_ERRNO | errno.EPERM)
    pair = _argument(0) + _instruction(_JEQ, 1, 1, 0) + _answer(_ERRNO | errno.EPERM)
    pair += _one_of(1, (1,), mask=0xF)  # streams only: they cannot be sent elsewhere
    return {
        **dict.fromkeys(_ALLOWED.values(), _answer(_ALLOW)),
        **dict.fromkeys(_VIOLATIONS.values(), _answer(_KILL)),
        _OPEN: _creating(1),
        _OPENAT: _creating(2),
        _CREAT: _answer(_NOTIFY),
        _MKDIR: _answer(_NOTIFY),
        _MKDIRAT: _answer(_NOTIFY),
        _CLONE: thread,
        _SENDTO: unaddressed,
        _SOCKETPAIR: pair,
        _IOCTL: _one_of(1, _IOCTLS),
        _FCNTL: _one_of(1, _FCNTLS),
        _PRCTL: _one_of(0, (_PR_SET_NAME, _PR_GET_NAME)),
        _KILL_CALL: _signalling(_OWN, 1),
        _TGKILL: _signalling(_OWN, 2),
        _PRLIMIT: _one_of(0, (0, _OWN)),
    }


def _build(actions: dict[int, bytes]) -> bytes:
    """The filter, for a process whose id is `_OWN`.

    The kernel walks through it for every number of a call that there is when a program is put under it, so the calls are
    looked up by halving: half a millisecond per program less than a list.
    """
    ranges: list[tuple[int, bytes]] = []  # from this number on, this is done
    for number in range(max(*actions, _FIRST_NEW) + 2):
        otherwise = _answer(_ERRNO | (errno.ENOSYS if number >= _FIRST_NEW else errno.EPERM))
        action = actions.get(number, otherwise)
        if not ranges or ranges[-1][1] != action:
            ranges.append((number, action))
    ranges.append((_X32, _answer(_KILL)))
    code = _instruction(_LOAD, _ARCH) + _instruction(_JEQ, _ARCH_X86_64, 1, 0) + _answer(_KILL)
    return code + _instruction(_LOAD, _NR) + _looked_up(ranges)


def _looked_up(ranges: list[tuple[int, bytes]]) -> bytes:
    """The action of the range that the loaded number is in."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    low, high = _looked_up(ranges[:middle]), _looked_up(ranges[middle:])
    length = len(low) // 8
    if length < 256:  # as far as this instruction can jump
        return _instruction(_JGE, ranges[middle][0], length, 0) + low + high
    return _instruction(_JGE, ranges[middle][0], 0, 1) + _instruction(_JUMP, length) + low + high


def _prepared(actions: dict[int, bytes]) -> tuple[bytearray, list[int], bytes]:
    """The filter, the places of the process id in it, and both as the kernel takes them."""
    code = bytearray(_build(actions))
    places = [at + 4 for at in range(0, len(code), 8) if code[at + 4 : at + 8] == struct.pack("<I", _OWN)]
    address = ctypes.addressof((ctypes.c_char * len(code)).from_buffer(code))
    return code, places, struct.pack("<HxxxxxxQ", len(code) // 8, address)


#: Made here, once, for every child that will be forked.
_FILTER, _PLACES_OF_OWN, _PROGRAM = _prepared(_actions())


def allow_exec() -> None:
    """From now on children may become another program (`execve` makes no process); which files, is for Landlock to say."""
    global _FILTER, _PLACES_OF_OWN, _PROGRAM
    _FILTER, _PLACES_OF_OWN, _PROGRAM = _prepared({**_actions(), _EXECVE: _answer(_ALLOW), _EXECVEAT: _answer(_ALLOW)})


def install() -> int:
    """Puts this process, which must have one thread, under the filter; returns the descriptor of its notifications.

    Raises:
        OSError: the kernel refuses, or an outer sandbox holds the only listener.
    """
    own = struct.pack("<I", os.getpid())
    for place in _PLACES_OF_OWN:
        _FILTER[place : place + 4] = own
    listener = _libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, _PROGRAM)
    if listener < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"seccomp: {os.strerror(error)}")
    return listener


def receive(listener: int) -> tuple[int, bool] | None:
    """One reported call: its id, and whether it makes a thread (else a file); `None` when the caller is gone."""
    request = bytearray(_REQUEST.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, request)
    except OSError:
        return None
    number, _, _, call, *_ = _REQUEST.unpack(request)
    return number, call == _CLONE


def reply(listener: int, number: int, error: int) -> None:
    """Lets a reported call go on (0), or makes it fail with an errno."""
    answer = _REPLY.pack(number, 0, -error, 0 if error else _CONTINUE)
    try:
        fcntl.ioctl(listener, _SEND, answer)
    except OSError:
        return  # the caller is gone
