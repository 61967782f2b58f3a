"""Minutes to an accuracy on one-digit sums and products: stock TRL against this project, with the same stopping rule.

    python benchmarks/time_to_accuracy.py
    python benchmarks/time_to_accuracy.py --quick     # one seed, a low goal: does it run?

SmolLM2-135M, LoRA r 16, learning rate 2e-4, 4 prompts × 8 completions of at most 32 tokens a step; the reward is whether the
last number is right. Every few steps both arms sample 40 held-out problems × 4 with the weights of that moment, off the
clock, and stop at the first evaluation that reaches the goal. Arms are those of `jobs`: A1, and C where options are
named, else B; they take turns step by step until one is there. Writes OUT/time_to_accuracy.json, .md and .svg. Nothing else
may run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from bench import ARM_COLORS, describe, figure, provenance, spread, table, write_figure
from jobs import Case, Goal, Job, start_in_turns
from step_speed import BEHAVIOUR

from reasoning_rl.recipe import Model

#: Recipe keys of arm C beyond those of `step_speed`: prompts by their pass rate.
CURRICULUM = ("sampling.curriculum.solved_above=0.95",)


def main() -> None:
    given = _arguments()
    from reasoning_rl.trl_bridge.policy import policy_folder

    overrides = (*BEHAVIOUR, *CURRICULUM, *given.c)
    ours = "C" if overrides else "B"
    seeds = range(1 if given.quick else given.seeds)
    goal = Goal(accuracy=0.3 if given.quick else given.goal, every=2 if given.quick else given.every)
    case = Case(
        "one-digit", max_tokens=32, reward="correct", warm_up=0, steps=4 if given.quick else given.max_steps,
        learning_rate=2e-4, batch=given.batch,
    )  # fmt: skip
    plan = (
        f"A1 and {ours} {' '.join(overrides)}, micro-batches of {case.batch}, seeds {list(seeds)}, until "
        f"{goal.accuracy:.0%} on held-out problems, looked at every {goal.every} steps, {case.steps} steps at most"
    )
    print(plan, flush=True)
    print(
        f"at most {len(seeds) * (2 * 45 + case.steps * 30) / 60:.0f} minutes on 2 cores, usually far less", flush=True
    )
    given.out.mkdir(parents=True, exist_ok=True)
    scratch = given.out / "time_to_accuracy_processes"
    scratch.mkdir(exist_ok=True)
    model = policy_folder(Model(source=given.model))
    tree: dict[str, Any] = {**provenance(), "plan": plan, "goal": goal.accuracy, "rows": []}
    for seed in seeds:
        arms = ["A1", ours] if seed % 2 == 0 else [ours, "A1"]
        print(f"{', '.join(arms)}, seed {seed}", flush=True)
        tree["rows"] += start_in_turns(
            [
                Job(
                    arm,
                    seed,
                    (case,),
                    model,
                    str(scratch / f"{arm}_{seed}.jsonl"),
                    overrides if arm == "C" else (),
                    goal,
                )
                for arm in arms
            ],
            given.timeout_s,
        )
        tree["summary"] = summary(tree["rows"], goal.accuracy)
        (given.out / "time_to_accuracy.json").write_text(json.dumps(tree, indent=1) + "\n")
    text = markdown(tree, ours)
    (given.out / "time_to_accuracy.md").write_text(text + "\n")
    draw(tree, given.out / "time_to_accuracy.svg")
    print(text)


def summary(rows: list[dict[str, Any]], goal: float) -> dict[str, dict[int, dict[str, Any]]]:
    """arm -> seed -> minutes and steps to the goal (`None`: not reached), best held-out accuracy, errors."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for arm, seed in sorted({(row["arm"], row["seed"]) for row in rows}):
        mine = [row for row in rows if (row["arm"], row["seed"]) == (arm, seed)]
        looked = [row for row in mine if "held_out" in row]
        first = next((row for row in looked if row["held_out"] >= goal), None)
        found.setdefault(arm, {})[seed] = {
            "minutes": first and first["on_clock_s"] / 60,
            "steps": first and first["step"],
            "best": max((row["held_out"] for row in looked), default=None),
            "errors": [row["error"] for row in mine if "error" in row],
        }
    return found


def markdown(tree: dict[str, Any], ours: str) -> str:
    """A row per arm and seed, and the ratio over the seeds in which both reached the goal."""
    found = tree["summary"]
    rows = [
        [
            arm,
            str(seed),
            "not reached" if of["minutes"] is None else f"{of['minutes']:.1f}",
            str(of["steps"] or "–"),
            "–" if of["best"] is None else f"{of['best']:.3f}",
            "; ".join(of["errors"]) or "–",
        ]
        for arm, seeds in found.items()
        for seed, of in seeds.items()
    ]
    both = [
        (found["A1"][seed]["minutes"], of["minutes"])
        for seed, of in found.get(ours, {}).items()
        if of["minutes"] and found.get("A1", {}).get(seed, {}).get("minutes")
    ]
    shares = [mine / stock for stock, mine in both]
    verdict = f"{ours}'s time as a share of A1's: {spread(shares)} over {len(shares)} seeds (aim: at most 0.4)"
    if shares:
        verdict += f", {'met' if statistics.median(shares) <= 0.4 else 'missed'}"
    head = ["arm", "seed", "minutes to the goal", "steps", "best held-out", "errors"]
    return f"{describe(tree)}. {tree['plan']}.\n\n{table(head, rows)}\n\n{verdict}."


def draw(tree: dict[str, Any], path: Path) -> None:
    """Held-out accuracy over minutes, a line per arm and seed."""
    made, (ax,) = figure(1, (5.4, 3.2))
    named: set[str] = set()
    for arm, seed in sorted({(row["arm"], row["seed"]) for row in tree["rows"]}):
        mine = [r for r in tree["rows"] if (r["arm"], r["seed"]) == (arm, seed) and "held_out" in r]
        x, y = [row["on_clock_s"] / 60 for row in mine], [row["held_out"] for row in mine]
        ax.plot(x, y, color=ARM_COLORS[arm], marker=".", label=None if arm in named else arm)
        named.add(arm)
    ax.axhline(tree["goal"], color=ARM_COLORS["floor"], linewidth=1, linestyle=":")
    ax.set_xlabel("minutes of training")
    ax.set_ylabel("held-out accuracy")
    if named:
        ax.legend()
    write_figure(made, path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, 4 steps, goal 0.3")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--goal", type=float, default=0.9)
    parser.add_argument("--every", type=int, default=4, help="steps between evaluations")
    parser.add_argument("--max-steps", type=int, default=80)
    parser.add_argument("--batch", type=int, default=8, help="micro-batch of both arms; see step_speed's tuning")
    parser.add_argument("--c", nargs="+", default=[], metavar="KEY=VALUE", help="recipe keys of arm C")
    parser.add_argument("--model", default="package:smollm2-135m-instruct")
    parser.add_argument("--timeout-s", type=float, default=600, help="of one turn: a step, or loading")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
