"""Samples and scores rows with a policy as a grpo stage would, without a trainer: what `difficulty` needs of the stack.

Owns engine and grading processes while it runs; what is made of the scores is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from reasoning_rl.api import Sample
from reasoning_rl.data import Row
from reasoning_rl.grading import Grader
from reasoning_rl.recipe import Recipe, Stage
from reasoning_rl.scoring import RewardSet, ScoredSample, refuse_broken_grading
from reasoning_rl.trl_bridge import policy
from reasoning_rl.trl_bridge.args import grpo_config
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.preflight import refuse_what_would_be_cut, tokenize

#: Completions that are sampled before any are handed on, as a multiple of those that the engine takes at once.
_CHUNK = 4

#: The scored completions of one row.
Results = Sequence[tuple[Sample, ScoredSample]]


def sample_rows(
    recipe: Recipe,
    stage: Stage,
    data: Mapping[str, Sequence[Row]],
    rows: Sequence[Row],
    rewards: RewardSet,
    num_samples: int,
    on_progress: Callable[[int], None],
) -> Iterator[list[tuple[Row, Results]]]:
    """The scored completions of rows, in order, some rows at a time. Completions are graded while others are sampled.

    Args:
        recipe: model, prompt, rewards and engine.
        stage: a grpo stage, whose temperature, top_p and length limit are taken.
        data: all data sets of the recipe, to see early whether something would be cut.
        rows: what to sample.
        rewards: those of the recipe.
        num_samples: completions per row.
        on_progress: gets the number of completions just finished.

    Raises:
        ReasoningRLError: the model, the engine, the grading or a prompt that is too long.
    """
    arguments = grpo_config(recipe, stage, Path(recipe.run.dir))
    folder = policy.policy_folder(recipe.model)
    tokenizer = policy.load_tokenizer(folder, recipe.model)
    room = refuse_what_would_be_cut(recipe, data, folder, tokenizer)
    with ExitStack() as stack:
        grader = stack.enter_context(Grader(rewards, recipe.scoring))
        reader = policy.completion_reader(folder, tokenizer, recipe.prompt.thinking)
        engine = Engine(folder, recipe, replace(room, num_seqs=len(rows) * num_samples))
        stack.callback(engine.close)

        def sample_and_score(some: Sequence[Row]) -> list[tuple[Row, Results]]:
            grading: dict[int, tuple[Sample, Future[ScoredSample]]] = {}

            def grade(position: int, token_ids: list[int]) -> None:
                row = some[position // num_samples]
                sample = reader.read(row.prompt, token_ids, dict(row.columns), row.row_id)
                grading[position] = sample, grader.submit(sample)

            engine.generate(
                tokenize(tokenizer, some),
                num_samples=num_samples,
                max_tokens=arguments.max_completion_length or 0,
                temperature=arguments.temperature,
                top_p=arguments.top_p,
                on_progress=on_progress,
                on_finished=grade,
            )
            results = [(sample, future.result()) for _, (sample, future) in sorted(grading.items(), key=lambda i: i[0])]
            refuse_broken_grading([scored for _, scored in results], recipe.scoring.max_abstain_fraction)
            return [(row, results[i * num_samples : (i + 1) * num_samples]) for i, row in enumerate(some)]

        size = max(1, _CHUNK * engine.max_num_seqs // num_samples)
        for start in range(0, len(rows), size):
            yield sample_and_score(rows[start : start + size])
