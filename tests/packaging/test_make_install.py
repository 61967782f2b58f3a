"""What `make install` says where it cannot install. That it installs is shown by CI, whose environment it makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make(*words: str, **environment: str) -> list[str]:
    """The lines of a `make` that fails, without those of make itself."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "MAKE"))}
    done = subprocess.run(
        ["make", *words],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    return [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("make: ")]


def test_old_python(tmp_path: Path) -> None:
    python = tmp_path / "python"
    code = "import sys; sys.version_info = (3, 10, 13, 'final', 0); exec(sys.argv[1])"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$2"\n')
    python.chmod(0o755)
    assert make("quickstart", f"PYTHON={python}", f"VENV={tmp_path}/venv") == [
        f"error: {python} is Python 3.10, and 3.11 or newer is needed; name another one: make quickstart PYTHON=python3.12"
    ]
    assert not (tmp_path / "venv").exists()


def test_no_python(tmp_path: Path) -> None:
    (line,) = make("install", "PYTHON=python9", f"VENV={tmp_path}/venv")
    assert line.startswith("error: there is no python9; install Python 3.11 or newer")


def test_no_source_of_torch(tmp_path: Path) -> None:
    index = f"file://{tmp_path}/index"
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
    lines = make("install", f"PYTHON={sys.executable}", f"VENV={tmp_path}/venv", f"TORCH_INDEX={index}", **settings)
    assert lines[-1] == (
        f"error: torch==2.13.0+cpu is neither where pip is configured to look nor at {index}; set TORCH_INDEX to an index "
        "that has it"
    )
