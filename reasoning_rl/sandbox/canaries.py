"""Attacks that are really tried on a jail before a program is trusted to it. What they would harm is ours: a file and a
listener made for the purpose, and the process that asks.
"""

from __future__ import annotations

import os
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from reasoning_rl.sandbox.jail import Jail, Walls
from reasoning_rl.sandbox.runs import Run
from reasoning_rl.sandbox.types import Limits, Outcome

#: Each prints LEAK when it gets through, and what it tried fails with OSError otherwise. `{...}` is filled in.
_PROGRAMS = {
    "honest program": "import json; open('note', 'w').write(json.dumps([input()])); print(open('note').read())",
    "read a host file": "print('LEAK', open({secret!r}).read())",
    "write a host file": "open({secret!r}, 'a').write('x'); print('LEAK')",
    "create a host file": "open({folder!r} + '/new', 'w').write('x'); print('LEAK')",
    "chmod a host file": "import os; os.chmod({secret!r}, 0o777); print('LEAK')",
    "set the times of a host file": "import os; os.utime({secret!r}, (1, 1)); print('LEAK')",
    "truncate a host file": "import os; os.truncate({secret!r}, 0); print('LEAK')",
    "delete a host file": "import os; os.unlink({secret!r}); print('LEAK')",
    "list the home folder": "import os; os.listdir(os.path.expanduser('~root')); print('LEAK')",
    "connect to the network": "import socket; s = socket.create_connection(('127.0.0.1', {port}), 2); print('LEAK')",
    "abstract unix socket": "import socket; s = socket.socket(socket.AF_UNIX); s.connect({abstract!r}); print('LEAK')",
    "address a datagram": (
        "import socket; a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "a.sendto(b'x', {datagram!r}); print('LEAK')"
    ),
    "fork": "import os\nif os.fork() == 0: os._exit(0)\nprint('LEAK')",
    "fork by system call": "import ctypes; c = ctypes.CDLL(None)\nprint('LEAK' if c.syscall(57) >= 0 else '')",
    "clone3": "import ctypes; c = ctypes.CDLL(None)\nprint('LEAK' if c.syscall(435, b'\\0' * 88, 88) >= 0 else '')",
    "execute": "import os; os.execv('/bin/true', ['true'])",
    "signal the parent": "import os; os.kill(os.getppid(), 0); print('LEAK')",
    "signal everybody": "import os; os.kill(-1, 0); print('LEAK')",
    "signal the host": "import os; os.kill({pid}, 0); print('LEAK')",
    "trace the parent": "import ctypes, os; c = ctypes.CDLL(None)\nprint('LEAK' if c.ptrace(16, os.getppid(), 0, 0) == 0 else '')",
    "read the memory of the parent": "import os; open(f'/proc/{{os.getppid()}}/mem', 'rb'); print('LEAK')",
    "read the environment of the parent": "import os; open(f'/proc/{{os.getppid()}}/environ', 'rb'); print('LEAK')",
    "new user namespace": "import ctypes; c = ctypes.CDLL(None)\nprint('LEAK' if c.unshare(0x10000000) == 0 else '')",
    "mount": "import ctypes; c = ctypes.CDLL(None)\nprint('LEAK' if c.mount(b'x', b'/', b'tmpfs', 0, 0) == 0 else '')",
    "io_uring": "import ctypes; c = ctypes.CDLL(None)\nprint('LEAK' if c.syscall(425, 4, b'\\0' * 120) >= 0 else '')",
    "32-bit system call table": "import ctypes; c = ctypes.CDLL(None)\nprint('LEAK' if c.syscall(0x40000000 + 39) >= 0 else '')",
    "raise its own limits": (
        "import resource as r; s, h = r.getrlimit(r.RLIMIT_AS); r.setrlimit(r.RLIMIT_AS, (h * 2, h * 2)); print('LEAK')"
    ),
    "priority of the parent": "import os; os.setpriority(os.PRIO_PROCESS, os.getppid(), 5); print('LEAK')",
    "fill the disk": (
        "n = 0\ntry:\n    while n < 64:\n        open(f'f{{n}}', 'wb').write(b'x' * (1 << 20)); n += 1\n"
        "finally:\n    print('LEAK' if n > 4 else '')"
    ),
    "thousands of files": (
        "n = 0\ntry:\n    while n < 2000:\n        open(f'g{{n}}', 'wb').close(); n += 1\n"
        "finally:\n    print('LEAK' if n > 500 else '')"
    ),
    "memory": "x = bytearray(1 << 30); print('LEAK')",
    "threads": (
        "import threading, time\nn = 0\nthreading.stack_size(1 << 16)\ntry:\n    while n < 100:\n"
        "        threading.Thread(target=time.sleep, args=(1,), daemon=True).start(); n += 1\n"
        "finally:\n    print('LEAK' if n > 20 else '')"
    ),
    "endless loop": "while True: pass",
    "endless output": "while True: print('x' * 65536)",
    "endless sleep": "import time; time.sleep(60)",
}
_EXPECTED = {
    "endless loop": Outcome.TIME_LIMIT,
    "endless sleep": Outcome.TIME_LIMIT,
    "endless output": Outcome.OUTPUT_LIMIT,
    "honest program": Outcome.EXITED,
}
_LIMITS = Limits(cpu_s=1.0, wall_s=5.0, memory_mb=256, output_bytes=1 << 18, scratch_mb=4)
_QUICK = Limits(cpu_s=0.2, wall_s=0.3, memory_mb=256, output_bytes=1 << 18, scratch_mb=4)


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack, whether it was contained, and how it ended."""

    name: str
    is_contained: bool
    how: str


def attack(walls: Walls) -> tuple[Attack, ...]:
    """Tries everything on a jail of its own.

    Raises:
        SandboxError: the jail does not start.
    """
    jail = Jail(walls, 2, _LIMITS.scratch_mb)
    with tempfile.TemporaryDirectory(prefix="reasoning-rl-canary-") as folder:
        os.chmod(folder, 0o755)
        secret = Path(folder) / "secret"
        secret.write_text("secret of the host")
        secret.chmod(0o666)
        before = secret.stat()
        name = f"\0{Path(folder).name}"
        with (
            socket.create_server(("127.0.0.1", 0)) as tcp,
            socket.socket(socket.AF_UNIX) as unix,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        ):
            unix.bind(name)
            unix.listen()
            datagrams.bind(f"{name}-datagrams")
            facts = {
                "secret": str(secret),
                "folder": folder,
                "port": tcp.getsockname()[1],
                "abstract": name,
                "datagram": f"{name}-datagrams",
                "pid": os.getpid(),
            }
            try:
                with ThreadPoolExecutor(2) as pool:
                    found = list(pool.map(lambda item: _try(jail, item[0], item[1].format(**facts)), _PROGRAMS.items()))
            finally:
                jail.close()
            touched = [
                what for what, server in (("TCP", tcp), ("unix", unix), ("datagram", datagrams)) if _has_news(server)
            ]
        after = secret.stat()
        is_same = secret.read_text() == "secret of the host" and os.listdir(folder) == ["secret"]
        is_same &= (before.st_mode, before.st_mtime_ns, before.st_uid) == (
            after.st_mode,
            after.st_mtime_ns,
            after.st_uid,
        )
    found.append(Attack("host files afterwards", is_same, "unchanged" if is_same else "changed"))
    found.append(Attack("listeners afterwards", not touched, f"contacted: {touched}" if touched else "not contacted"))
    return tuple(found)


def _try(jail: Jail, name: str, program: str) -> Attack:
    limits = _QUICK if name in ("endless loop", "endless sleep") else _LIMITS
    with Run(jail, "stdio", program.encode(), b"hello\n", limits) as run:
        end = run.end()
    how = f"{end.outcome}{': ' + end.reason if end.reason else ''}"
    if end.outcome is Outcome.SANDBOX_FAILURE:
        return Attack(name, False, how)
    if name == "honest program":
        return Attack(name, end.outcome is Outcome.EXITED and end.stdout == b'["hello"]\n', how)
    is_contained = b"LEAK" not in end.stdout and end.outcome is _EXPECTED.get(name, end.outcome)
    return Attack(name, is_contained, how)


def _has_news(server: socket.socket) -> bool:
    server.setblocking(False)
    try:
        server.recv(1) if server.type == socket.SOCK_DGRAM else server.accept()
    except OSError:
        return False
    return True
