"""What the person at the terminal sees: a live bar on a terminal, plain lines elsewhere (CI, log files).

Owns no numbers; callers say how far they are and what is worth showing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from reasoning_rl import terminal

#: Seconds between two plain lines of the same stage.
PLAIN_INTERVAL_S = 10.0


class StageProgress:
    """Progress of one stage. Use as a context manager; silent when `enabled` is false (all ranks but the first)."""

    def __init__(
        self, title: str, total: int, unit: str, *, enabled: bool = True, console: Console | None = None
    ) -> None:
        self.title, self.total, self.unit, self.enabled = title, total, unit, enabled
        self.console = console or terminal.console
        self.done = 0
        self._started = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> StageProgress:
        if not self.enabled:
            return self
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(self.unit),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[shown]}", markup=False),
                console=self.console,
                redirect_stdout=sys.stdout.isatty(),
                redirect_stderr=self.console.file is sys.stderr,  # else it is a log
            )
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, completed=self.done, shown="")
        else:
            self._line({})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, by: int = 1, shown: Mapping[str, str] | None = None) -> None:
        """Moves on by `by` units and shows some figures, already formatted."""
        self.set(self.done + by, shown)

    def show(self, shown: Mapping[str, str]) -> None:
        """Shows some figures, already formatted, without moving on."""
        self.set(self.done, shown)

    def set(self, done: int, shown: Mapping[str, str] | None = None) -> None:
        """Sets the position."""
        self.done = done
        if not self.enabled:
            return
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done)
            if shown is not None:
                self._bar.update(self._task, shown=_joined(shown))
        elif time.monotonic() - self._last_line >= PLAIN_INTERVAL_S or done >= self.total:
            self._line(shown or {})

    def _line(self, shown: Mapping[str, str]) -> None:
        self._last_line = time.monotonic()
        elapsed = self._last_line - self._started
        eta = f" ETA {elapsed / self.done * (self.total - self.done):.0f}s" if 0 < self.done < self.total else ""
        text = f"{self.title}: {self.done}/{self.total} {self.unit} {elapsed:.0f}s{eta} {_joined(shown)}".rstrip()
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _joined(shown: Mapping[str, str]) -> str:
    return "  ".join(f"{name} {value}" for name, value in shown.items())
