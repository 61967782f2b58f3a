"""Everything about a recipe that can be found out at once and without torch.

Checks the keys and plain types of the upstream sections, the keys that we own, batch arithmetic, files, and builds every
reward from its options. What needs the upstream classes themselves is built by `trl_bridge.args`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from reasoning_rl.api import ThinkingTags
from reasoning_rl.errors import RecipeError, RewardPluginError
from reasoning_rl.plugins import resolve
from reasoning_rl.processes import processes
from reasoning_rl.recipe import Thinking
from reasoning_rl.recipe_io import KeyPath, RecipeFile, closest
from reasoning_rl.upstream import signature_of

_TRAINER_OWNED = {
    "output_dir": "run.dir",
    "seed": "run.seed",
    "report_to": "run.report_to",
    "run_name": "run.dir",
    "resume_from_checkpoint": "nothing: a run resumes by itself",
    "deepspeed": "launch.config_file",
    "fsdp": "launch.config_file",
    "fsdp_config": "launch.config_file",
    "do_train": "stages",
    "do_eval": "stages",
    "do_predict": "stages",
    "eval_strategy": "an eval stage",
    "remove_unused_columns": "nothing: rewards see every column",
    "use_cpu": "nothing: a CPU is used when there is no accelerator",
    "disable_tqdm": "nothing: progress adapts to the terminal",
    "model_init_kwargs": "model",
    "trust_remote_code": "model.trust_remote_code",
}

_NOT_YET = "not supported until it has been run on a GPU"

#: Keys of `grpo.generation_kwargs` that hang on the tokens of a request so far, which vLLM does not know of one that goes on.
_FORGOTTEN = (
    "bad_words",
    "frequency_penalty",
    "presence_penalty",
    "repetition_detection",
    "stop",
    "structured_outputs",
    "thinking_token_budget",
)

#: Section -> key that we set ourselves -> where to say it instead.
OWNED: dict[str, dict[str, str]] = {
    "sft": _TRAINER_OWNED | {"dataset_text_field": "data.<name>.completion"},
    "grpo": _TRAINER_OWNED
    | {
        "reward_weights": "rewards.<name>.weight",
        "use_vllm": "nothing: rollouts always come from vLLM",
        "vllm_mode": "nothing: the engine runs inside each process",
        "vllm_gpu_memory_utilization": "vllm.gpu_memory_utilization",
        "vllm_max_model_length": "vllm.max_model_len",
        "vllm_enable_sleep_mode": f"nothing: {_NOT_YET}",
        "vllm_tensor_parallel_size": f"nothing: {_NOT_YET}",
        "vllm_model_impl": "vllm.model_impl",
        "log_completions": "nothing: rollouts.jsonl always holds them",
        "use_transformers_continuous_batching": "nothing: rollouts always come from vLLM",
    },
    "lora": {
        "task_type": "nothing: it is a causal language model",
        "inference_mode": "nothing: it is trained",
        "use_dora": "nothing: DoRA has no W + s·B·A that could be pushed to the engine",
        "lora_bias": "nothing: a bias has no W + s·B·A that could be pushed to the engine",
    },
    "vllm": {
        "model": "model.source",
        "tokenizer": "model.source",
        "revision": "model.revision",
        "trust_remote_code": "model.trust_remote_code",
        "seed": "run.seed",
        "distributed_executor_backend": "nothing: the engine runs inside each process",
        "logprobs_mode": "nothing: the importance ratio needs processed_logprobs",
        "enable_sleep_mode": f"nothing: {_NOT_YET}; lower vllm.gpu_memory_utilization instead",
        "tensor_parallel_size": f"nothing: {_NOT_YET}",
        "enable_lora": "nothing: merged weights are pushed",
    },
}


def check(file: RecipeFile) -> list[str]:
    """Checks a parsed recipe; returns notes on what could not be looked at.

    Raises:
        RecipeError: with every problem found, one sentence each.
    """
    problems = [
        *_upstream_problems(file),
        *_launch_problems(file),
        *_older_policy_problems(file),
        *_source_problems(file),
        *_reward_problems(file),
    ]
    if problems:
        raise RecipeError(problems)
    return [
        f"{package} is not installed here: the keys under {section}: were not checked"
        for section, package in (("grpo", "trl"), ("sft", "trl"), ("lora", "peft"), ("vllm", "vllm"))
        if getattr(file.recipe, section) and signature_of(section) is None
    ]


def _upstream_problems(file: RecipeFile) -> Iterator[str]:
    recipe = file.recipe
    sections: list[tuple[str, KeyPath, dict[str, Any]]] = [
        ("sft", ("sft",), recipe.sft),
        ("grpo", ("grpo",), recipe.grpo),
        ("lora", ("lora",), recipe.lora or {}),
        ("vllm", ("vllm",), recipe.vllm),
    ]
    sections += [(s.kind, ("stages", i, "args"), s.args) for i, s in enumerate(recipe.stages) if s.kind != "eval"]
    for section, prefix, values in sections:
        signature = signature_of(section)
        for key, value in values.items():
            if key in OWNED[section]:
                yield file.problem((*prefix, key), _instead(OWNED[section][key]))
            elif signature is None:
                continue
            elif key not in signature.fields:
                names = [name for name in signature.fields if name not in OWNED[section]]
                version = f"{signature.package} {signature.version}"
                yield file.problem((*prefix, key), f"unknown key for {version}{closest(key, names)}")
            elif not _fits(signature.fields[key], value):
                kind = getattr(signature.fields[key], "__name__", None) or str(signature.fields[key])
                yield file.problem((*prefix, key), f"found {value!r:.80}, expected {kind.replace('typing.', '')}")


def _instead(owned: str) -> str:
    reason = owned.removeprefix("nothing: ")
    return f"is set by reasoning_rl; use {owned}" if reason == owned else f"is set by reasoning_rl, remove it: {reason}"


def _fits(kind: Any, value: Any) -> bool:
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _launch_problems(file: RecipeFile) -> Iterator[str]:
    launch = file.recipe.launch
    if launch.config_file and not Path(launch.config_file).exists():
        return  # said by _source_problems
    try:
        found = processes(launch)
    except ValueError as error:
        yield file.problem(("launch", "config_file"), str(error))
        return
    if found.problem:
        yield file.problem(("launch", "config_file") if launch.config_file else ("launch",), found.problem)
    yield from _batch_problems(file, found.number)
    yield from _extra_groups_problems(file, found.number)


def _batch_of(section: dict[str, Any], num_processes: int) -> tuple[int, int]:
    """Completions of a generation batch and of a group; TRL's defaults: 8 per device, 1 accumulation step, groups of 8."""

    def number(key: str, default: int) -> int:
        value = section.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    accumulation = number("gradient_accumulation_steps", 1)
    per_step = number("per_device_train_batch_size", 8) * num_processes
    batch = number("generation_batch_size", per_step * number("steps_per_generation", accumulation))
    return batch, number("num_generations", 8)


