"""What the person at the terminal reads: our words only. What libraries write goes into a log.

A run calls `divert` before it imports anything large: from then on the stderr of the process, C++ included, is a file, which
`keep` moves into the run folder. `console` stays at the terminal, and what is `print`ed stays where it was.
"""

from __future__ import annotations

import atexit
import faulthandler
import io
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

#: Our words. On stderr until `divert` is called, at what was stderr afterwards.
console = Console(stderr=True)

_log: Any = None  # a binary file
_scratch: Path | None = None  # where the log is until `keep`


def divert() -> None:
    """Sends stderr into a temporary file, and an exception that nobody catches to both. `console` stays as it is. The file
    goes when the process ends, unless it ends with an exception before `keep`."""
    global _log, _scratch
    if _log is not None:
        return
    sys.stderr.flush()
    terminal = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    console.file = terminal
    faulthandler.enable(terminal)
    sys.excepthook = _say_exception
    threading.excepthook = lambda given: _say_exception(given.exc_type, given.exc_value, given.exc_traceback)
    # It stays open as long as the process runs.
    _log = tempfile.NamedTemporaryFile(prefix="reasoning-rl-", suffix=".log", delete=False)  # noqa: SIM115
    _scratch = Path(_log.name)
    atexit.register(_forget_scratch)
    os.dup2(_log.fileno(), 2)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(line_buffering=True)


def keep(path: Path) -> None:
    """Appends what has been diverted so far to a file, and sends there what comes; does nothing without `divert`."""
    global _log
    if _log is None:
        return
    sys.stderr.flush()
    with _log as before:
        _log = path.open("ab")
        _log.write(f"--- process {os.getpid()}, {time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n".encode())
        before.seek(0)
        shutil.copyfileobj(before, _log)
        _log.flush()
        os.dup2(_log.fileno(), 2)
    _forget_scratch()


def say(text: str, style: str | None = None) -> None:
    """Prints lines at the terminal, and into the log if there is one."""
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)
    if _log is not None:
        sys.stderr.write(f"{text}\n")


def configure_logging(level: int) -> None:
    """Records of ours from `level` on go to the terminal, warnings of libraries to stderr, which may be a log."""
    ours = logging.getLogger("reasoning_rl")
    ours.setLevel(level)
    handler = (
        RichHandler(console=console, show_path=False) if console.is_terminal else logging.StreamHandler(console.file)
    )
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=None if _log is not None else [handler])
    if _log is not None:
        handler.setFormatter(logging.Formatter("%(message)s"))
        ours.addHandler(handler)


def _say_exception(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    global _scratch
    if issubclass(kind, SystemExit):  # of a thread, which ends without a word
        return
    say("".join(traceback.format_exception(kind, error, where)).rstrip())
    if _scratch is not None:
        say(f"what libraries wrote before stands in {_scratch}")
        _scratch = None


def _forget_scratch() -> None:
    global _scratch
    if _scratch is not None:
        _scratch.unlink(missing_ok=True)
        _scratch = None
