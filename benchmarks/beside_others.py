"""Speed of a run beside others: alone, beside one busy process, and two runs at a time.

    python benchmarks/beside_others.py [--repeats 3] [--quick]

Every run is a whole `reasoning-rl train` of the quickstart's model and shapes: SFT of the full policy, then GRPO with a LoRA.
`fixed` keeps as many threads as cores, as before; `idle` is the default, as many threads as cores are idle
(`reasoning_rl/trl_bridge/threads.py`). Shares are of the median of `fixed` alone. Two runs with fixed threads, which sample a few
tokens a second, are measured with --all only. Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench

from reasoning_rl.run_dir import read_jsonl

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "beside_others.md"
#: Situation -> runs at a time, busy processes beside them.
SITUATIONS = {"alone": (1, 0), "one busy process": (1, 1), "two runs": (2, 0)}
ARMS = {"fixed": {"REASONING_RL_THREADS": str(len(os.sched_getaffinity(0)))}, "idle": {}}
#: What is measured, per second: tokens sampled, steps of SFT, updates of GRPO.
FIGURES = ("tokens", "SFT steps", "GRPO updates")


def overrides(sft_steps: int, grpo_steps: int) -> list[str]:
    return [
        "stages=[{name: sft, kind: sft, policy: full}, {name: grpo, kind: grpo}]",
        f"sft.max_steps={sft_steps}",
        f"grpo.max_steps={grpo_steps}",
        "grpo.save_strategy=no",
        "savings.skip_idle_rows=false",  # every step trains as many rows
        "lora={r: 16, lora_alpha: 32, target_modules: all-linear}",
        "scoring.audit=false",
    ]


def start(folder: Path, environment: dict[str, str], words: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from reasoning_rl.cli import main; main()", "train"]
    recipe = str(ROOT / "recipes" / "quickstart.yaml")
    kept = {name: value for name, value in os.environ.items() if name != "REASONING_RL_THREADS"}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*command, recipe, f"run.dir={folder / 'run'}", *words], env={**kept, **environment}, stdout=log, stderr=log
        )


def figures(folder: Path) -> dict[str, float]:
    """Of a run, without the first step of a stage."""
    rows = [row for row in read_jsonl(folder / "run" / "metrics.jsonl") if row["step"] > 1]
    sft = [row for row in rows if row["kind"] == "sft"]
    grpo = [row for row in rows if row["kind"] == "grpo"]
    if not sft or not grpo:
        raise RuntimeError(f"the run was not finished: {(folder / 'log').read_text()[-2000:]}")
    return {
        "tokens": sum(row["sampled_tokens"] for row in grpo) / sum(row["time/rollout_s"] for row in grpo),
        "SFT steps": 1 / statistics.mean(row["time/update_s"] for row in sft),
        "GRPO updates": 1 / statistics.mean(row["time/update_s"] for row in grpo),
    }


@contextlib.contextmanager
def busy(number: int) -> Iterator[None]:
    """So many processes that compute and do nothing else."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def measure(situation: str, arm: str, words: list[str]) -> list[dict[str, float]]:
    num_runs, num_busy = SITUATIONS[situation]
    with tempfile.TemporaryDirectory() as scratch, busy(num_busy):
        folders = [Path(scratch) / str(number) for number in range(num_runs)]
        for folder in folders:
            folder.mkdir()
        for process in [start(folder, ARMS[arm], words) for folder in folders]:
            process.wait()
        return [figures(folder) for folder in folders]


def report(rows: list[dict[str, Any]]) -> str:
    lines = []
    for arm in ARMS:
        for situation in SITUATIONS:
            cells = []
            for name in FIGURES:
                found = [row[name] for row in rows if (row["arm"], row["situation"]) == (arm, situation)]
                base = [row[name] for row in rows if (row["arm"], row["situation"]) == ("fixed", "alone")]
                share = f" = {statistics.median(found) / statistics.median(base):.2f}×" if found and base else ""
                cells.append(bench.spread(found, 0 if name == "tokens" else 3) + share)
            lines.append([arm, situation, *cells])
    return bench.table(["threads", "beside it", "tokens/s", "SFT steps/s", "GRPO updates/s"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--all", action="store_true", help="two runs with fixed threads too (over 10 minutes a repeat)")
    parser.add_argument("--quick", action="store_true", help="one short repeat, which only shows that it runs")
    options = parser.parse_args()
    words = overrides(2, 2) if options.quick else overrides(6, 3)
    where, rows = bench.provenance(), []
    for repeat in range(1 if options.quick else options.repeats):
        for situation in SITUATIONS:
            for arm in ARMS if options.all or situation != "two runs" else ["idle"]:
                for found in measure(situation, arm, words):
                    rows.append({"repeat": repeat, "situation": situation, "arm": arm, **found})
                    print(json.dumps(rows[-1]), flush=True)
    table = report(rows)
    print(table)
    if not options.quick:
        RESULT.write_text(f"# Beside others\n\n{bench.describe(where)}. Medians [range].\n\n{table}\n")


if __name__ == "__main__":
    main()