def _batch_problems(file: RecipeFile, num_processes: int) -> Iterator[str]:
    """The generation batch must hold whole groups."""
    recipe = file.recipe
    for index, stage in enumerate(recipe.stages):
        if stage.kind != "grpo":
            continue
        batch, group = _batch_of(recipe.section_of(stage), num_processes)
        key: KeyPath = ("stages", index, "args", "num_generations")
        if "num_generations" not in stage.args:
            key = ("grpo", "num_generations" if "num_generations" in recipe.grpo else "per_device_train_batch_size")
        if group < 2:
            yield file.problem(key, f"found a group of {group}, expected at least 2: a group of one has no advantage")
        elif batch % group:
            yield file.problem(
                key,
                f"the generation batch of {batch} completions (per_device_train_batch_size × processes × "
                f"gradient_accumulation_steps) does not divide into groups of {group}; make it a multiple of {group}",
            )


def _extra_groups_problems(file: RecipeFile, num_processes: int) -> Iterator[str]:
    """Carrying groups over works in one process, alone, for as many groups as a step has, with requests that can be taken up
    again."""
    recipe, sampling = file.recipe, file.recipe.sampling
    key: KeyPath = ("sampling", "extra_groups")
    found = f"found {sampling.extra_groups}"
    if not sampling.extra_groups or all(stage.kind != "grpo" for stage in recipe.stages):
        return
    for name, value in (("refill_rounds", sampling.refill_rounds), ("staleness", sampling.staleness)):
        if value:
            yield file.problem(
                key, f"{found} with sampling.{name} {value}, expected one of the two; set the other to 0"
            )
    if num_processes > 1:
        yield file.problem(
            key,
            f"{found} with {num_processes} processes, expected 0: groups are carried over within one process; remove the key, or "
            "run one process",
        )
    for index, stage in enumerate(recipe.stages):
        if stage.kind != "grpo":
            continue
        section = recipe.section_of(stage)
        batch, group = _batch_of(section, num_processes)
        if group > 0 and sampling.extra_groups > batch // group:
            yield file.problem(
                key,
                f"{found}, expected at most {batch // group}, the groups of a step in stage {stage.name}, so that none waits for "
                "long; lower it or enlarge the batch",
            )
        options = section.get("generation_kwargs")
        names = [name for name in options if name in _FORGOTTEN] if isinstance(options, dict) else []
        forgotten: list[KeyPath] = [("generation_kwargs", name) for name in names]
        if section.get("vllm_structured_outputs_regex") is not None:
            forgotten.append(("vllm_structured_outputs_regex",))
        for path in forgotten:
            where: KeyPath = ("stages", index, "args", *path) if path[0] in stage.args else ("grpo", *path)
            yield file.problem(
                where,
                f"cannot be used with sampling.extra_groups {sampling.extra_groups}: where a completion goes on, vLLM has forgotten "
                "what it counted or matched before; remove one of the two",
            )


