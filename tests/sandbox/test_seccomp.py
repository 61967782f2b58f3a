"""The filter of system calls, as the kernel would walk through it: every call is where the list says."""

from __future__ import annotations

import errno
import struct

import pytest

from reasoning_rl.sandbox import seccomp

X86_64, I386 = 0xC000003E, 0x40000003
ALLOW, KILL, ASK = 0x7FFF0000, 0x80000000, 0x7FC00000
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
OWN = seccomp._OWN


def decision(number: int, *arguments: int, arch: int = X86_64) -> int:
    """Interprets the filter: https://docs.kernel.org/networking/filter.html."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    at = loaded = 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("<HBBI", seccomp._FILTER, at)
        at += 8
        match code:
            case 0x20:
                (loaded,) = struct.unpack_from("<I", data, value)
            case 0x54:
                loaded &= value
            case 0x05:
                at += 8 * value
            case 0x06:
                return value
            case 0x15 | 0x35 | 0x45:
                is_true = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[code]
                at += 8 * (if_true if is_true else if_false)
            case _:
                pytest.fail(f"unknown instruction {code:#x}")


def test_every_number() -> None:
    by_argument = {2, 16, 44, 53, 56, 62, 72, 85, 83, 157, 234, 257, 258, 302}
    allowed, violations = set(seccomp._ALLOWED.values()), set(seccomp._VIOLATIONS.values())
    assert not by_argument & (allowed | violations)
    assert not allowed & violations
    for number in set(range(2000)) - by_argument:
        rest = ENOSYS if number >= 334 else EPERM
        assert decision(number) == (ALLOW if number in allowed else KILL if number in violations else rest), number


def test_other_call_tables() -> None:
    assert {decision(number, arch=I386) for number in range(500)} == {KILL}
    assert {decision(0x40000000 + number) for number in range(500)} == {KILL}
    assert decision(0xFFFFFFFF) == KILL


@pytest.mark.parametrize(
    ("number", "arguments", "expected"),
    [
        (2, (0, 0), ALLOW), (2, (0, 0o101), ASK), (257, (0, 0, 0), ALLOW), (257, (0, 0, 0o100), ASK), (257, (0, 0, 0o20000000), ASK),
        (85, (), ASK), (83, (), ASK), (258, (), ASK),
        (56, (0x3D0F00,), ASK), (56, (17,), EPERM), (56, (0x3D0F00 | 0x10000000,), EPERM), (56, (0,), EPERM),
        (44, (3, 0, 1, 0, 0), ALLOW), (44, (3, 0, 1, 0, 4096), EPERM), (44, (3, 0, 1, 0, 1 << 40), EPERM),
        (53, (1, 1), ALLOW), (53, (1, 1 | 0o2000000), ALLOW), (53, (1, 2), EPERM), (53, (2, 1), EPERM),
        (16, (0, 0x5401), ALLOW), (16, (0, 0x5412), EPERM), (72, (0, 3), ALLOW), (72, (0, 8), EPERM), (72, (0, 1024), EPERM),
        (157, (15,), ALLOW), (157, (4,), EPERM), (157, (22,), EPERM),
        (62, (OWN, 15), ALLOW), (62, (OWN, 9), EPERM), (62, (1, 15), EPERM), (62, (0xFFFFFFFF, 15), EPERM), (62, (0, 15), EPERM),
        (234, (OWN, 5, 15), ALLOW), (234, (OWN, 5, 9), EPERM), (234, (1, 1, 15), EPERM),
        (302, (0,), ALLOW), (302, (OWN,), ALLOW), (302, (1,), EPERM),
    ],
)  # fmt: skip
def test_calls_whose_arguments_decide(number: int, arguments: tuple[int, ...], expected: int) -> None:
    assert decision(number, *arguments) == expected


def test_the_process_id_has_its_places() -> None:
    assert len(seccomp._PLACES_OF_OWN) == 3  # of kill, tgkill and prlimit64
