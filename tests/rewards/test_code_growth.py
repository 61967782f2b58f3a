"""Ten thousand programs through `reasoning-rl score --use code_tests`: nothing grows, nothing stays."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.workers.proc import descendants

COMMAND = Path(sys.executable).parent / "reasoning-rl"
NUM_ROWS = int(os.environ.get("REASONING_RL_GROWTH_ROWS", "10000"))
KINDS = ("assert", "module", "call", "stdio", "wrong", "raises", "exits", "file")
PAGE = os.sysconf("SC_PAGE_SIZE")


def rows() -> Iterator[dict[str, Any]]:
    """All different, so that none is graded once for two: accepted, refused and failing ones of every kind of test."""
    for number in range(NUM_ROWS):
        kind = KINDS[number % len(KINDS)]
        program = {
            "wrong": "def f(x): return x",
            "raises": "def f(x): raise ValueError(x)",
            "exits": "import os\ndef f(x): os._exit(0)",
            "file": "open('x', 'w').write('x' * 9999)\ndef f(x): return x + 1",
            "stdio": "print(int(input()) + 1)",
        }.get(kind, "def f(x): return x + 1")
        match kind:
            case "call":
                test = {"type": "call", "entry_point": "f", "args": [number], "expected": number + 1}
            case "stdio":
                test = {"type": "stdio", "input": f"{number}\n", "output": f"{number + 1}\n"}
            case _:
                code = f"{'import random' if kind == 'module' else ''}\nassert f({number}) == {number + 1}"
                test = {"type": "assert", "entry_point": "f", "code": code}
        yield {"id": number, "completion": f"```python\n# {number}\n{program}\n```", "tests": [test]}


@dataclass(frozen=True)
class Seen:
    """The command and all that it has started, at one moment."""

    num_rows: int
    resident_mb: float
    num_fds: int
    num_processes: int
    num_zombies: int


def look(pid: int, out: Path) -> Seen:
    """Processes that end meanwhile are left out."""
    resident = num_fds = num_processes = num_zombies = 0
    for process in [pid, *descendants(pid)]:
        folder = Path(f"/proc/{process}")
        try:
            is_zombie = folder.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z"
            shared = [int(pages) for pages in folder.joinpath("statm").read_text().split()[1:3]]
            open_fds = 0 if is_zombie else len(list(folder.joinpath("fd").iterdir()))
        except OSError:
            continue
        resident += (shared[0] - shared[1]) * PAGE
        num_fds, num_processes, num_zombies = num_fds + open_fds, num_processes + 1, num_zombies + is_zombie
    return Seen(
        out.read_bytes().count(b"\n") if out.exists() else 0, resident / 2**20, num_fds, num_processes, num_zombies
    )


@pytest.mark.slow
def test_ten_thousand_completions_leave_nothing(tmp_path: Path) -> None:
    source, out, temporary = tmp_path / "in.jsonl", tmp_path / "out.jsonl", tmp_path / "tmp"
    temporary.mkdir()
    source.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    command = [COMMAND, "score", source, "-o", out, "--use", "code_tests", "--workers", "2"]
    seen: list[Seen] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(temporary)}) as started:
        while started.poll() is None:
            seen.append(look(started.pid, out))
            time.sleep(0.2)
        assert started.stderr is not None
        assert started.returncode == 0, started.stderr.read()[-2000:]
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in found] == list(range(NUM_ROWS))
    right = {"assert", "module", "call", "stdio", "file"}
    wrong_totals = [row["id"] for row in found if row["total"] != float(KINDS[row["id"] % len(KINDS)] in right)]
    assert wrong_totals == []
    early = [item for item in seen if 0.1 <= item.num_rows / NUM_ROWS < 0.4]
    late = [item for item in seen if 0.7 <= item.num_rows / NUM_ROWS < 1.0]
    assert min(len(early), len(late)) >= 10, f"only {len(seen)} looks at it: too few to tell"
    for what, room in (("resident_mb", 20), ("num_fds", 8), ("num_processes", 2), ("num_zombies", 1)):
        before, after = (statistics.median(getattr(item, what) for item in part) for part in (early, late))
        assert after - before <= room, f"{what}: {before} early, {after} late"
    assert list(temporary.iterdir()) == []