def _older_policy_problems(file: RecipeFile) -> Iterator[str]:
    """Training on tokens of an older policy needs a correction token by token, and batches that are one optimizer step each."""
    recipe = file.recipe
    one_step = "a batch has to be one optimizer step, so that it is known how old its policy is"
    set_to = [(key, getattr(recipe.sampling, key)) for key in ("staleness", "extra_groups")]
    because = next((f"sampling.{key} {value}" for key, value in set_to if value), None)
    for index, stage in enumerate(recipe.stages):
        if stage.kind != "grpo" or not because:
            continue
        section = recipe.section_of(stage)
        accumulation = section.get("gradient_accumulation_steps", 1)
        # key -> TRL's default, what is allowed, why
        rules: dict[str, tuple[Any, tuple[Any, ...], str]] = {
            "vllm_importance_sampling_mode": (
                "sequence_mask",
                ("token_truncate", "token_mask"),
                "the ratio of a whole sequence grows with its length, so that the long ones would be lost",
            ),
            "vllm_importance_sampling_correction": (
                True,
                (True,),
                "tokens of an older policy would be trained on as if they were its own",
            ),
            "num_iterations": (1, (1,), one_step),
            "steps_per_generation": (accumulation, (accumulation,), one_step),
            "generation_batch_size": (None, (None,), one_step),
        }
        for key, (default, allowed, why) in rules.items():
            value = section.get(key, default)
            if value not in allowed:
                where: KeyPath = ("stages", index, "args", key) if key in stage.args else ("grpo", key)
                named = " or ".join("no such key" if item is None else str(item) for item in allowed)
                yield file.problem(where, f"found {value} with {because}, expected {named}: {why}")


