"""How right, how fast and how safe verifiers of math answers are, on the same rows in one run.

    python benchmarks/math_verifiers.py --cases ../shared/cases --json math_verifiers.json --markdown math_verifiers.md

Rows are labelled pairs of gold and completion (`math_cases.jsonl`, `math_attacks.jsonl`); contested ones, whose label is a matter
of policy, are left out. A row that a verifier will not judge, fails on, or does not end on within the limit counts as not
accepted. Every verifier runs in a process of its own that is killed at the limit (`verifier_server.py`).

Throughput is that of GRPO-shaped batches, 1,024 completions, 8 for each of 128 golds, made from the labelled rows: ours through
the grading processes of a run, TRL's `accuracy_reward` in one call in the main thread of its process, as a trainer makes it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import select
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifier_server import VERIFIERS

from reasoning_rl.grading import Grader
from reasoning_rl.plugins import resolve
from reasoning_rl.recipe import Scoring
from reasoning_rl.scoring import RewardSet, WeightedReward
from reasoning_rl.testing import make_sample
from reasoning_rl.workers.proc import cpu_s

NUM_PROMPTS, GROUP = 128, 8
PACKAGES = ("reasoning-rl", "math-verify", "latex2sympy2_extended", "sympy", "trl")
Pair = tuple[str, str]


@dataclass(frozen=True)
class Reply:
    """What came back for some pairs; `fault` is empty, `hang`, `died` or an error."""

    values: list[float | None]
    wall_s: float
    cpu_s: float
    fault: str = ""


class Verifier:
    """A verifier in a process of its own, started anew when it had to be killed. Use as a context manager."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._start()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def grade(self, pairs: Sequence[Pair], limit_s: float) -> Reply:
        """The values of pairs graded in one go, or a fault after at most `limit_s` seconds and a kill."""
        assert self._process.stdin
        start, before = time.perf_counter(), cpu_s(self._process.pid) or 0.0
        line = b""
        try:
            self._process.stdin.write(json.dumps(pairs).encode() + b"\n")
            self._process.stdin.flush()
            line = self._line(limit_s)
            fault = "died"
        except TimeoutError:
            fault = "hang"
        except BrokenPipeError:
            fault = "died"
        if not line:
            wall, cpu = time.perf_counter() - start, (cpu_s(self._process.pid) or 0.0) - before
            self._kill()
            self._start()
            return Reply([None] * len(pairs), wall, cpu, fault)
        reply = json.loads(line)
        return Reply(reply["values"] or [None] * len(pairs), reply["wall_s"], reply["cpu_s"], reply["error"])

    def _start(self) -> None:
        server = Path(__file__).with_name("verifier_server.py")
        self._buffer = b""
        self._process = subprocess.Popen(
            [sys.executable, str(server), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if not self._line(300):
            raise SystemExit(f"{self.name} does not start; try: {sys.executable} {server} '{self.name}'")

    def _line(self, limit_s: float) -> bytes:
        """The next line; empty when the process is gone. Raises TimeoutError."""
        assert self._process.stdout
        file, end = self._process.stdout.fileno(), time.monotonic() + limit_s
        while b"\n" not in self._buffer:
            if not select.select([file], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError
            found = os.read(file, 1 << 16)
            if not found:
                return b""
            self._buffer += found
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def load(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if not row.get("contested")]


def is_starved(reply: Reply) -> bool:
    """Whether a reply took more than a second, most of it without a core: alarms of a verifier count that too."""
    return reply.wall_s > 1 and reply.cpu_s < reply.wall_s / 2


def unless_starved(grade: Callable[[], Reply]) -> Reply:
    """A reply that says something about the verifier and not about what else runs on the machine, if there is one."""
    reply = grade()
    for _ in range(5):
        if not is_starved(reply):
            break
        reply = grade()
    return reply


def measure(name: str, rows: Sequence[dict[str, Any]], limit_s: float) -> dict[str, Any]:
    """Confusion, faults, times and wrong ids of one verifier."""
    counts: Counter[tuple[bool, bool]] = Counter()
    walls, wrong, late, faults = [], [], [], Counter[str]()
    unjudged = num_starved = 0
    with Verifier(name) as verifier:
        for row in rows:
            reply = unless_starved(lambda: verifier.grade([(row["gold"], row["response"])], limit_s))  # noqa: B023
            num_starved += is_starved(reply)
            is_accepted = reply.values[0] == 1
            counts[row["expect"], is_accepted] += 1
            walls.append(reply.wall_s)
            unjudged += not reply.fault and reply.values[0] is None
            faults[reply.fault if reply.fault in ("", "hang", "died") else "error"] += 1
            if is_accepted is not row["expect"]:
                wrong.append(row["id"])
            if reply.wall_s > row.get("max_seconds", limit_s):
                late.append(row["id"])
    right, accepted = counts[True, True], counts[True, True] + counts[False, True]
    return {
        "rows": len(rows),
        "true_accepted": right,
        "false_accepted": counts[False, True],
        "true_refused": counts[True, False],
        "false_refused": counts[False, False],
        "accuracy": (right + counts[False, False]) / len(rows),
        "precision": right / accepted if accepted else None,
        "recall": right / max(1, right + counts[True, False]),
        "unjudged": unjudged,
        "hangs": faults["hang"],
        "errors": faults["error"] + faults["died"],
        "starved": num_starved,
        "median_ms": statistics.median(walls) * 1e3,
        "p99_ms": sorted(walls)[int(0.99 * len(walls))] * 1e3,
        "max_ms": max(walls) * 1e3,
        "wrong_ids": wrong,
        "late_ids": late,
    }


def grpo_batch(rows: Sequence[dict[str, Any]], seed: int) -> list[Pair]:
    """1,024 pairs: for each of 128 golds 8 completions with at most four different answers, as a half-trained policy has."""
    chance = random.Random(seed)
    by_gold: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["mode"] == "equiv":
            by_gold[row["gold"]].append(row["response"])
    golds = chance.sample(sorted(by_gold), NUM_PROMPTS)
    pairs = []
    for gold in golds:
        others = [f"\\boxed{{{chance.choice(golds)}}}" for _ in range(chance.randrange(3))]
        answers = [*chance.sample(by_gold[gold], 1), f"\\boxed{{{gold}}}", *others]
        for _ in range(GROUP):
            thoughts = " ".join(str(chance.randrange(1000)) for _ in range(300))
            pairs.append((gold, f"<think>{thoughts}</think>The answer is {chance.choice(answers)}."))
    return pairs


def speed_of_grader(pairs: Sequence[Pair], num_workers: int) -> dict[str, float]:
    """Seconds of a batch through the grading processes, started and warm, nothing remembered."""
    reward = WeightedReward("math_answer", resolve("math_answer"), 1.0, use="math_answer")
    samples = [make_sample(completion, {"answer": gold}, question="") for gold, completion in pairs]
    with Grader(RewardSet((reward,)), Scoring(num_workers=num_workers)) as grader:
        grader.score_batch([make_sample(f"\\boxed{{{n}}}", {"answer": "a"}) for n in range(8 * num_workers)])
        wall, cpu = time.perf_counter(), cpu_s(os.getpid()) or 0.0
        grader.score_batch(samples)
        return {"wall_s": time.perf_counter() - wall, "cpu_s": (cpu_s(os.getpid()) or 0.0) - cpu}


def speed_of_verifier(name: str, pairs: Sequence[Pair], limit_s: float) -> dict[str, float]:
    """Seconds of a batch in one call, in a fresh process; the limit when it does not end."""
    with Verifier(name) as verifier:
        reply = verifier.grade(pairs, limit_s)
    return {"wall_s": reply.wall_s, "cpu_s": reply.cpu_s}


def throughput(rows: Sequence[dict[str, Any]], names: Sequence[str], rounds: int, limit_s: float) -> dict[str, Any]:
    """Median over rounds; in each, all take the same batch, one after the other."""
    found: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in range(rounds):
        pairs = grpo_batch(rows, seed)
        for workers in (1, 2):
            found[f"math_answer, {workers} grading process{'es' * (workers > 1)}"].append(
                speed_of_grader(pairs, workers)
            )
        for name in names:
            if name.startswith("TRL"):
                found[name].append(speed_of_verifier(name, pairs, limit_s))
    num = NUM_PROMPTS * GROUP
    return {
        name: {
            "per_s": num / statistics.median(one["wall_s"] for one in times),
            "per_cpu_s": num / statistics.median(one["cpu_s"] for one in times),
            "rounds": times,
        }
        for name, times in found.items()
    }


def markdown(results: dict[str, Any]) -> str:
    """The tables, as they stand in docs/math-answer.md."""
    lines = []
    for kind in ("cases", "attacks"):
        if kind in results:
            table = results[kind]
            lines += [
                f"| {next(iter(table.values()))['rows']} {kind} | accuracy | precision | recall | wrongly accepted "
                "| wrongly refused | not judged | hangs | errors | ms: median | p99 |",
                "|---" * 11 + "|",
            ]
            for name, one in table.items():
                precision = "–" if one["precision"] is None else f"{one['precision']:.1%}"
                lines.append(
                    f"| {name} | {one['accuracy']:.1%} | {precision} | {one['recall']:.1%} | {one['false_accepted']} "
                    f"| {one['true_refused']} | {one['unjudged']} | {one['hangs']} | {one['errors']} "
                    f"| {one['median_ms']:.2f} | {one['p99_ms']:.0f} |"
                )
            lines.append("")
    if "throughput" in results:
        lines += ["| 1,024 completions, 8 per prompt | completions/s | per CPU second |", "|---|---|---|"]
        for name, one in results["throughput"].items():
            lines.append(f"| {name} | {one['per_s']:.0f} | {one['per_cpu_s']:.0f} |")
    return "\n".join(lines).strip() + "\n"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "cores": str(os.cpu_count())}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True, help="folder of math_cases.jsonl and math_attacks.jsonl")
    parser.add_argument("--only", nargs="+", choices=list(VERIFIERS), default=list(VERIFIERS))
    parser.add_argument(
        "--parts", nargs="+", choices=["cases", "attacks", "throughput"], default=["cases", "throughput"]
    )
    parser.add_argument("--limit-s", type=float, default=30.0, help="seconds for one row")
    parser.add_argument("--batch-limit-s", type=float, default=900.0, help="seconds for one batch")
    parser.add_argument("--rounds", type=int, default=3, help="batches of the throughput measurement")
    parser.add_argument("--max-rows", type=int, help="the first rows of each file only")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    rows = {kind: load(given.cases / f"math_{kind}.jsonl") for kind in ("cases", "attacks")}
    results: dict[str, Any] = {"versions": versions(), "limit_s": given.limit_s}
    for kind in given.parts:
        if kind == "throughput":
            results[kind] = throughput(rows["cases"], given.only, given.rounds, given.batch_limit_s)
        else:
            results[kind] = {name: measure(name, rows[kind][: given.max_rows], given.limit_s) for name in given.only}
        if given.json:
            given.json.write_text(json.dumps(results, indent=1))
    print(markdown(results))
    if given.markdown:
        given.markdown.write_text(markdown(results))


if __name__ == "__main__":
    main()
