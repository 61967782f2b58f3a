"""Without a word in the recipe the KV cache on a CPU holds what the stages sample at once, within what is free."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig, Qwen3Config

from reasoning_rl.errors import EngineError
from reasoning_rl.recipe import Recipe
from reasoning_rl.trl_bridge import kv_cache
from reasoning_rl.trl_bridge.kv_cache import Room, bytes_per_token, cache_arguments, cache_dtype

TEN = Room(100, 10)
#: 2 (keys and values) × 3 layers × 2 heads × 16 × 2 bytes.
PER_TOKEN = 384


@pytest.fixture
def asked(
    tmp_path: Path, recipe_tree: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """The arguments for a room of 100 tokens × 10 sequences, with `free` bytes of memory and a `vllm` section."""
    LlamaConfig(num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, hidden_size=64).save_pretrained(
        tmp_path
    )
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)

    def arguments(free: int = 1 << 30, room: Room | None = TEN, **vllm: Any) -> dict[str, Any]:
        monkeypatch.setattr(kv_cache.memory, "available_bytes", lambda: free)
        recipe = Recipe.model_validate(recipe_tree(vllm=vllm))
        return cache_arguments(str(tmp_path), recipe, room, 32, "bfloat16")

    return arguments


def test_room_for_all_sequences(asked: Callable[..., dict[str, Any]]) -> None:
    """100 tokens are 4 blocks of 32; one block more for each sequence, which may begin in one that is shared."""
    assert asked() == {"max_model_len": 128, "kv_cache_memory_bytes": 10 * 160 * PER_TOKEN}
    assert asked(max_num_seqs=3)["kv_cache_memory_bytes"] == 3 * 160 * PER_TOKEN
    assert asked(room=Room(100, 5000))["kv_cache_memory_bytes"] == 256 * 160 * PER_TOKEN
    assert asked(max_model_len=64) == {"max_model_len": 64, "kv_cache_memory_bytes": 10 * 96 * PER_TOKEN}


@pytest.mark.parametrize(
    "vllm", [{"kv_cache_memory_bytes": 1 << 20}, {"gpu_memory_utilization": 0.5}, {"num_gpu_blocks_override": 9}]
)
def test_what_the_recipe_says_stays(asked: Callable[..., dict[str, Any]], vllm: dict[str, Any]) -> None:
    assert asked(**vllm) == {"max_model_len": 128}


def test_nothing_is_decided_without_a_room(asked: Callable[..., dict[str, Any]]) -> None:
    assert asked(room=None) == {}


def test_half_of_what_is_free_at_most(asked: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    assert asked(free=7 * 160 * PER_TOKEN)["kv_cache_memory_bytes"] == 3 * 160 * PER_TOKEN
    assert "holds 3 sequences of 128 tokens instead of 10" in caplog.text


def test_no_room_for_one_sequence(asked: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(
        EngineError, match=r"one sequence of 128 tokens takes 0\.0 GiB, and 0\.0 GiB of memory are free; lower"
    ):
        asked(free=160 * PER_TOKEN)


def test_more_than_is_free(asked: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(EngineError, match=r"kv_cache_memory_bytes: found 3\.0 GiB, but 1\.0 GiB of memory are free"):
        asked(kv_cache_memory_bytes=3 << 30)


def test_bytes_of_a_token() -> None:
    """Qwen3 names the size of a head; it is not hidden size / heads."""
    config = Qwen3Config(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1, hidden_size=64, head_dim=32)
    assert bytes_per_token(config, "float32") == 2 * 2 * 1 * 32 * 4


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "bfloat16"),
        ({"dtype": "auto"}, "bfloat16"),
        ({"dtype": "half"}, "float16"),
        ({"dtype": "float32"}, "float32"),
    ],
)
def test_dtype(arguments: dict[str, str], expected: str) -> None:
    assert cache_dtype(arguments) == expected
