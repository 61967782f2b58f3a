"""Runs a command as Docker's default profile would: 14 capabilities, no namespaces, no mounts, no keyrings, no BPF.

`python docker_like.py [uid] command …`. The list follows moby's profiles/seccomp/default.json for a process without
CAP_SYS_ADMIN; what is not listed here stays allowed, as most calls are there. With DOCKER_LIKE=old `ptrace` and its kin are
refused too, as on kernels before 4.8; with DOCKER_LIKE=no nothing is.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_CAPABILITIES = 0xA80425FB
_REFUSED = (155, 161, 165, 166, 167, 168, 169, 170, 171, 175, 176, 179, 246, 248, 249, 250, 272, 298, 304, 308, 313, 320,
            321, 323, 425, 426, 427, 428, 429, 430, 431, 432, 433, 442)  # fmt: skip
_REFUSED_BEFORE = (101, 310, 311)
_NEW_NAMESPACES = 0x7E020000


def confine() -> None:
    """Confines this process for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        for capability in range(41):
            if not _CAPABILITIES >> capability & 1:
                libc.prctl(24, capability, 0, 0, 0)
        low = _CAPABILITIES & 0xFFFFFFFF
        assert libc.capset(struct.pack("<Ii", 0x20080522, 0), struct.pack("<6I", low, low, 0, 0, 0, 0)) == 0
    code = [(0x20, 0, 0, 0)]
    for number in (*_REFUSED, *(_REFUSED_BEFORE if os.environ.get("DOCKER_LIKE") == "old" else ())):
        code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050001)]
    code += [(0x15, 0, 1, 435), (0x06, 0, 0, 0x00050000 | 38)]
    code += [(0x15, 0, 3, 56), (0x20, 0, 0, 16), (0x45, 0, 1, _NEW_NAMESPACES), (0x06, 0, 0, 0x00050001)]
    code += [(0x06, 0, 0, 0x7FFF0000)]
    program = b"".join(struct.pack("<HBBI", operation, yes, no, value) for operation, yes, no, value in code)
    buffer = ctypes.create_string_buffer(program, len(program))
    filters = struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(buffer))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.syscall(317, 1, 0, filters) == 0, os.strerror(ctypes.get_errno())


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[0].isdigit():
        uid = int(arguments.pop(0))
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    if os.environ.get("DOCKER_LIKE") != "no":
        confine()
    os.execv(arguments[0], arguments)
