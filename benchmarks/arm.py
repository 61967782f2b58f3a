"""One arm of a comparison with stock TRL, in a process of its own: `python benchmarks/arm.py JOB.json`.

All arms get the same model, LoRA, optimiser, prompts in the same order, rewards, seed before each rollout and threads. Ours
go through the very function that runs a recipe's `grpo` stage; nothing of this project is loaded into the processes of the
stock arms that changes TRL.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import digits
import torch
import watch
from datasets import Dataset
from jobs import GROUP, Case, Goal, Job, wait_for_turn
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.generation import vllm_generation

from reasoning_rl import allocator
from reasoning_rl.trl_bridge.precision import prefers_float32

ON_GPU = torch.cuda.is_available()
#: Of our engine on a CPU; room for 32 sequences of 256 tokens, 23 KiB each. TRL's has jobs.STOCK_KV_CACHE_GIB.
KV_CACHE_MIB = 192
#: Of every engine on a GPU: the share of its memory.
GPU_SHARE = 0.2
LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
#: Metrics of TRL that are kept with each step.
LOGGED = (
    "reward", "loss", "grad_norm", "frac_reward_zero_std", "useful_group_share", "completions/mean_length",
    "completions/clipped_ratio", "sampling/sampling_logp_difference/mean",
)  # fmt: skip


_TBB_CLEAN_ALL_BUFFERS = 0


class Arm(Protocol):
    """Runs cases one after the other in this process."""

    clock: watch.Clock

    def __call__(self, job: Job, case: Case, folder: Path) -> None: ...


def run(job: Job) -> None:
    """Every case of a job, one after the other; an error ends its case only."""

    def write(row: dict[str, Any]) -> None:
        with Path(job.out).open("a") as stream:
            stream.write(json.dumps(row) + "\n")

    arm: Arm = Stock(is_patched=job.arm != "A0") if job.arm.startswith("A") else Ours()
    for case in job.cases:
        with tempfile.TemporaryDirectory() as folder:
            try:
                _add_to_trainers(lambda trainer, case=case: Recorder(trainer, arm.clock, job, case, write))
                arm(job, case, Path(folder))
            except Exception as error:  # noqa: BLE001 - what an arm dies of is a result
                lines = str(error).strip().splitlines()
                write({"case": case.name, "error": f"{type(error).__name__}: {lines[0] if lines else ''}"})
                traceback.print_exc()
        _release_memory()


class Stock:
    """TRL's own trainer, its own engine in colocate mode."""

    def __init__(self, is_patched: bool) -> None:
        self.clock = watch.Clock()
        if is_patched:
            vllm_generation.VLLMGeneration.sync_weights = _reload_weights
        if is_patched or ON_GPU:
            vllm_generation.LLM = _one_engine(vllm_generation.LLM)
        self.clock.wrap(GRPOTrainer, vllm_generation.VLLMGeneration)

    def __call__(self, job: Job, case: Case, folder: Path) -> None:
        def reward(completions: list[Any], answer: list[str], idle: list[str], **_: Any) -> list[float | None]:
            texts = [completion[0]["content"] for completion in completions]
            if case.reward == "correct":
                return [digits.is_correct(*pair) for pair in zip(texts, answer, strict=True)]
            return [digits.checksum_share(*pair) for pair in zip(texts, idle, strict=True)]

        rows = list(digits.rows(size=_num_rows(case), seed=job.seed, ask=case.ask, half_idle=case.half_idle))
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32),
            reward_funcs=[reward],
            args=GRPOConfig(
                output_dir=str(folder),
                seed=job.seed,
                report_to="none",
                disable_tqdm=True,
                use_cpu=not ON_GPU,
                use_vllm=True,
                vllm_mode="colocate",
                vllm_max_model_length=case.context,
                **({"vllm_gpu_memory_utilization": GPU_SHARE} if ON_GPU else {}),
                **_arguments(case),
            ),
            train_dataset=Dataset.from_list(
                [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in rows]
            ),
            processing_class=AutoTokenizer.from_pretrained(job.model),
            peft_config=LoraConfig(task_type="CAUSAL_LM", **LORA),
        )
        trainer.train()


