"""The stage kinds: what each does with the policy that it is handed.

A stage reads a policy folder and leaves a result; training stages leave a new policy folder. Order, resumption of whole
stages and the summary belong to `train`.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer
from transformers.trainer_callback import PrinterCallback
from trl.distributed import DistributedBackend

from reasoning_rl.api import Sample
from reasoning_rl.data import Row
from reasoning_rl.evals.intervals import accuracy
from reasoning_rl.processes import processes
from reasoning_rl.progress import StageProgress
from reasoning_rl.recipe import Recipe, Stage
from reasoning_rl.run_dir import RunDir, StageDir, append_jsonl, write_json
from reasoning_rl.scoring import ScoredSample
from reasoning_rl.trl_bridge.args import grpo_config, lora_config, sft_config
from reasoning_rl.trl_bridge.callbacks import KeepFirstSteps, Metrics, NothingLeft, SaveOnInterrupt, StopBeforeFirst
from reasoning_rl.trl_bridge.carrying import CarryingTrainer
from reasoning_rl.trl_bridge.choosing import ChoosingTrainer
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.lm_head import use_cpu_lm_head
from reasoning_rl.trl_bridge.policy import completion_reader, load_policy, save_policy
from reasoning_rl.trl_bridge.preflight import tokenize
from reasoning_rl.trl_bridge.reward_func import CombinedReward, Scorer, ledger_row
from reasoning_rl.trl_bridge.sft import PackedSFTTrainer
from reasoning_rl.trl_bridge.threads import LookEachStep, idle_threads
from reasoning_rl.trl_bridge.throughput import peak_tflops
from reasoning_rl.trl_bridge.trainer import ReasoningTrainer
from reasoning_rl.trl_bridge.weights import adapter_tensors, merged_tensors, unwrapped


class Interrupted(Exception):  # noqa: N818 - not an error
    """The stage was stopped by the user and has saved what it had."""


@dataclass(frozen=True)
class StageInput:
    """What every stage gets.

    `policy` is the folder (or hub id) to start from; `engine` gives the run's engine, started on first use.
    """

    recipe: Recipe
    stage: Stage
    run_dir: RunDir
    rows: Sequence[Row]
    rewards: Scorer
    tokenizer: PreTrainedTokenizerBase
    policy: str
    engine: Callable[[str], Engine]

    @property
    def folder(self) -> StageDir:
        return self.run_dir.stage(self.recipe, self.stage)

    @property
    def is_main(self) -> bool:
        return PartialState().is_main_process

    def combined_reward(self) -> CombinedReward:
        reader = completion_reader(self.policy, self.tokenizer, self.recipe.prompt.thinking)
        return CombinedReward(self.rewards, reader, self.recipe.scoring)


def run_sft(given: StageInput) -> dict[str, Any]:
    """Supervised fine-tuning on the completions of the rows; loss on the completion only (TRL's default)."""
    use_cpu_lm_head()
    dataset = Dataset.from_list(
        [{"prompt": row.prompt, "completion": [{"role": "assistant", "content": row.completion}]} for row in given.rows]
    )
    args = sft_config(
        given.recipe, given.stage, given.folder.checkpoints
    )  # first: it tells ZeRO-3 how to load the policy
    trainer = PackedSFTTrainer(
        savings=given.recipe.savings,
        model=load_policy(given.policy, given.recipe.model),
        args=args,
        train_dataset=dataset,
        processing_class=given.tokenizer,
        peft_config=lora_config(given.recipe, given.stage),
    )
    return _train(given, trainer)


def run_grpo(given: StageInput) -> dict[str, Any]:
    """Reinforcement learning with group-relative advantages."""
    use_cpu_lm_head()
    dataset = Dataset.from_list(
        [{"prompt": row.prompt, "row": json.dumps(row.columns), "row_id": row.row_id} for row in given.rows]
    )

    def write(rows: list[dict[str, Any]]) -> None:
        append_jsonl(given.run_dir.rollouts, [{"stage": given.stage.name, **row} for row in rows])

    engine = given.engine(given.policy)
    args = grpo_config(
        given.recipe, given.stage, given.folder.checkpoints
    )  # first: it tells ZeRO-3 how to load the policy
    trainer = _make_trainer(given.recipe)(
        engine=engine,
        reward=given.combined_reward(),
        on_rollouts=write,
        savings=given.recipe.savings,
        model=load_policy(given.policy, given.recipe.model),
        args=args,
        train_dataset=dataset,
        processing_class=given.tokenizer,
        peft_config=lora_config(given.recipe, given.stage),
    )
    return _train(given, trainer)


def _make_trainer(recipe: Recipe) -> Callable[..., ReasoningTrainer]:
    sampling = recipe.sampling
    choosing = {"sampling": sampling, "accuracy": recipe.accuracy_reward}
    if sampling.extra_groups:
        return partial(CarryingTrainer, **choosing)
    if sampling.refill_rounds or sampling.curriculum or sampling.staleness:
        return partial(ChoosingTrainer, **choosing)
    return ReasoningTrainer


def run_eval(given: StageInput) -> dict[str, Any]:
    """Samples every problem and reports accuracy with its interval, and the mean of every reward."""
    settings, max_tokens = given.recipe.eval, given.recipe.eval_max_completion_length
    assert settings is not None and max_tokens is not None
    engine = given.engine(given.policy)
    combined = given.combined_reward()
    state = PartialState()
    mine = list(given.rows)[state.process_index :: state.num_processes]
    prompts = tokenize(given.tokenizer, mine)

    def sample(position: int, token_ids: list[int]) -> Sample:
        row = mine[position // settings.num_samples]
        return combined.reader.read(row.prompt, token_ids, dict(row.columns), row.row_id)

    def finished(position: int, token_ids: list[int]) -> None:
        nonlocal num_tokens
        if combined.early and engine.can_stream:
            combined.early.start(position, sample(position, token_ids))
        num_tokens += len(token_ids)
        bar.advance(1, {"tok/s": f"{num_tokens / (time.perf_counter() - started_at):.0f}"})

    started_at, num_tokens = time.perf_counter(), 0
    with StageProgress(given.stage.name, len(mine) * settings.num_samples, "completions", enabled=given.is_main) as bar:
        groups = engine.generate(
            prompts,
            num_samples=settings.num_samples,
            max_tokens=max_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            on_finished=finished,
        )
    completions = [completion for group in groups for completion in group]
    samples = [sample(position, completion.token_ids) for position, completion in enumerate(completions)]
    local = combined.score(samples)
    scored = gather_object(list(zip(samples, local, strict=True)))
    if given.is_main:
        given.folder.completions.unlink(missing_ok=True)
        append_jsonl(given.folder.completions, [{"stage": given.stage.name, **ledger_row(*item)} for item in scored])
    return _summary(scored, settings.accuracy)


def last_checkpoint(folder: StageDir) -> Path | None:
    """The newest complete checkpoint of a stage."""
    complete = [path.parent for path in folder.checkpoints.glob("checkpoint-*/trainer_state.json")]
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _train(given: StageInput, trainer: Trainer) -> dict[str, Any]:
    checkpoint = last_checkpoint(given.folder)
    resumed_at = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    if given.is_main:
        given.run_dir.forget_after(given.stage.name, resumed_at)
        write_json(given.folder.processes, asdict(processes(given.recipe.launch)))
    trainer.remove_callback(PrinterCallback)
    accuracy_name = given.recipe.eval.accuracy if given.recipe.eval else None
    total = trainer.args.max_steps if trainer.args.max_steps > 0 else _num_steps(trainer)
    with StageProgress(given.stage.name, total, "steps", enabled=given.is_main) as bar, SaveOnInterrupt() as interrupt:
        peak = peak_tflops(given.recipe.run.peak_tflops)
        peak = None if peak is None else peak * PartialState().num_processes
        metrics = Metrics(given.run_dir, given.stage.name, given.stage.kind, bar, accuracy_name, peak)
        trainer.callback_handler.callbacks.insert(0, metrics)  # before the trackers, so that they report what it adds
        if isinstance(trainer, ReasoningTrainer) and trainer.stream:
            trainer.stream.on_sampled = metrics.on_sampled
        trainer.add_callback(interrupt)
        trainer.add_callback(StopBeforeFirst())
        trainer.add_callback(KeepFirstSteps())
        if threads := idle_threads():
            trainer.add_callback(LookEachStep(threads))
        with contextlib.suppress(NothingLeft):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if interrupt.stopped:
        raise Interrupted
    _hand_on(given, trainer)
    return {"steps": trainer.state.global_step, "resumed_at": resumed_at}


def _num_steps(trainer: Trainer) -> int:
    return int(trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())[-1])


def _hand_on(given: StageInput, trainer: Trainer) -> None:
    """Writes the merged policy (and the adapter alone) for the next stage."""
    assert trainer.model is not None
    model: PreTrainedModel | PeftModel = trainer.accelerator.unwrap_model(trainer.model)  # pyright: ignore
    backend = DistributedBackend(trainer.accelerator)
    tensors = _on_main(given, merged_tensors(model, backend))
    adapter = _on_main(given, adapter_tensors(model, backend))
    if given.is_main:
        save_policy(given.folder.model, tensors, unwrapped(model), given.tokenizer)
        if adapter:
            model.save_pretrained(str(given.folder.adapter), state_dict=adapter)
    PartialState().wait_for_everyone()


def _on_main(given: StageInput, tensors: Iterator[tuple[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Copies in main memory on the main process, nothing on the others, which take part in the gathering."""
    return {name: tensor.to("cpu", copy=True) for name, tensor in tensors if given.is_main}


def _summary(scored: Sequence[tuple[Any, ScoredSample]], accuracy_name: str) -> dict[str, Any]:
    problems: dict[str, list[float]] = {}
    for sample, item in scored:
        value = item.scores[accuracy_name].value
        if value is not None:
            problems.setdefault(sample.row_id, []).append(value)
    result = accuracy(list(problems.values()))
    rewards = {}
    for name in scored[0][1].scores:
        values = [value for _, item in scored if (value := item.scores[name].value) is not None]
        rewards[name] = sum(values) / len(values) if values else None
    return {
        "accuracy": result.value,
        "ci95": [result.low, result.high],
        "num_problems": result.num_problems,
        "num_samples": result.num_samples,
        "not_scored": len(scored) - result.num_samples,
        "truncated": sum(sample.completion.truncated for sample, _ in scored) / len(scored),
        "mean_length": sum(sample.completion.num_tokens for sample, _ in scored) / len(scored),
        "rewards": rewards,
    }


RUNNERS: dict[str, Callable[[StageInput], dict[str, Any]]] = {"sft": run_sft, "grpo": run_grpo, "eval": run_eval}
