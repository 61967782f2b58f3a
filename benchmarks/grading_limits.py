"""What long use and hostile completions cost `math_answer`: memory over many grades, then every labelled attack.

    python benchmarks/grading_limits.py --cases ../shared/cases --json grading_limits.json --markdown grading_limits.md

One pool of grading processes, as in a run. First `--grades` different completions, with the resident memory of this process
and of the largest grading process after every tenth of them. Then 1,000 grades, all rows of `math_attacks.jsonl` one by one
(wrong verdicts are counted over the uncontested ones, times over all), and 1,000 grades again. A wait is the time in which
`submit` or its result was not there, less the time for which these processes were ready and got no core. At the end the pool is closed
and processes that are left are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from reasoning_rl.api import Sample
from reasoning_rl.grading import Grader
from reasoning_rl.plugins import resolve
from reasoning_rl.recipe import Scoring
from reasoning_rl.scoring import RewardSet, WeightedReward
from reasoning_rl.testing import make_sample
from reasoning_rl.workers.proc import cpu_s, descendants, rss_mb, tree_queued_s

FORMS = ("{n}", "\\frac{{{n}}}{{{m}}}", "{n}\\sqrt{{{m}}}", "x = {n}", "({n}, {m})", "\\frac{{{n}}}{{{m}}}\\pi")
NUM_AFTER = 1000


def made(count: int, seed: int) -> list[tuple[Sample, bool]]:
    """Different completions, half of them right, from a plain integer to a multiple of pi."""
    chance, found = random.Random(seed), []
    for at in range(count):
        n, m = chance.randrange(10**8), chance.randrange(2, 100)
        form, is_right = FORMS[at % len(FORMS)], chance.random() < 0.5
        text = (
            f"<think>{chance.randrange(10**6)}</think>It is \\boxed{{{form.format(n=n if is_right else n + 1, m=m)}}}."
        )
        found.append((make_sample(text, {"answer": form.format(n=n, m=m)}, question=f"Row {seed}/{at}?"), is_right))
    return found


def grade(grader: Grader, count: int, seed: int) -> dict[str, float]:
    """Grades completions; their wall and CPU seconds and the number of verdicts that are wrong or missing."""
    rows = made(count, seed)
    wall, cpu = time.perf_counter(), cpu_s(os.getpid()) or 0.0
    scored = grader.score_batch([sample for sample, _ in rows])
    wall, cpu = time.perf_counter() - wall, (cpu_s(os.getpid()) or 0.0) - cpu
    wrong = sum(item.total != float(is_right) for item, (_, is_right) in zip(scored, rows, strict=True))
    return {"wall_s": wall, "cpu_s": cpu, "wrong": wrong}


def memory(grader: Grader, num_grades: int, others: list[int]) -> list[dict[str, int]]:
    """Resident MB of this process and of the largest grading process, at the start and after every tenth."""

    def now(done: int) -> dict[str, int]:
        pids = [pid for pid in descendants(os.getpid()) if pid not in others]
        return {"grades": done, "parent_mb": rss_mb(), "largest_grader_mb": max(map(rss_mb, pids))}

    found, step = [now(0)], num_grades // 10
    for start in range(0, num_grades, step):
        if grade(grader, step, seed=start)["wrong"]:
            raise SystemExit(f"wrong verdicts among the grades from {start} on")
        found.append(now(start + step))
    return found


def attack(grader: Grader, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Every attack, one at a time; ids of wrong verdicts, abstentions and late ones, and the longest waits."""
    wrong, unjudged, late, times = [], [], [], []
    for row in rows:
        starved, start = tree_queued_s(os.getpid()), time.monotonic()
        future = grader.submit(make_sample(row["response"], {"answer": row["gold"]}, question=""))
        submitted = time.monotonic() - start
        score = future.result(timeout=60).scores["math_answer"]
        waited = time.monotonic() - start
        own = waited - max(0.0, tree_queued_s(os.getpid()) - starved)
        times.append((waited, own, submitted))
        if score.value is None:
            unjudged.append(row["id"])
        elif not row.get("contested") and (score.value == 1) is not row["expect"]:
            wrong.append(row["id"])
        if own > row["max_seconds"]:
            late.append(row["id"])
    return {
        "rows": len(rows),
        "uncontested": sum(not row.get("contested") for row in rows),
        "wrong_ids": wrong,
        "unjudged_ids": unjudged,
        "late_ids": late,
        "longest_wait_s": max(own for _, own, _ in times),
        "longest_wait_with_queueing_s": max(waited for waited, _, _ in times),
        "longest_submit_s": max(submitted for _, _, submitted in times),
    }


def measure(rows: list[dict[str, Any]], num_grades: int, num_workers: int) -> dict[str, Any]:
    others = descendants(os.getpid())
    reward = WeightedReward("math_answer", resolve("math_answer"), 1.0, use="math_answer")
    results: dict[str, Any] = {"workers": num_workers}
    with Grader(RewardSet((reward,)), Scoring(num_workers=num_workers)) as grader:
        results["memory"] = memory(grader, num_grades, others)
        results["before"] = grade(grader, NUM_AFTER, seed=-1)
        results["attacks"] = attack(grader, rows)
        results["after"] = grade(grader, NUM_AFTER, seed=-2)
        results["kills"] = grader.stats()["kills"]
    results["left"] = len([pid for pid in descendants(os.getpid()) if pid not in others])
    return results


def markdown(results: dict[str, Any]) -> str:
    """The tables, as they stand in docs/math-answer.md."""
    taken, attacks = results["memory"], results["attacks"]
    lines = [
        "| grades | " + " | ".join(f"{item['grades']:,}" for item in taken) + " |",
        "|---" * (len(taken) + 1) + "|",
        "| parent, MB | " + " | ".join(str(item["parent_mb"]) for item in taken) + " |",
        "| largest grading process, MB | " + " | ".join(str(item["largest_grader_mb"]) for item in taken) + " |",
        "",
        f"| {attacks['rows']} attacks | |",
        "|---|---|",
        f"| wrong verdicts among the {attacks['uncontested']} uncontested | {len(attacks['wrong_ids'])} |",
        f"| not judged | {len(attacks['unjudged_ids'])} |",
        f"| later than their `max_seconds` | {len(attacks['late_ids'])} |",
        f"| longest wait for a score | {attacks['longest_wait_s']:.2f} s |",
        f"| longest `submit` | {attacks['longest_submit_s'] * 1e3:.0f} ms |",
        f"| grading processes killed | {results['kills']} |",
        f"| CPU seconds of {NUM_AFTER:,} grades before and after | {results['before']['cpu_s']:.2f}, {results['after']['cpu_s']:.2f} |",
        f"| processes left after closing | {results['left']} |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True, help="folder of math_attacks.jsonl")
    parser.add_argument("--grades", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    lines = (given.cases / "math_attacks.jsonl").read_text(encoding="utf-8").splitlines()
    results = measure([json.loads(line) for line in lines], given.grades, given.workers)
    print(markdown(results))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))
    if given.markdown:
        given.markdown.write_text(markdown(results))


if __name__ == "__main__":
    main()