class Ours:
    """The `grpo` stage of a recipe, with the grading processes, the ledger and the metrics that every run has."""

    def __init__(self) -> None:
        from reasoning_rl.trl_bridge.choosing import ChoosingTrainer
        from reasoning_rl.trl_bridge.engine import Engine
        from reasoning_rl.trl_bridge.generation import EngineGeneration
        from reasoning_rl.trl_bridge.trainer import ReasoningTrainer

        self.clock = watch.Clock()
        self.clock.wrap(GRPOTrainer, ReasoningTrainer, ChoosingTrainer)
        self.clock.wrap(vllm_generation.VLLMGeneration, EngineGeneration)
        self._start = Engine
        self._engine: Any = None

    def __call__(self, job: Job, case: Case, folder: Path) -> None:
        from reasoning_rl.data import load_data
        from reasoning_rl.grading import Grader
        from reasoning_rl.recipe import Recipe
        from reasoning_rl.recipe_io import apply_overrides
        from reasoning_rl.run_dir import RunDir
        from reasoning_rl.scoring import RewardSet
        from reasoning_rl.trl_bridge import policy, stages, trainer

        if job.arm == "P":
            trainer.can_pack = lambda config: True
        recipe = Recipe.model_validate(apply_overrides(_recipe(job, case, folder), job.overrides))
        rewards = RewardSet.from_recipe(recipe)
        self._engine = self._engine or self._start(job.model, recipe)
        folder.joinpath("run").mkdir()
        with Grader(rewards, recipe.scoring) as grader:
            stages.run_grpo(
                stages.StageInput(
                    recipe=recipe,
                    stage=recipe.stages[0],
                    run_dir=RunDir(folder / "run"),
                    rows=load_data(recipe, rewards.required_columns)["train"],
                    rewards=grader,
                    tokenizer=policy.load_tokenizer(job.model, recipe.model),
                    policy=job.model,
                    engine=lambda _: self._engine,
                )
            )


class Recorder(TrainerCallback):
    """Waits for its turn before every step, seeds the rollout, notes the step, stops at the goal."""

    def __init__(
        self, trainer: Any, clock: watch.Clock, job: Job, case: Case, write: Callable[[dict[str, Any]], None]
    ) -> None:
        self.trainer, self.clock, self.job, self.case, self.write = trainer, clock, job, case, write
        self.row: dict[str, Any] = {}
        self.on_clock_s = 0.0
        self.others = watch.Others()
        self.clock.take()
        self.end = time.perf_counter()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        start = time.perf_counter()
        wait_for_turn()
        self.end += time.perf_counter() - start  # off the clock
        self.others = watch.Others()
        torch.manual_seed(1000 * self.job.seed + state.global_step)  # the engine samples with torch's generator

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        watch.wait_for_device()
        now = time.perf_counter()
        step_s, self.end = now - self.end, now
        self.on_clock_s += step_s
        self.row = {
            "case": self.case.name,
            "step": state.global_step,
            "counts": state.global_step > self.case.warm_up,
            "step_s": step_s,
            "on_clock_s": self.on_clock_s,
            "phases": watch.phases(self.clock.take(), step_s),
            "others": self.others.share(),
        }
        if state.global_step == self.case.warm_up:
            watch.reset_peak_memory()
            if ON_GPU:
                torch.cuda.reset_peak_memory_stats()
        goal = self.job.goal
        if goal and state.global_step % goal.every == 0:
            self.row["held_out"] = _held_out_accuracy(self.trainer, self.case, goal)
            control.should_training_stop = self.row["held_out"] >= goal.accuracy
            self.clock.take()
            self.end = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if logs and "loss" in logs and self.row:
            self.write({**self.row, "metrics": {key: logs[key] for key in LOGGED if key in logs}})
            self.row = {}

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        end = {"peak_rss_mb": watch.peak_memory_mb()}
        if ON_GPU:
            end["peak_gpu_mb"] = torch.cuda.max_memory_allocated() >> 20
        self.write(
            {"case": self.case.name, **end, "drift": watch.base_weight_drift(self.trainer.model, self.job.model)}
        )


def _reload_weights(self: Any) -> None:
    """The patch: vLLM's reload where TRL calls `load_weights`, which raises on weights that are packed for a CPU."""
    runner = self.llm.llm_engine.model_executor.driver_worker.model_runner
    runner.reload_weights(weights_iterator=self._iter_named_params())
    self.llm.reset_prefix_cache()


