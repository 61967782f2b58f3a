"""How large the engine's KV cache is on a CPU where a recipe leaves it open: room for the sequences that it samples at once.

vLLM would take 92 % of all memory, which the trainer needs. On a GPU its own rule stays (`vllm.gpu_memory_utilization`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, PretrainedConfig

from reasoning_rl import memory
from reasoning_rl.errors import EngineError
from reasoning_rl.recipe import Recipe

logger = logging.getLogger(__name__)

#: What vLLM takes at once unless `vllm.max_num_seqs` says otherwise.
_NUM_SEQS = 256
#: Keys of `vllm` and a variable of vLLM's that decide on the cache instead of us.
_DECIDED = ("kv_cache_memory_bytes", "gpu_memory_utilization", "num_gpu_blocks_override")
_VARIABLE = "VLLM_CPU_KVCACHE_SPACE"
#: Of the memory that is free, for the cache: the rest is the trainer's.
_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Room:
    """What the stages of a recipe ask of the engine at most: tokens of a sequence (prompt and completion), and sequences that
    they sample at once."""

    length: int
    num_seqs: int


def cache_arguments(policy: str, recipe: Recipe, room: Room | None, block_size: int, dtype: str) -> dict[str, Any]:
    """`kv_cache_memory_bytes` and `max_model_len` of an engine on a CPU, where the recipe leaves them open.

    Args:
        policy: model folder or hub id.
        room: what is asked of the engine; without it nothing is decided.
        block_size: tokens that the cache gives out at a time.
        dtype: of the cache.

    Raises:
        EngineError: not even one sequence fits into what is free.
    """
    free = memory.available_bytes()
    asked = recipe.vllm.get("kv_cache_memory_bytes")
    if isinstance(asked, int) and asked > free:
        raise EngineError(
            f"vllm.kv_cache_memory_bytes: found {_gib(asked)}, but {_gib(free)} of memory are free; lower it, or leave it out"
        )
    if room is None:
        return {}
    section: dict[str, Any] = recipe.vllm
    length = section.get("max_model_len") or -(-room.length // block_size) * block_size
    found = {"max_model_len": length}
    if any(key in section for key in _DECIDED) or _VARIABLE in os.environ:
        return found
    config = AutoConfig.from_pretrained(policy, trust_remote_code=recipe.model.trust_remote_code)
    sequence = (length + block_size) * bytes_per_token(config, dtype)
    wanted = min(room.num_seqs, section.get("max_num_seqs") or _NUM_SEQS)
    most = int(_SHARE * free / sequence)
    if not most:
        raise EngineError(
            f"vllm: the KV cache of one sequence of {length} tokens takes {_gib(sequence)}, and {_gib(free)} of memory are free; "
            "lower vllm.max_model_len, or the lengths that the stages ask for"
        )
    if most < wanted:
        logger.warning(
            "vllm: %s of memory are free, so that the KV cache holds %d sequences of %d tokens instead of %d; "
            "vllm.kv_cache_memory_bytes sets it",
            _gib(free), most, length, wanted,
        )  # fmt: skip
    return {**found, "kv_cache_memory_bytes": min(most, wanted) * sequence}


def bytes_per_token(config: PretrainedConfig, dtype: str) -> int:
    """Of keys and values in all layers. An upper bound where layers share them, compress them or look back only so far."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * text.num_hidden_layers * heads * size * getattr(torch, dtype).itemsize


def cache_dtype(arguments: Mapping[str, Any]) -> str:
    """That of the engine's weights; on a CPU vLLM's `auto` is bfloat16 even for a float32 checkpoint."""
    dtype = str(arguments.get("dtype", "auto")).removeprefix("torch.")
    return {"auto": "bfloat16", "half": "float16", "float": "float32"}.get(dtype, dtype)


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"
