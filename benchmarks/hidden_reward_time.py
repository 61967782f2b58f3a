"""How much of a slow reward is hidden behind sampling: sampling alone, grading alone, both together.

    python benchmarks/hidden_reward_time.py --json hidden.json

SmolLM2-135M-Instruct answers short questions in a real vLLM engine; the reward sleeps 0.2 s for each completion, in grading
processes (`scoring.num_workers`). Both arms that sample get the same seed and must give the same tokens. Shares, of
medians over the rounds; `added` is the time that grading adds to sampling (both − sampling):

- `hidden_share`: 1 − added / grading alone, with the same number of processes. The last completion is graded after
  sampling, so with N completions on W processes no more than about 1 − W/N can be hidden.
- `hidden_share_by_tail`: the same with what is waited for after sampling instead of `added`, which is free of the noise of
  two samplings but blind to what grading costs them.
- `hidden_share_of_sleep`: 1 − added / (N × seconds), against a trainer that asks its rewards one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from reasoning_rl.launch import process_environment

os.environ |= process_environment(os.environ)

import torch

from reasoning_rl.api import Sample
from reasoning_rl.early_grading import EarlyGrading
from reasoning_rl.grading import Grader
from reasoning_rl.parsing import Reader
from reasoning_rl.recipe import Recipe
from reasoning_rl.scoring import RewardSet
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.policy import load_tokenizer, policy_folder

REWARD = Path(__file__).parent / "sleeping_reward.py"
GROUP = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=256, help="per round, a multiple of 8")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--max-num-seqs", type=int, default=32, help="sampled at once")
    parser.add_argument("--workers", type=int, default=4, help="grading processes")
    parser.add_argument("--seconds", type=float, default=0.2, help="sleep of the reward for each completion")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    result = measure(args)
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The three times of every round, their medians, and the shares."""
    recipe = recipe_of(args)
    folder = policy_folder(recipe.model)
    tokenizer = load_tokenizer(folder, recipe.model)
    prompts = questions(tokenizer, args.completions // GROUP)

    reader = Reader(recipe.prompt.thinking)

    def sample(position: int, token_ids: list[int]) -> Sample:
        text = str(tokenizer.decode(token_ids, skip_special_tokens=True))
        return reader.read_text([], text, {}, str(position), token_ids=token_ids)

    rounds: list[dict[str, float]] = []
    with Grader(RewardSet.from_recipe(recipe), recipe.scoring) as grader:
        engine = Engine(folder, recipe)
        try:
            engine.generate(prompts[:4], num_samples=GROUP, max_tokens=8)  # warms up
            for number in range(args.rounds):
                rounds.append(one_round(engine, grader, prompts, args.max_tokens, sample, number))
                print(json.dumps(rounds[-1]), flush=True)
        finally:
            engine.close()
    medians = {name: statistics.median(row[name] for row in rounds) for name in rounds[0]}
    added = medians["both_s"] - medians["sampling_s"]
    return {
        "settings": {name: value for name, value in vars(args).items() if name != "json"},
        "rounds": rounds,
        "medians": medians,
        "hidden_share": round(1 - added / medians["grading_s"], 3),
        "hidden_share_by_tail": round(1 - medians["tail_s"] / medians["grading_s"], 3),
        "hidden_share_of_sleep": round(1 - added / (args.seconds * len(prompts) * GROUP), 3),
        "machine": {"cores": len(os.sched_getaffinity(0)), "machine": platform.machine(), "load": os.getloadavg()[0]},
        "versions": {name: metadata.version(name) for name in ("torch", "trl", "reasoning-rl")},
    }


def one_round(
    engine: Engine, grader: Grader, prompts: list[list[int]], max_tokens: int, sample: Any, seed: int
) -> dict[str, float]:
    """Seconds of sampling alone, grading alone and both together, on the same completions."""
    torch.manual_seed(seed)
    start = time.perf_counter()
    alone = engine.generate(prompts, num_samples=GROUP, max_tokens=max_tokens)
    sampling_s = time.perf_counter() - start

    completions = [completion.token_ids for group in alone for completion in group]
    samples = [sample(position, token_ids) for position, token_ids in enumerate(completions)]
    start = time.perf_counter()
    grader.score_batch(samples)
    grading_s = time.perf_counter() - start

    early = EarlyGrading(grader)
    torch.manual_seed(seed)
    start = time.perf_counter()
    streamed = engine.generate(
        prompts,
        num_samples=GROUP,
        max_tokens=max_tokens,
        on_finished=lambda position, token_ids: early.start(position, sample(position, token_ids)),
    )
    sampled_s = time.perf_counter() - start
    scored = early.score_batch(samples)
    both_s = time.perf_counter() - start
    assert streamed == alone, "the same seed gave other completions, so the times cannot be compared"
    assert [item.total for item in scored] == [1.0] * len(samples), "a reward failed"
    lengths = [len(token_ids) for token_ids in completions]
    return {
        "sampling_s": round(sampling_s, 3),
        "grading_s": round(grading_s, 3),
        "both_s": round(both_s, 3),
        "tail_s": round(both_s - sampled_s, 3),
        "reported_share": round(early.take_time().hidden_share, 3),
        "mean_length": round(statistics.mean(lengths), 1),
        "truncated": round(sum(length == max_tokens for length in lengths) / len(lengths), 3),
    }


def questions(tokenizer: Any, count: int) -> list[list[int]]:
    """Token ids of prompts whose answers differ in length."""
    chance = random.Random(0)
    texts = [
        f"What is {chance.randrange(1, 10)} {chance.choice('+×')} {chance.randrange(1, 10)}? Answer in a short sentence."
        for _ in range(count)
    ]
    encoded = tokenizer.apply_chat_template(
        [[{"role": "user", "content": text}] for text in texts],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
    )
    return [list(ids) for ids in encoded["input_ids"]]


def recipe_of(args: argparse.Namespace) -> Recipe:
    """A recipe with the engine, the reward and the grading processes of the benchmark."""
    return Recipe.model_validate(
        {
            "run": {"dir": "unused"},
            "model": {"source": "package:smollm2-135m-instruct"},
            "data": {"eval": {"source": "unused:rows"}},
            "rewards": {"sleep": {"use": f"{REWARD}:Sleep", "options": {"seconds": args.seconds}, "timeout_s": 60.0}},
            "scoring": {"num_workers": args.workers},
            "eval": {"accuracy": "sleep", "max_completion_length": args.max_tokens},
            "stages": [{"name": "eval", "kind": "eval"}],
            "vllm": {
                "max_model_len": 256,
                "max_num_seqs": args.max_num_seqs,
                "enforce_eager": True,
                "kv_cache_memory_bytes": 1 << 29,
            },
        }
    )


if __name__ == "__main__":
    main()