def _one_engine(llm: Any) -> Callable[..., Any]:
    """Starts the engine once per process, whatever the number of trainers; on a CPU eager, because graphs that are compiled
    there hold the packed weights of before a reload."""
    started: list[Any] = []

    def engine(**kwargs: Any) -> Any:
        if not started:
            started.append(llm(**kwargs) if ON_GPU else llm(**kwargs, enforce_eager=True))
        return started[0]

    return engine


def _arguments(case: Case) -> dict[str, Any]:
    """What both trainers get."""
    return {
        "max_steps": case.warm_up + case.steps,
        "per_device_train_batch_size": case.batch,
        "gradient_accumulation_steps": case.prompts * GROUP // case.batch,
        "num_generations": GROUP,
        "max_completion_length": case.max_tokens,
        "learning_rate": case.learning_rate,
        "lr_scheduler_type": "constant",
        "bf16": not prefers_float32(),
        "gradient_checkpointing": False,
        "shuffle_dataset": False,
        "save_strategy": "no",
        "logging_steps": 1,
    }


def _recipe(job: Job, case: Case, folder: Path) -> dict[str, Any]:
    here = Path(__file__).parent / "digits.py"
    arguments = _arguments(case)
    options = {"ask": case.ask, "half_idle": case.half_idle}
    cpu_engine = {
        "enforce_eager": True,
        "kv_cache_memory_bytes": KV_CACHE_MIB << 20,
        "block_size": 32,  # prompts shorter than vLLM's 128 are shared within a group too
    }
    return {
        "run": {"dir": str(folder / "run"), "seed": job.seed},
        "model": {"source": job.model},
        "data": {"train": {"source": f"{here}:rows", "size": _num_rows(case), "seed": job.seed, "options": options}},
        "rewards": {case.reward: {"use": f"{here}:{case.reward}"}},
        "scoring": {"audit": False, "num_workers": 1},
        "lora": LORA,
        "grpo": arguments,
        "vllm": {
            "max_model_len": case.context,
            "max_num_seqs": case.prompts * GROUP,
            "max_num_batched_tokens": 4096,  # as TRL sets it
            **({"gpu_memory_utilization": GPU_SHARE} if ON_GPU else cpu_engine),
        },
        "stages": [{"name": "grpo", "kind": "grpo"}],
    }


def _num_rows(case: Case) -> int:
    """Every prompt once where prompts are remembered, else one for each place in a step."""
    return digits.NUM_TRAINED if case.reward == "correct" else case.prompts * (case.warm_up + case.steps)


def _held_out_accuracy(trainer: Any, case: Case, goal: Goal) -> float:
    """Mean of `samples` completions at temperature 1 for every held-out problem, by the engine with the present weights."""
    from vllm import SamplingParams

    rows = list(digits.rows(size=digits.NUM_HELD_OUT, seed=0, ask=case.ask, held_out=True))
    tokenizer = trainer.processing_class
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": row["prompt"]}], add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"]
        for row in rows
    ]
    trainer.vllm_generation.sync_weights()
    generation = trainer.vllm_generation
    llm = getattr(generation, "engine", generation).llm
    outputs = llm.generate(
        [{"prompt_token_ids": ids} for ids in prompts],
        sampling_params=SamplingParams(n=goal.samples, temperature=1.0, max_tokens=case.max_tokens),
        use_tqdm=False,
    )
    marks = [
        digits.is_correct(completion.text, row["answer"])
        for row, output in zip(rows, outputs, strict=True)
        for completion in output.outputs
    ]
    return sum(marks) / len(marks)


def _add_to_trainers(make: Callable[[Any], TrainerCallback]) -> None:
    """Every trainer that trains from now on gets the callback that `make` gives."""
    original = getattr(Trainer.train, "__wrapped__", Trainer.train)

    def train(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        trainer.add_callback(make(trainer))
        return original(trainer, *args, **kwargs)

    train.__wrapped__ = original  # pyright: ignore[reportFunctionMemberAccess]
    Trainer.train = train  # pyright: ignore[reportAttributeAccessIssue]


def _release_memory() -> None:
    """Gives freed memory back, so that one case does not stand in the peak of the next."""
    gc.collect()
    libraries = ctypes.CDLL(None)
    libraries.malloc_trim(0)
    if hasattr(libraries, "scalable_allocation_command"):  # oneTBB's allocator is in place
        libraries.scalable_allocation_command(_TBB_CLEAN_ALL_BUFFERS, None)


if __name__ == "__main__":
    allocator.restart()
    run(Job.load(Path(sys.argv[1])))
