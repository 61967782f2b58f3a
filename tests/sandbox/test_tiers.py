"""Which tier is chosen when something is missing: the documented one or a refusal, never a silent weaker run."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reasoning_rl.cli import app
from reasoning_rl.errors import SandboxError
from reasoning_rl.sandbox import LocalSandbox, canaries, codec, tiers
from reasoning_rl.sandbox.jail import Jail, Walls, bwrap_path, landlock_abi
from reasoning_rl.sandbox.runs import Run
from reasoning_rl.sandbox.types import Limits

needs_t1 = pytest.mark.skipif(bwrap_path() is None, reason="bubblewrap is not installed")
needs_landlock = pytest.mark.skipif(not landlock_abi(), reason="Landlock is missing")


@needs_landlock
@pytest.mark.parametrize("without", ["bwrap", "bwrap,userns"])
def test_without_bubblewrap_it_is_tier_two(without: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tiers.WITHOUT, without)
    with LocalSandbox() as sandbox:
        assert sandbox.tier.name == "T2"
    with pytest.raises(SandboxError, match="bubblewrap is not installed"):
        LocalSandbox(tier="T1")


@pytest.mark.parametrize("without", ["landlock", "seccomp", "bwrap,landlock", "userns,seccomp"])
def test_without_landlock_or_seccomp_nothing_runs(without: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tiers.WITHOUT, without)
    monkeypatch.setattr(tiers.canaries, "attack", lambda walls: pytest.fail("a program was run"))
    for tier in (None, "T1", "T2"):
        with pytest.raises(SandboxError, match=r"missing|not installed|switched off"):
            LocalSandbox(tier=tier)


def test_no_isolation_must_be_said_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tiers.WITHOUT, "landlock")
    with pytest.raises(SandboxError, match=tiers.UNSANDBOXED):
        LocalSandbox(allow_unsandboxed=True)
    monkeypatch.setenv(tiers.UNSANDBOXED, "yes")
    with pytest.raises(SandboxError, match="no sandbox here"):
        LocalSandbox()
    with LocalSandbox(allow_unsandboxed=True) as sandbox:
        assert sandbox.tier.name == "T4"
        assert sandbox.run("print(1)").stdout == b"1\n"
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SandboxError, match="more than one process"):
        LocalSandbox(allow_unsandboxed=True)


def test_the_switch_and_the_tier_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SandboxError, match="T3"):
        LocalSandbox(tier="T3")
    monkeypatch.setenv(tiers.WITHOUT, "landlok")
    with pytest.raises(SandboxError, match="landlok"):
        LocalSandbox()


@needs_landlock
def test_a_leak_refuses_the_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(canaries._PROGRAMS, "leaky", "print('LEAK')")
    monkeypatch.setattr(tiers, "_found", {})
    with pytest.raises(SandboxError, match="not contained: leaky"):
        LocalSandbox()
    tiers._found.clear()


#: Those that do no harm beyond files of their own when nothing stops them.
_HARMLESS = [
    *(
        "read a host file",
        "write a host file",
        "create a host file",
        "chmod a host file",
        "set the times of a host file",
    ),
    *("truncate a host file", "connect to the network", "abstract unix socket", "address a datagram", "fork"),
    *("signal the parent", "signal the host", "new user namespace", "thousands of files", "fill the disk", "threads"),
]


@pytest.mark.parametrize("name", _HARMLESS)
def test_the_attacks_are_real(name: str, tmp_path: Path) -> None:
    """Without walls each of them gets through, so that none counts as contained for another reason."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    jail = Jail(Walls("", 0, False), 1, 64)
    address = f"\0{tmp_path}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
    ):
        unix.bind(address)
        unix.listen()
        datagrams.bind(f"{address}-d")
        facts = {"secret": str(secret), "folder": str(tmp_path), "port": tcp.getsockname()[1], "pid": os.getpid()}
        facts |= {"abstract": address, "datagram": f"{address}-d"}
        program = canaries._PROGRAMS[name].format(**facts)
        try:
            # File limits are a part of the walls too: a wide one here.
            with Run(jail, "stdio", program.encode(), b"", Limits(scratch_mb=1024, processes=200)) as run:
                assert b"LEAK" in run.end().stdout
        finally:
            jail.close()


def test_doctor() -> None:
    result = CliRunner().invoke(app, ["sandbox", "doctor", "--json"])
    found = json.loads(result.output)
    assert (result.exit_code == 0) == (found["tier"] is not None)
    assert all(tier["attacks"] or tier["fault"] for tier in found["tiers"])
    assert found["advice"]


def test_doctor_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tiers.WITHOUT, "landlock")
    result = CliRunner().invoke(app, ["sandbox", "doctor"])
    assert result.exit_code == 2
    assert "no tier holds: programs are refused" in result.output
    assert "Every tier needs Landlock" in result.output


@pytest.mark.parametrize(
    "data",
    [b"", b"X", b"i", b"i\xff\xff\xff\xff", b"s\1\0\0\0\xff", b"l\xff\xff\xff\x7f", b"NN", b"h\0\0\0\0", b"D\1\0\0\0NN" + b"N",
     b"l\1\0\0\0" * 300 + b"N", b"S\1\0\0\0l\0\0\0\0", b"d\0", b"c" + b"\0" * 15],
)  # fmt: skip
def test_malformed_bytes_are_no_value(data: bytes) -> None:
    with pytest.raises(codec.Malformed):
        codec.decode(data)


def test_colliding_keys_are_refused_and_honest_ones_are_not() -> None:
    prime = (1 << 61) - 1
    with pytest.raises(codec.Malformed, match="collide"):
        codec.decode(codec.encode([i * prime for i in range(2000)]).replace(b"l", b"S", 1))
    for honest in (set(range(20_000)), {i << 20 for i in range(5000)}, {(i, -i): str(i) for i in range(5000)}):
        assert codec.decode(codec.encode(honest)) == honest
