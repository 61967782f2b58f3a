"""A confined child becomes another program: a compiled one, or an interpreter with a source. Runs inside a jail.

The walls are up before: what it becomes stays behind them, and only files that Landlock lists can be become, or the one
that the host handed over.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from typing import Any

_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/nowhere"}
#: For Node: calls that the filter takes for an attack, and a file that it cannot do without.
_ENVIRONMENT |= {"UV_USE_IO_URING": "0", "OPENSSL_CONF": "/dev/null"}
#: Threads get stacks as large as this limit, all of them counted as memory.
_STACK_BYTES = 8 << 20


def prepare(source_fd: int, options: dict[str, Any]) -> Callable[[], None]:
    """What it returns starts the program and never returns.

    Options: without `command`, the source is an executable file itself. With it, the source is written to `file` in the
    working directory and the command is run; `data_mb` says that memory is bounded by that (see `zygote`).
    """
    command: list[str] = options.get("command") or ["program"]
    if "data_mb" in options:
        _, hard = resource.getrlimit(resource.RLIMIT_STACK)
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK_BYTES, hard))
    os.set_inheritable(source_fd, False)
    target: Any = command[0] if options.get("command") else source_fd

    def start() -> None:
        if "file" in options:  # only now: new files are counted, by who has to hear first that all is well
            with open(options["file"], "wb") as file:
                while chunk := os.read(source_fd, 1 << 20):
                    file.write(chunk)
        os.execve(target, command, _ENVIRONMENT)

    return start
