"""`ChoosingTrainer`: the trainer of runs that choose their prompts, drop groups without variance, or sample one step ahead
(recipe: `sampling`).

It samples and scores before TRL's step does, keeps the groups to train on, and lets TRL's step find their completions and
scores where it would have sampled and scored. So everything from the advantages on is TRL's, on a batch of the usual size.
`refill` decides, `curriculum` remembers. Ahead of a step only the engine works; all else waits for the step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from dataclasses import asdict, dataclass
from typing import Any

import torch
from accelerate.utils import gather_object
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import GRPOConfig

from reasoning_rl.curriculum import PassRates
from reasoning_rl.errors import EngineError
from reasoning_rl.recipe import Sampling
from reasoning_rl.trl_bridge.refill import (
    Account,
    Batch,
    DataOrder,
    Group,
    PromptOrder,
    Rollout,
    log_cap,
    refuse_too_few,
)
from reasoning_rl.trl_bridge.reward_func import ledger_row
from reasoning_rl.trl_bridge.trainer import ReasoningTrainer

#: Where a checkpoint's `trainer_state.json` holds the state, below `stateful_callbacks`.
STATE_KEY = "reasoning_rl.prompts"


@dataclass(frozen=True, slots=True)
class Ahead:
    """A batch that is sampled ahead: its prompts, the number of the step whose weights sample it, and where the choice of
    prompts was before."""

    prompts: list[int]
    policy: int
    before: Mapping[str, Any]


class ChoosingTrainer(ReasoningTrainer):
    """GRPO with refill, curriculum or sampling one step ahead.

    The batches of TRL's data loader only count the steps; an epoch is so many steps, not a pass over the data.

    Args:
        sampling: the recipe's section.
        accuracy: the reward that a curriculum takes for right and wrong.
        **kwargs: those of `ReasoningTrainer`.

    Raises:
        DataError: there are fewer prompts than a batch needs.
        EngineError: the engine cannot sample ahead.
    """

    def __init__(self, *, sampling: Sampling, accuracy: str | None, args: GRPOConfig, **kwargs: Any) -> None:
        super().__init__(args=args, **kwargs)
        self.sampling, self.accuracy = sampling, accuracy
        self.account = Account()
        self._group_size = self.num_generations or 1
        self._num_groups = (args.generation_batch_size or 1) // self._group_size
        self.order = self._make_order(args)
        self._trained: list[Group] | None = None  # what TRL's step finds instead of sampling
        self._dropped: list[Group] = []
        self._before_batch: dict[str, Any] = {}
        self._ahead: Ahead | None = None
        if sampling.staleness:
            if not self.vllm_generation.engine.can_stream:
                raise EngineError(
                    "sampling.staleness: found an engine that several processes step together; set it to 0"
                )
            self.vllm_generation.seconds["sampling"] = 0.0
        self.add_callback(_TakeUpState(self))

    def _make_order(self, args: GRPOConfig) -> PromptOrder:
        assert isinstance(self.train_dataset, Sized)
        num_prompts = len(self.train_dataset)
        refuse_too_few(num_prompts, self._num_groups + self.sampling.extra_groups)
        if self.sampling.curriculum:
            return PassRates(num_prompts, self.sampling.curriculum, args.seed)
        return DataOrder(num_prompts, self._num_groups, shuffle=bool(self.shuffle_dataset), seed=args.seed)

    # --- the step ---

    def train(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().train(*args, **kwargs)
        finally:  # an error and Ctrl-C included
            self._discard_ahead()

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        # Only now: TRL's shuffle has drawn its random numbers, so that these come in the same order as without.
        if self.sampling.staleness and self._buffered_inputs is not before:
            self._sample_ahead()
        return inputs

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        assert len(inputs) * self.accelerator.num_processes == self._num_groups * self._group_size
        self._discard_too_old()
        self._before_batch = dict(self._ahead.before) if self._ahead else self.state_of_prompts()
        self._trained, self._dropped = self._choose()
        try:
            return super()._generate_and_score_completions(
                self._mine(self._rows([group.prompt for group in self._trained]))
            )
        finally:
            self._trained, self._dropped = None, []

    def _choose(self) -> tuple[list[Group], list[Group]]:
        """Samples and scores until enough groups are mixed, or the rounds are used up; the groups to train on, and the
        others. All ranks know all groups and decide alike."""
        batch = Batch(self._num_groups, multiple=self.accelerator.num_processes)
        rounds = 0
        if self._ahead is None:
            self.order.begin()
        while not batch.is_full and rounds <= self.sampling.refill_rounds:
            ahead, self._ahead = self._ahead, None
            groups = self._sample_and_score(ahead.prompts if ahead else self.order.take(batch.num_next()), ahead)
            batch.groups += groups
            for group in groups:
                self.order.visit(group.prompt, *group.outcome(self.accuracy))
            rounds += 1
        trained, dropped = batch.split() if self.sampling.refill_rounds else (batch.groups, [])
        if self.sampling.refill_rounds and not batch.is_full and self.accelerator.is_main_process:
            log_cap(self.state.global_step + 1, batch, rounds)
        self.account.add(len(trained), len(dropped))
        figures: dict[str, float] = {"prompts/rounds": rounds, "prompts/sampled": len(batch.groups)}
        figures["prompts/dropped"] = len(dropped)
        if self.sampling.staleness:
            ages = [self.state.global_step - item.policy for group in trained for item in group.rollouts]
            figures["sampling/staleness"] = sum(ages) / len(ages)
        self._log_choice(figures)
        return trained, dropped

    def _log_choice(self, figures: Mapping[str, float]) -> None:
        for name, value in {**figures, **self.account.metrics(), **self.order.metrics()}.items():
            self._metrics["train"][name].append(value)

    def _sample_and_score(self, prompts: Sequence[int], ahead: Ahead | None) -> list[Group]:
        """A group for each prompt, of what was sampled `ahead` if anything was."""
        policy = ahead.policy if ahead else self.state.global_step
        rows = self._mine(self._rows(prompts))
        messages = [row["prompt"] for row in rows]
        if self.stream and not ahead:
            self.stream.expect(rows)
        prompt_ids, completion_ids, _, completions, logprobs, *_ = super()._generate(messages)
        super()._calculate_rewards(rows, messages, completions, completion_ids)
        samples, scored = zip(*self.reward.last, strict=True)
        columns = (prompt_ids, completion_ids, logprobs, completions, samples, scored)
        rollouts = gather_object([Rollout(*values, policy=policy) for values in zip(*columns, strict=True)])
        size = self._group_size
        return [Group(prompt, rollouts[i * size : (i + 1) * size]) for i, prompt in enumerate(prompts)]

    def _sample_ahead(self) -> None:
        """Starts sampling the prompts of the next step, if there is one, with the weights that this step found."""
        step = self.state.global_step
        if step + 1 >= self.state.max_steps:
            return
        assert self._ahead is None and self._last_loaded_step == step, "the engine holds the weights of this step"
        before = self.state_of_prompts()
        self.order.begin()
        prompts = self.order.take(self._num_groups)
        rows = self._mine(self._rows(prompts))
        if self.stream:
            self.stream.expect(rows)
        prompt_ids, *_ = self._tokenize_prompts([row["prompt"] for row in rows])
        self.vllm_generation.begin(prompt_ids, self._group_size)
        self._ahead = Ahead(prompts, step, before)

    def _discard_too_old(self) -> None:
        """Waits for what is sampled ahead, and discards it unless its policy is that of the step before."""
        if self._ahead is None:
            return
        if 0 <= self.state.global_step - self._ahead.policy <= self.sampling.staleness:
            # To the end, before TRL's step takes the tokenizer, which grading uses while completions come in.
            self.vllm_generation.seconds["rollout"] += self.vllm_generation.wait()
        else:
            self._discard_ahead()

    def _discard_ahead(self) -> None:
        """Throws away what is sampled ahead; its prompts will be sampled again."""
        self.vllm_generation.drop()
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            self.order.load(ahead.before["order"])
            self.account.add(discarded=len(ahead.prompts))

    def _rows(self, prompts: Sequence[int]) -> list[dict[str, Any]]:
        assert self.train_dataset is not None
        return [self.train_dataset[prompt] for prompt in prompts for _ in range(self._group_size)]  # pyright: ignore

    def _mine(self, everybodys: list[Any]) -> list[Any]:
        """This rank's part of what belongs to the completions of all ranks; groups may lie across ranks."""
        share = len(everybodys) // self.accelerator.num_processes
        return everybodys[self.accelerator.process_index * share :][:share]

    # --- what TRL's step finds ---

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        assert self._trained is not None
        mine: list[Rollout] = self._mine([item for group in self._trained for item in group.rollouts])
        assert [item.sample.prompt for item in mine] == prompts
        return (
            [item.prompt_ids for item in mine],
            [item.completion_ids for item in mine],
            None,
            [item.completion for item in mine],
            [item.logprobs for item in mine],
            {},
            None,
            [],
        )

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> torch.Tensor:
        assert self._trained is not None
        everybodys = [item for group in self._trained for item in group.rollouts]
        self.reward.last = [(item.sample, item.scored) for item in self._mine(everybodys)]
        totals = [math.nan if item.scored.total is None else item.scored.total for item in everybodys]
        return torch.tensor(totals, dtype=torch.float32, device=self.accelerator.device)[:, None]  # (N of all ranks, 1)

    def _record(self, advantages: list[float]) -> None:
        super()._record(advantages)
        if self.accelerator.is_main_process and self._dropped:
            step = {"step": self.state.global_step, "advantage": 0.0, "dropped": True}
            dropped = [item for group in self._dropped for item in group.rollouts]
            self.on_rollouts([{**ledger_row(item.sample, item.scored), **step} for item in dropped])

    # --- checkpoints ---

    def state_of_prompts(self) -> dict[str, Any]:
        """Where the choice of prompts is, as JSON can hold it."""
        return {"order": self.order.state(), "account": asdict(self.account)}

    def load_state_of_prompts(self, state: Mapping[str, Any]) -> None:
        """Goes back there.

        Raises:
            DataError: it is of another data set.
        """
        self.order.load(state["order"])
        self.account = Account(**state["account"])

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        assert isinstance(self.args, GRPOConfig)
        # Rollouts are not saved; amid their batch, its prompts are sampled again.
        is_amid_batch = self._step % ((self.args.steps_per_generation or 1) * self.num_iterations)
        saved: Any = self.state.stateful_callbacks  # a mapping, once the trainer runs
        saved[STATE_KEY] = self._before_batch if is_amid_batch else self.state_of_prompts()
        if self._ahead is not None:
            # Who resumes samples it again, by the policy of then.
            account = Account(**self._ahead.before["account"])
            account.add(discarded=len(self._ahead.prompts))
            saved[STATE_KEY] = {**self._ahead.before, "account": asdict(account)}
            if not self.control.should_training_stop:
                self.vllm_generation.wait()  # so that the random numbers that are saved do not hang on who was faster
        super()._save_checkpoint(model, trial)


class _TakeUpState(TrainerCallback):
    """Hands the state of a checkpoint to the trainer that resumes from it. Lets no pass of the data loader begin, which draws a
    random number, while the engine draws some."""

    def __init__(self, trainer: ChoosingTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        saved: Any = state.stateful_callbacks
        if saved and STATE_KEY in saved:
            self.trainer.load_state_of_prompts(saved[STATE_KEY])

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.trainer.vllm_generation.wait()
