"""Refuses data that would be cut: prompts that leave no room for a completion, traces longer than SFT reads. What it has counted
says how much room the engine needs.

Needs the tokenizer only, so that it runs before any model loads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedTokenizerBase

from reasoning_rl.data import Row, place_of
from reasoning_rl.errors import DataError, ModelError
from reasoning_rl.recipe import Recipe, Stage
from reasoning_rl.trl_bridge.args import grpo_config, sft_config
from reasoning_rl.trl_bridge.kv_cache import Room


def tokenize(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> list[list[int]]:
    """Token ids of each prompt, generation prompt included; the very call that TRL makes for a rollout."""
    encoded: Any = tokenizer.apply_chat_template(
        [row.prompt for row in rows],  # pyright: ignore[reportArgumentType]
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
    )
    return [list(ids) for ids in encoded["input_ids"]] if rows else []


def refuse_what_would_be_cut(
    recipe: Recipe, data: Mapping[str, Sequence[Row]], policy: str, tokenizer: PreTrainedTokenizerBase
) -> Room:
    """Checks the longest row of every stage against the limit that would cut it; returns what is asked of the engine.

    Raises:
        DataError: naming the row, its length and the key to raise.
        ModelError: the model's config cannot be read.
    """
    lengths = {name: [len(ids) for ids in tokenize(tokenizer, rows)] for name, rows in data.items()}
    context = _context(recipe, policy)
    length = num_seqs = 0
    for stage in recipe.stages:
        rows, prompts = data[stage.dataset], lengths[stage.dataset]
        if stage.kind == "sft":
            limit, key = sft_config(recipe, stage, Path(recipe.run.dir)).max_length, "sft.max_length"
            completions = [len(tokenizer(row.completion or "")["input_ids"]) for row in rows]
        else:
            limit, key = context
            completions = [_completion_limit(recipe, stage)] * len(rows)
        longest = max(range(len(rows)), key=lambda i: prompts[i] + completions[i])
        needed = prompts[longest] + completions[longest]
        if limit is not None and needed > limit:
            raise DataError(
                f"data.{stage.dataset}: {place_of(recipe, rows[longest].row_id)} needs {needed} tokens (prompt {prompts[longest]}, "
                f"completion up to {completions[longest]}), more than {key} = {limit}; raise {key} or drop the row"
            )
        if stage.kind != "sft":
            length, num_seqs = max(length, needed), max(num_seqs, _sampled_at_once(recipe, stage, len(rows)))
    return Room(length, num_seqs)


def _completion_limit(recipe: Recipe, stage: Stage) -> int:
    if stage.kind == "eval":
        assert recipe.eval_max_completion_length is not None
        return recipe.eval_max_completion_length
    return grpo_config(recipe, stage, Path(recipe.run.dir)).max_completion_length or 0


def _sampled_at_once(recipe: Recipe, stage: Stage, num_rows: int) -> int:
    """Completions of a stage that one process hands to its engine together."""
    if stage.kind == "eval":
        assert recipe.eval is not None
        return num_rows * recipe.eval.num_samples
    arguments = grpo_config(recipe, stage, Path(recipe.run.dir))
    return arguments.per_device_train_batch_size * (arguments.steps_per_generation or 1)


def _context(recipe: Recipe, policy: str) -> tuple[int | None, str]:
    """The engine's context length and the key that sets it."""
    configured = recipe.vllm.get("max_model_len")
    if isinstance(configured, int):
        return configured, "vllm.max_model_len"
    try:
        config = AutoConfig.from_pretrained(policy, trust_remote_code=recipe.model.trust_remote_code)
    except (OSError, ValueError) as error:
        raise ModelError(f"model.source {recipe.model.source}: no config can be loaded ({error})") from error
    return getattr(config.get_text_config(), "max_position_embeddings", None), "the model's context"
