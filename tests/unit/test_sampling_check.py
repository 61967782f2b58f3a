"""What `sampling` asks of the rest of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

GRPO = {"name": "g", "kind": "grpo"}
SFT = {"name": "s", "kind": "sft"}


@pytest.mark.parametrize(
    ("grpo", "args", "expected"),
    [
        (
            {},
            {"learning_rate": 1e-6},
            ["grpo.vllm_importance_sampling_mode: found sequence_mask with sampling.staleness 1"],
        ),
        ({"vllm_importance_sampling_mode": "token_mask"}, {}, []),
        (
            {"vllm_importance_sampling_mode": "token_mask"},
            {"vllm_importance_sampling_mode": "sequence_truncate"},
            ["stages.0.args.vllm_importance_sampling_mode: found sequence_truncate"],
        ),
        (
            {"vllm_importance_sampling_correction": False, "num_iterations": 2},
            {"vllm_importance_sampling_mode": "token_truncate"},
            ["grpo.vllm_importance_sampling_correction: found False", "grpo.num_iterations: found 2"],
        ),
        (
            {"vllm_importance_sampling_mode": "token_truncate", "gradient_accumulation_steps": 2},
            {"steps_per_generation": 4, "generation_batch_size": 32},
            [
                "args.steps_per_generation: found 4 with sampling.staleness 1, expected 2",
                "expected no such key: a batch",
            ],
        ),
        (
            {"vllm_importance_sampling_mode": "token_truncate", "gradient_accumulation_steps": 2},
            {"steps_per_generation": 2},
            [],
        ),
    ],
)
def test_one_step_ahead(
    problems: Callable[..., list[str]], grpo: dict[str, Any], args: dict[str, Any], expected: list[str]
) -> None:
    stages = [{**GRPO, "args": args}]
    found = problems(grpo=grpo, stages=stages, sampling={"staleness": 1})
    assert len(found) == len(expected) and all(part in text for part, text in zip(expected, found, strict=True))
    assert problems(grpo=grpo, stages=stages) == []


CARRIES = {"per_device_train_batch_size": 8, "num_generations": 4, "vllm_importance_sampling_mode": "token_mask"}


@pytest.mark.parametrize(
    ("sampling", "grpo", "launch", "expected"),
    [
        ({}, {}, {}, []),
        ({}, {"gradient_accumulation_steps": 2, "generation_kwargs": {"stop_token_ids": [1]}}, {}, []),
        (
            {},
            {"vllm_importance_sampling_mode": "sequence_mask", "num_iterations": 2},
            {},
            [
                "grpo.vllm_importance_sampling_mode: found sequence_mask with sampling.extra_groups 2, expected token_truncate",
                "grpo.num_iterations: found 2 with sampling.extra_groups 2, expected 1: a batch has to be one optimizer step",
            ],
        ),
        (
            {"refill_rounds": 3},
            {},
            {},
            [
                "sampling.extra_groups: found 2 with sampling.refill_rounds 3, expected one of the two; set the other to 0"
            ],
        ),
        (
            {"staleness": 1},
            {},
            {},
            ["sampling.extra_groups: found 2 with sampling.staleness 1, expected one of the two"],
        ),
        ({}, {}, {"num_processes": 2}, ["sampling.extra_groups: found 2 with 2 processes, expected 0"]),
        (
            {"extra_groups": 3},
            {},
            {},
            ["sampling.extra_groups: found 3, expected at most 2, the groups of a step in stage g"],
        ),
        (
            {},
            {"generation_kwargs": {"stop": "\n", "top_k": 5}, "vllm_structured_outputs_regex": "a+"},
            {},
            [
                "grpo.generation_kwargs.stop: cannot be used with sampling.extra_groups 2",
                "grpo.vllm_structured_outputs_regex: cannot be used with sampling.extra_groups 2",
            ],
        ),
    ],
    ids=["alone", "allowed", "objective", "refill", "staleness", "processes", "too-many", "requests"],
)
def test_extra_groups(
    problems: Callable[..., list[str]],
    sampling: dict[str, Any],
    grpo: dict[str, Any],
    launch: dict[str, Any],
    expected: list[str],
) -> None:
    sections = {"grpo": CARRIES | grpo, "launch": launch}
    found = problems(stages=[GRPO], sampling={"extra_groups": 2} | sampling, **sections)
    assert len(found) == len(expected) and all(part in text for part, text in zip(expected, found, strict=True)), found
    assert problems(stages=[SFT], sampling={"extra_groups": 2} | sampling, **sections) == []
