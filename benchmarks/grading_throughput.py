"""Verifications per second of a reward on a GRPO-shaped batch: 1,024 completions, 8 for each of 128 prompts.

    python benchmarks/grading_throughput.py --use exact_answer --option extract=boxed

Answers are sums with one to four distinct values per group, as a half-trained policy gives them; every batch has other
numbers, so that only repetitions inside a batch are shared; with `--distinct` nothing is, as every completion has an answer of
its own. Wall and CPU seconds of everything, of the median of some batches; the overhead is that of a sample whose reward does
nothing, without any sharing.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from reasoning_rl.api import Completion, Sample
from reasoning_rl.grading import Grader
from reasoning_rl.plugins import resolve
from reasoning_rl.recipe import Scoring
from reasoning_rl.recipe_io import apply_overrides
from reasoning_rl.scoring import RewardSet, WeightedReward
from reasoning_rl.workers.proc import cpu_s

NUM_PROMPTS, GROUP = 128, 8
FORMS = ("{n}", "\\frac{{{two_n}}}{{2}}", "{n}\\sqrt{{2}}", "x = {n}", "({n}, {n})")


def batch(seed: int, *, distinct: bool = False) -> list[Sample]:
    """A batch; a fifth of the golds for each form, from a plain integer to a pair."""
    chance = random.Random(seed)
    samples = []
    for prompt in range(NUM_PROMPTS):
        form, gold = FORMS[prompt % len(FORMS)], chance.randrange(10**6)
        guesses = [gold, *(chance.randrange(10**6) for _ in range(chance.randrange(4)))]
        row = {"answer": form.format(n=gold, two_n=2 * gold)}
        for _ in range(GROUP):
            n = chance.randrange(10**9) if distinct else chance.choice(guesses)
            thoughts = " ".join(str(chance.randrange(1000)) for _ in range(300))
            final = f"The answer is \\boxed{{{form.format(n=n, two_n=2 * n)}}}."
            text = f"<think>{thoughts}</think>{final}"
            samples.append(Sample([], Completion(text, thoughts, final, 400, False), row, f"{seed}/{prompt}"))
    return samples


def measure(reward: WeightedReward, num_workers: int, num_batches: int, *, distinct: bool) -> dict[str, float]:
    """Median over batches; the first batch only warms up."""
    walls, cpus = [], []
    with Grader(RewardSet((reward,)), Scoring(num_workers=num_workers)) as grader:
        grader.score_batch(batch(0, distinct=distinct))
        before = grader.stats()
        for seed in range(1, num_batches + 1):
            samples = batch(seed, distinct=distinct)
            wall, cpu = time.perf_counter(), cpu_s(os.getpid()) or 0.0
            grader.score_batch(samples)
            walls.append(time.perf_counter() - wall)
            cpus.append((cpu_s(os.getpid()) or 0.0) - cpu)
        after = grader.stats()
    num = NUM_PROMPTS * GROUP
    graded = (after.get("scores", 0) - before.get("scores", 0)) / num_batches if num_workers else num
    return {"per_s": num / statistics.median(walls), "cpu_s": statistics.median(cpus), "graded": graded}


def overhead_ms(folder: Path, num_samples: int = 5000) -> tuple[float, float]:
    """Milliseconds of wall and of CPU for a sample whose reward does nothing, one process, nothing shared."""
    path = folder / "nothing.py"
    path.write_text("def nothing(sample):\n    return 1.0\nnothing.cache_key = lambda sample: None\n")
    use = f"{path}:nothing"
    samples = batch(0) * (num_samples // (NUM_PROMPTS * GROUP) + 1)
    rewards = RewardSet((WeightedReward("nothing", resolve(use), 1.0, use=use),))
    with Grader(rewards, Scoring(num_workers=1)) as grader:
        grader.score_batch(samples[:500])
        wall, cpu = time.perf_counter(), cpu_s(os.getpid()) or 0.0
        grader.score_batch(samples[:num_samples])
        wall, cpu = time.perf_counter() - wall, (cpu_s(os.getpid()) or 0.0) - cpu
        return wall / num_samples * 1e3, cpu / num_samples * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--use", default="exact_answer")
    parser.add_argument("--option", action="append", default=[])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--distinct", action="store_true", help="every completion has another answer")
    given = parser.parse_args()
    options = apply_overrides({}, given.option)
    reward = WeightedReward(given.use, resolve(given.use, options), 1.0, use=given.use, options=options)
    print(f"{given.use}: {NUM_PROMPTS * GROUP} completions, {GROUP} per prompt, median of {given.batches} batches")
    for workers in given.workers:
        found = measure(reward, workers, given.batches, distinct=given.distinct)
        name = f"{workers} processes" if workers else "in this process, nothing shared"
        print(f"{name:>32}: {found['per_s']:8.0f}/s  CPU {found['cpu_s']:.2f} s  graded {found['graded']:.0f}")
    with tempfile.TemporaryDirectory() as folder:
        wall_ms, cpu_ms = overhead_ms(Path(folder))
    print(f"{'overhead per sample':>32}: {wall_ms:8.2f} ms, CPU {cpu_ms:.2f} ms")


if __name__ == "__main__":
    main()