def _source_problems(file: RecipeFile) -> Iterator[str]:
    recipe = file.recipe
    for name, sources in recipe.data.items():
        weights = [source.weight for source in sources]
        if any(weights) and not all(weights):
            yield file.problem(("data", name), "some sources have a weight and some have none; give all one, or none")
        for index, source in enumerate(sources):
            where: KeyPath = ("data", name, index, "source")
            if _file_part(source.source) and not Path(_file_part(source.source)).exists():
                yield file.problem(where, f"no such file {_file_part(source.source)}; check the path")
            if source.source.startswith("reasoning_gym:") and source.size is None:
                yield file.problem(where, "a procedural source makes as many rows as it is told; add size")
            procedural = ":" in source.source and not source.source.startswith("package:")
            if source.skip and procedural:
                yield file.problem(
                    ("data", name, index, "skip"), "a procedural source skips no rows; remove skip, use another seed"
                )
            for key, function in (("convert", source.convert), ("completion", source.completion)):
                if function and _file_part(function) and not Path(_file_part(function)).exists():
                    yield file.problem(("data", name, index, key), f"no such file {_file_part(function)}")
    for key, path in (
        (("launch", "config_file"), recipe.launch.config_file),
        (("model", "source"), recipe.model.source),
    ):
        if path and path.startswith("/") and not Path(path).exists():
            yield file.problem(key, f"no such file or folder {path}; check the path")
    for index, stage in enumerate(recipe.stages):
        if stage.kind == "sft":
            for number, source in enumerate(recipe.data[stage.dataset]):
                if source.completion is None:
                    yield file.problem(
                        ("data", stage.dataset, number),
                        f"stage {index} ({stage.name}) trains on completions; say where they come from with completion:",
                    )
    yield from _overlap_problems(file)


def _overlap_problems(file: RecipeFile) -> Iterator[str]:
    """reasoning-gym seeds row i with seed + i, so two splits overlap unless their ranges of seeds are disjoint."""
    held_out = {stage.dataset for stage in file.recipe.stages if stage.kind == "eval"}
    trained = {stage.dataset for stage in file.recipe.stages if stage.kind != "eval"}
    gym = [
        (name, index, source, range(source.seed, source.seed + (source.size or 0)))
        for name, sources in file.recipe.data.items()
        for index, source in enumerate(sources)
        if source.source.startswith("reasoning_gym:")
    ]
    for name, index, source, seeds in gym:
        for other_name, _, other, other_seeds in gym:
            if name not in held_out or other_name not in trained or source.source != other.source:
                continue
            if seeds.start < other_seeds.stop and other_seeds.start < seeds.stop:
                yield file.problem(
                    ("data", name, index, "seed"),
                    f"rows use seeds {seeds.start}–{seeds.stop - 1}, which data.{other_name} trains on "
                    f"({other_seeds.start}–{other_seeds.stop - 1}); start at {other_seeds.stop} or later",
                )


def _reward_problems(file: RecipeFile) -> Iterator[str]:
    for name, use in file.recipe.rewards.items():
        try:
            reward = resolve(use.use, use.options)
        except RewardPluginError as error:
            yield file.problem(("rewards", name), str(error))
            continue
        tags, own = file.recipe.prompt.thinking, getattr(reward, "thinking_tags", None)
        if own is not None and own != ThinkingTags(tags.open, tags.close, tags.opened_by_template):
            yield file.problem(
                ("rewards", name),
                f"looks for the thinking tags {_shown(own)}, but prompt.thinking has {_shown(tags)}; say them there alone",
            )


def _shown(tags: ThinkingTags | Thinking) -> str:
    """As `<think> … </think>`; without the first where the chat template writes it."""
    return f"{'' if tags.opened_by_template else f'{tags.open} '}… {tags.close}"


def _file_part(text: str) -> str:
    """The file named by `file.py:Attr` or `rows.jsonl`, or an empty string."""
    path = text.partition(":")[0]
    return path if path.startswith("/") else ""
