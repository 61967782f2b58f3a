"""The sandboxes of this process: made when first needed, shared by all rewards that ask for the same, closed at the end."""

from __future__ import annotations

import atexit
import os
import threading

from reasoning_rl.sandbox import LocalSandbox

_lock = threading.Lock()
_sandboxes: dict[tuple[object, ...], LocalSandbox] = {}


def shared_sandbox(tier: str | None, packages: tuple[str, ...], scratch_mb: int) -> LocalSandbox:
    """A sandbox of this process; a fork gets its own.

    Raises:
        SandboxError: no tier holds here, or not the one asked for.
    """
    key = (os.getpid(), tier, packages, scratch_mb)
    with _lock:
        if key not in _sandboxes:
            if not _sandboxes:
                atexit.register(_close_all)
            _sandboxes[key] = LocalSandbox(tier=tier, parallel=1, packages=packages, scratch_mb=scratch_mb)
        return _sandboxes[key]


def _close_all() -> None:
    for sandbox in _sandboxes.values():
        sandbox.close()  # of a parent: does nothing
    _sandboxes.clear()
