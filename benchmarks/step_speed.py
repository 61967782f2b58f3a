"""Steps per hour, update time and memory of a GRPO step on CPUs: stock TRL against this project, arms interleaved.

    python benchmarks/step_speed.py            # the whole plan, printed first with its estimated duration
    python benchmarks/step_speed.py --quick    # one seed, one shape, one measured step: does it run?

SmolLM2-135M, LoRA r 16 on all linear layers, bf16 autocast, 4 prompts × 8 completions a step. Arms are those of `jobs`;
each arm of a seed has a process of its own, all of them alive, and they take turns step by step: the same step of all arms
runs within a minute or two, and ratios are of such steps. Who is first changes from seed to seed. Each arm runs each length with
the micro-batch that a tuning run before found fastest: the smallest within 5 % of the best. The largest shape comes first in every
process: a small one is slow in a process that has not had a large one yet, stock TRL by half as much again. Writes
OUT/step_speed.json, .md and .svg. Nothing else may run meanwhile; what others used is reported. Takes 20 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import speed_report
from bench import describe, provenance
from jobs import Case, Job, start_in_turns

from reasoning_rl.recipe import Model

CASES = (
    Case("short", max_tokens=32, steps=4),
    Case("long", max_tokens=96, ask="explain", steps=4),
    Case("short, half idle", max_tokens=32, half_idle=True, steps=4),
)
#: Micro-batches that the tuning runs try, for so many steps, of which the fastest counts.
BATCHES, TUNING_STEPS = (8, 16, 32), 2
#: Recipe keys of arm C: what this project offers beyond the same mathematics. Add with --c.
BEHAVIOUR = ("sampling.refill_rounds=2",)
#: Rough seconds on 2 cores of AVX512-BF16, for the estimate only.
START_S = 30
STEP_S = {"A": {"short": 9, "long": 20, "short, half idle": 9}, "B": {"short": 3, "long": 9, "short, half idle": 3}}


@dataclass(frozen=True)
class Plan:
    """Which processes run together, in which order; the tuning runs of A1 and B come first."""

    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    cases: tuple[Case, ...]
    tune: bool
    overrides: tuple[str, ...]

    def rounds(self) -> list[tuple[int, list[str]]]:
        """(seed, arms that take turns); who is first changes from seed to seed."""
        arms = [arm for arm in self.arms if arm != "A0"]
        turned = [(seed, arms[at % len(arms) :] + arms[: at % len(arms)]) for at, seed in enumerate(self.seeds) if arms]
        return [(self.seeds[0], ["A0"])] * ("A0" in self.arms) + turned

    def minutes(self) -> float:
        """Estimate for 2 cores with SmolLM2-135M."""
        seconds = sum(START_S + self._case_s(arm) for _, arms in self.rounds() for arm in arms)
        steps = 1 + TUNING_STEPS * len(BATCHES)
        each = [START_S + steps * STEP_S[arm][case.name] for arm in STEP_S for case in self.tuned()]
        return (seconds + self.tune * sum(each)) / 60

    def tuned(self) -> list[Case]:
        """A case of each length, long ones first."""
        lengths = {case.max_tokens: case for case in reversed(self.cases)}
        return [lengths[length] for length in sorted(lengths, reverse=True)]

    def _case_s(self, arm: str) -> float:
        if arm == "A0":
            return START_S  # compiles, then fails at its first sync
        step_s = STEP_S["A" if arm == "A1" else "B"]
        return sum((case.warm_up + case.steps) * step_s[case.name] for case in self.cases)

    def text(self) -> str:
        arms = ", ".join(self.arms)
        cases = "; ".join(f"{c.name}: {c.warm_up} + {c.steps} steps of ≤ {c.max_tokens} tokens" for c in self.cases)
        tuning = f"micro-batches out of {BATCHES} first; " if self.tune else ""
        changed = f"; C with {' '.join(self.overrides)}" if self.overrides else ""
        return f"arms {arms}, seeds {list(self.seeds)}; {tuning}{cases}{changed}; about {self.minutes():.0f} minutes"


def main() -> None:
    given = _arguments()
    overrides = (*BEHAVIOUR, *given.c)
    arms = tuple(arm for arm in given.arms if arm != "C" or overrides)
    seeds = tuple(range(1 if given.quick else given.seeds))
    cases = (replace(CASES[0], steps=1),) if given.quick else CASES
    plan = Plan(arms, seeds, cases, given.batch is None and not given.quick, overrides)
    print(plan.text(), flush=True)
    if "C" in given.arms and not overrides:
        print("C is left out: no behaviour-changing option is named; name one with --c key=value", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    from reasoning_rl.trl_bridge.policy import policy_folder

    model = policy_folder(Model(source=given.model))
    tree: dict[str, Any] = {**provenance(), "plan": plan.text(), "model": given.model, "rows": []}
    scratch = given.out / "step_speed_processes"
    scratch.mkdir(exist_ok=True)

    def job(arm: str, seed: int, cases: Iterable[Case], name: str) -> Job:
        return Job(arm, seed, tuple(cases), model, str(scratch / f"{name}.jsonl"), overrides if arm == "C" else ())

    def run(jobs: list[Job]) -> list[dict[str, Any]]:
        rows = start_in_turns(jobs, given.timeout_s)
        for row in rows:
            if "error" in row:
                print(f"{row['arm']} seed {row['seed']} {row['case'] or ''}: {row['error']}", flush=True)
        return rows

    lengths = [case.max_tokens for case in plan.tuned()]
    tree["batches"] = {arm: dict.fromkeys(lengths, given.batch or 8) for arm in arms}
    for arm, also in (("A1", {"A0", "A1"}), ("B", {"B", "C"})):
        if not plan.tune or also.isdisjoint(arms):
            continue
        tried = [replace(case, warm_up=0, steps=1, name="warm", batch=BATCHES[-1]) for case in plan.tuned()[:1]]
        for case in plan.tuned():
            for size in BATCHES:
                tried.append(replace(case, warm_up=0, steps=TUNING_STEPS, name=f"{case.max_tokens} {size}", batch=size))
        rows = run([job(arm, 0, tried, f"tuning_{arm}")])
        times: dict[int, dict[int, float]] = {length: {} for length in lengths}
        for row in rows:
            if row.get("counts") and row["case"] != "warm":
                length, size = map(int, row["case"].split())
                times[length][size] = min(row["step_s"], times[length].get(size, row["step_s"]))
        for length, found in times.items():
            fast = [size for size, step_s in sorted(found.items()) if step_s <= 1.05 * min(found.values())]
            for each in also & set(arms):
                tree["batches"][each][length] = fast[0] if fast else 8
        tree.setdefault("tuning", {})[arm] = times
    print(f"micro-batches: {tree['batches']}", flush=True)
    rounds = plan.rounds()
    for number, (seed, together) in enumerate(rounds, start=1):
        print(f"{number}/{len(rounds)}: {', '.join(together)}, seed {seed}", flush=True)
        mine = plan.cases[:1] if together == ["A0"] else sorted(plan.cases, key=lambda case: -case.max_tokens)
        tree["rows"] += run(
            [
                job(arm, seed, [replace(c, batch=tree["batches"][arm][c.max_tokens]) for c in mine], f"{arm}_{seed}")
                for arm in together
            ]
        )
        _write(tree, given.out)
    print((given.out / "step_speed.md").read_text())


def _write(tree: dict[str, Any], out: Path) -> None:
    """After every seed, so that a run that is cut short leaves what it has."""
    tree["summary"] = speed_report.summary(tree["rows"])
    tree["targets"] = speed_report.targets(tree["summary"])
    (out / "step_speed.json").write_text(json.dumps(tree, indent=1) + "\n")
    (out / "step_speed.md").write_text(speed_report.markdown(tree, describe(tree)) + "\n")
    speed_report.draw(tree["summary"], out / "step_speed.svg")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, one shape, one measured step, no A0, no tuning")
    parser.add_argument("--arms", nargs="+", choices=["A0", "A1", "B", "C"])
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--c", nargs="+", default=[], metavar="KEY=VALUE", help="recipe keys of arm C")
    parser.add_argument("--batch", type=int, choices=BATCHES, help="micro-batch of every arm; default: tuned for each")
    parser.add_argument("--model", default="package:smollm2-135m-instruct")
    parser.add_argument("--timeout-s", type=float, default=600, help="of one turn: a step, or loading")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    given.arms = given.arms or (["A1", "B", "C"] if given.quick else ["A0", "A1", "B", "C"])
    return given


if __name__ == "__main__":
    sys.exit(main())
