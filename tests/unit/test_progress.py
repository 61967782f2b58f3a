"""Plain lines where there is no terminal, a bar where there is one, nothing where it is not wanted."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from reasoning_rl.progress import StageProgress


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=120), text


def test_plain_lines() -> None:
    plain, text = console(terminal=False)
    with StageProgress("grpo [draft]", 3, "steps", console=plain) as progress:
        progress.advance(shown={"reward": "0.50", "accuracy": "12 %"})
        progress.advance()
        progress.advance(shown={"reward": "0.75"})
    first, last = text.getvalue().splitlines()
    assert first == "grpo [draft]: 0/3 steps 0s"
    assert last == "grpo [draft]: 3/3 steps 0s reward 0.75"


def test_long_plain_lines_are_not_wrapped() -> None:
    plain, text = console(terminal=False)
    with StageProgress("s", 1, "steps", console=plain) as progress:
        progress.advance(shown={"name": "x" * 500})
    assert len(text.getvalue().splitlines()) == 2


def test_bar_on_a_terminal() -> None:
    terminal, text = console(terminal=True)
    with StageProgress("grpo", 3, "steps", console=terminal) as progress:
        progress.advance(shown={"reward": "0.50"})
        progress.set(2)
        progress.advance(shown={"reward": "0.75"})
        assert progress.done == 3
    assert "3/3" in text.getvalue()
    assert "reward 0.75" in text.getvalue()


def test_model_text_in_a_bar() -> None:
    terminal, text = console(terminal=True)
    with StageProgress("grpo", 1, "steps", console=terminal) as progress:
        progress.advance(shown={"reward": "[/bold] 0.5"})
    assert "1/1" in text.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_disabled(terminal: bool) -> None:
    quiet, text = console(terminal=terminal)
    with StageProgress("grpo", 2, "steps", enabled=False, console=quiet) as progress:
        progress.advance(2, {"reward": "1"})
    assert text.getvalue() == ""
    assert progress.done == 2


@pytest.mark.parametrize("terminal", [True, False])
def test_an_error_goes_through(terminal: bool) -> None:
    with pytest.raises(KeyError), StageProgress("grpo", 2, "steps", console=console(terminal=terminal)[0]):
        raise KeyError("x")
