"""Our words reach the terminal, those of libraries the log, and nothing is lost on the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

START = """
import logging, os, sys, warnings
from pathlib import Path
from reasoning_rl import terminal
from reasoning_rl.progress import StageProgress
terminal.divert()
terminal.configure_logging(logging.INFO)
"""

TALK = """
logging.getLogger("reasoning_rl.here").info("ours: info")
logging.getLogger("library").warning("theirs: log")
warnings.warn("theirs: warning")
os.write(2, b"theirs: from C\\n")
os.system("echo theirs: from a child >&2")
print("the user's: print")
with StageProgress("ours", 1, "steps") as bar:
    bar.advance()
"""


def run(code: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """The finished process, and what the log holds."""
    done = subprocess.run(
        [sys.executable, "-c", START + code], capture_output=True, text=True, check=False, cwd=folder, timeout=60
    )
    log = folder / "log.txt"
    return done, log.read_text() if log.exists() else ""


def test_who_writes_where(tmp_path: Path) -> None:
    done, log = run(f"{TALK}\nterminal.keep(Path('log.txt'))\nos.write(2, b'theirs: later\\n')", tmp_path)
    assert done.stdout == "the user's: print\n"
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["ours:"] * 3
    for words in ("ours: info", "theirs: log", "theirs: warning", "theirs: from C", "theirs: from a child"):
        assert words in log
    assert log.index("theirs: from C") < log.index("theirs: later")


def test_a_second_process_appends(tmp_path: Path) -> None:
    run("os.write(2, b'first\\n'); terminal.keep(Path('log.txt'))", tmp_path)
    _, log = run("os.write(2, b'second\\n'); terminal.keep(Path('log.txt'))", tmp_path)
    assert [line for line in log.splitlines() if not line.startswith("--- process ")] == ["first", "second"]


def test_an_exception_that_nobody_catches_reaches_both(tmp_path: Path) -> None:
    done, log = run("terminal.keep(Path('log.txt'))\n[][1]", tmp_path)
    assert done.returncode == 1
    for text in (done.stderr, log):
        assert text.rstrip().endswith("IndexError: list index out of range")
        assert "Traceback" in text


def test_a_crash_says_where(tmp_path: Path) -> None:
    done, _ = run("os.abort()", tmp_path)
    assert "Fatal Python error: Aborted" in done.stderr


def test_lines_of_ours_are_said_once_in_each(tmp_path: Path) -> None:
    done, log = run("terminal.keep(Path('log.txt'))\nterminal.say('error: no', style='red')", tmp_path)
    assert (done.stderr, log.splitlines()[1:]) == ("error: no\n", ["error: no"])


def test_without_diverting_all_goes_to_stderr(tmp_path: Path) -> None:
    code = START.replace("terminal.divert()\n", "") + "terminal.keep(Path('log.txt'))\nterminal.say('ours')\n"
    code += "logging.getLogger('reasoning_rl').info('ours'); logging.getLogger('library').warning('theirs')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60
    )
    assert done.stderr.splitlines() == ["ours", "ours", "theirs"]
    assert not (tmp_path / "log.txt").exists()


def test_what_was_written_before_a_failure_is_kept(tmp_path: Path) -> None:
    done, _ = run("os.write(2, b'theirs: before\\n')\n[][1]", tmp_path)
    path = Path(done.stderr.splitlines()[-1].removeprefix("what libraries wrote before stands in "))
    assert "theirs: before" in path.read_text()
    path.unlink()


def test_an_exception_of_a_thread_is_said(tmp_path: Path) -> None:
    code = "import threading\nthreading.Thread(target=lambda: [][1]).start()"
    done, _ = run(f"terminal.keep(Path('log.txt'))\n{code}", tmp_path)
    assert "IndexError: list index out of range" in done.stderr


def test_nothing_is_left_of_a_run_that_ended_well(tmp_path: Path) -> None:
    done, _ = run("print(terminal._scratch)", tmp_path)
    assert not Path(done.stdout.strip()).exists()
