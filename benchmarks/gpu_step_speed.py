"""Steps per hour, update time and memory of a GRPO step on one GPU: stock TRL against this project. Runs unattended.

    python benchmarks/gpu_step_speed.py            # about 5 minutes on an H100

SmolLM2-135M, LoRA r 16, bf16 autocast, 32 prompts × 8 completions of at most 256 tokens a step, one seed, a process per arm,
one after the other. Arms of `jobs`: A0, stock TRL, whose weight sync works here (only its engine is kept from one case to the
next); B; P, B with packed micro-batches, which are off on GPUs because they are slower there. Each with every micro-batch of
BATCHES, so that the best of each can be compared. CUDA graphs and compilation as vLLM has them by default. Writes OUT/gpu_step_speed.json
and .md after every process.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import speed_report
import torch
from bench import describe, provenance, table
from jobs import Case, Job, start_in_turns

from reasoning_rl.recipe import Model
from reasoning_rl.trl_bridge.policy import policy_folder

BATCHES = (32, 64)  # 256 do not fit in 80 GB
STEPS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=["A0", "B", "P"], default=["A0", "B", "P"])
    parser.add_argument("--model", default="package:smollm2-135m-instruct")
    parser.add_argument("--timeout-s", type=float, default=300, help="of one turn: a step, or loading")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    cases = tuple(
        Case(f"micro-batch {size}", 256, ask="explain", steps=STEPS, batch=size, prompts=32, context=512)
        for size in BATCHES
    )
    given.out.mkdir(parents=True, exist_ok=True)
    scratch = given.out / "gpu_step_speed_processes"
    scratch.mkdir(exist_ok=True)
    tree: dict[str, Any] = {**provenance(), "gpu": torch.cuda.get_device_name(), "model": given.model, "rows": []}
    for arm in given.arms:
        job = Job(arm, 0, cases, policy_folder(Model(source=given.model)), str(scratch / f"{arm}.jsonl"))
        tree["rows"] += start_in_turns([job], given.timeout_s)
        tree["summary"] = speed_report.summary(tree["rows"], stock="A0")
        (given.out / "gpu_step_speed.json").write_text(json.dumps(tree, indent=1) + "\n")
        (given.out / "gpu_step_speed.md").write_text(_markdown(tree) + "\n")
        print(_markdown(tree), flush=True)


def _markdown(tree: dict[str, Any]) -> str:
    rows, errors = [], []
    for case, arms in tree["summary"].items():
        for arm, of in arms.items():
            errors += [f"- {arm}, {case}: {error}" for error in of["errors"]]
            if "phases" in of:
                steps, update = of["ratios"]["steps"], of["ratios"]["update"]
                rows.append(
                    [
                        case,
                        arm,
                        f"{statistics.median(of['step_s'].values()):.2f}",
                        *(f"{of['phases'][phase]:.2f}" for phase in speed_report.PHASES),
                        f"{of['tokens']:.0f}",
                        f"{max(of['peak_gpu_mb'].values(), default=0) / 1024:.1f}",
                        f"{of['drift']:.1e}",
                        f"{statistics.median(steps):.2f}" if steps else "–",
                        f"{statistics.median(update):.2f}" if update else "–",
                    ]
                )
    head = ["", "arm", "step, s", *(phase.replace("_", " ") for phase in speed_report.PHASES), "tokens",
            "peak GPU, GiB", "drift", "steps/h to A0", "update to A0"]  # fmt: skip
    return "\n\n".join([f"{tree['gpu']}; {describe(tree)}.", table(head, rows), *errors])


if __name__ == "__main__":
    main()
