"""Landlock: a process gives up files, for good, by three raw system calls. Runs inside a jail; standard library only.

Source: https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Mapping

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446

EXECUTE, READ_FILE, READ_DIR = 1, 1 << 2, 1 << 3
_WRITE_FILE, _REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 1, 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
#: Rights that a rule on a file (not a folder) may name.
_OF_FILES = EXECUTE | _WRITE_FILE | READ_FILE | _TRUNCATE
READ = READ_FILE | READ_DIR
WRITE = _WRITE_FILE | _TRUNCATE
SCRATCH = READ | WRITE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER
#: Before version 3 a file could be truncated through an `open` for reading.
MIN_ABI = 3

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """Version of Landlock in this kernel; 0 when it is missing, off or forbidden."""
    return max(0, _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def ruleset(rights: Mapping[str, int], version: int) -> int:
    """A file descriptor of a set of rules: these paths with these rights, everything else refused.

    All TCP, abstract unix sockets and signals to processes outside are refused too where the kernel can.

    Raises:
        OSError: the kernel refuses.
    """
    files = (1 << 16) - 1 if version >= 5 else (1 << 15) - 1
    if version >= 6:
        attributes = struct.pack("<QQQ", files, 3, 3)
    elif version >= 4:
        attributes = struct.pack("<QQ", files, 3)
    else:
        attributes = struct.pack("<Q", files)
    rules = _checked(_libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)))
    for path, allowed in rights.items():
        try:
            target = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if not os.path.isdir(path):
                allowed &= _OF_FILES
            rule = struct.pack("<Qi", allowed, target)
            _checked(_libc.syscall(_ADD_RULE, rules, 1, rule, ctypes.c_uint32(0)))
        finally:
            os.close(target)
    return rules


def restrict(rules: int) -> None:
    """Puts this process under the rules. It must have given up gaining privileges.

    Raises:
        OSError: the kernel refuses.
    """
    _checked(_libc.syscall(_RESTRICT_SELF, rules, ctypes.c_uint32(0)))


def python_paths(folders: Iterable[str], files: Iterable[str]) -> dict[str, int]:
    """Rights to read a Python: the entries of its library folders but installed packages, and further files."""
    rights: dict[str, int] = {}
    for folder in folders:
        rights[folder] = READ_DIR  # to list names; what may be read follows
        for entry in os.listdir(folder):
            if entry not in ("site-packages", "dist-packages"):
                rights[f"{folder}/{entry}"] = READ
    return rights | dict.fromkeys(files, READ)


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock: {os.strerror(error)}")
    return result
