"""The sandboxes of this process: made when first needed, shared by all rewards that ask for the same, closed at the end."""

from __future__ import annotations

import atexit
import os
import threading
from typing import Literal

from reasoning_rl.sandbox import LanguageSandbox, LocalSandbox, PistonSandbox

_PISTON = {"python": "python", "cpp": "c++", "javascript": "javascript"}
_AnySandbox = LocalSandbox | LanguageSandbox | PistonSandbox
_lock = threading.Lock()
_sandboxes: dict[tuple[object, ...], _AnySandbox] = {}


def shared_sandbox(
    language: Literal["python", "cpp", "javascript"],
    server: str | None,
    tier: str | None,
    packages: tuple[str, ...],
    scratch_mb: int,
) -> _AnySandbox:
    """A sandbox of this process; a fork gets its own.

    Raises:
        SandboxError: no tier holds here, or not the one asked for; no compiler; no such server.
    """
    key = (os.getpid(), language, server, tier, packages, scratch_mb)
    with _lock:
        if key not in _sandboxes:
            if not _sandboxes:
                atexit.register(_close_all)
            if server is not None:
                _sandboxes[key] = PistonSandbox(server, language=_PISTON[language])
            elif language == "python":
                _sandboxes[key] = LocalSandbox(tier=tier, parallel=1, packages=packages, scratch_mb=scratch_mb)
            else:
                _sandboxes[key] = LanguageSandbox(language, tier=tier, parallel=1, scratch_mb=scratch_mb)
        return _sandboxes[key]


def _close_all() -> None:
    for sandbox in _sandboxes.values():
        sandbox.close()  # of a parent: does nothing
    _sandboxes.clear()
