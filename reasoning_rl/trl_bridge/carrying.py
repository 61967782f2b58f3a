"""`CarryingTrainer`: the trainer of runs that keep more groups under way than a step trains on (recipe:
`sampling.extra_groups`; docs/adr/0010-carry-over.md).

Sampling stops when a batch of groups is complete. Nothing is dropped for it: what is begun goes on in the next step, by the
weights of then. `carry` says when and which; TRL's step on the chosen groups is that of `choosing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from trl import GRPOConfig

from reasoning_rl.errors import EngineError
from reasoning_rl.recipe import Sampling
from reasoning_rl.trl_bridge.carry import Begun, Draft, UnderWay, mean_age
from reasoning_rl.trl_bridge.choosing import ChoosingTrainer
from reasoning_rl.trl_bridge.generation import Continuing
from reasoning_rl.trl_bridge.refill import Group


class CarryingTrainer(ChoosingTrainer):
    """GRPO with groups that are carried over, and with a curriculum if the recipe has one; in one process.

    Args:
        sampling: the recipe's section.
        **kwargs: those of `ChoosingTrainer`.

    Raises:
        DataError: there are fewer prompts than are under way at once.
        EngineError: the engine's requests cannot be followed one by one.
    """

    def __init__(self, *, sampling: Sampling, args: GRPOConfig, **kwargs: Any) -> None:
        super().__init__(sampling=sampling, args=args, **kwargs)
        assert self.accelerator.num_processes == 1 and not sampling.staleness and not sampling.refill_rounds
        if not self.vllm_generation.engine.can_stream:
            raise EngineError(
                "sampling.extra_groups: found an engine that several processes step together; set it to 0"
            )
        self.under_way = UnderWay(self._num_groups, sampling.extra_groups)
        self._again: list[int] = []  # prompts that were under way when the checkpoint was saved
        self._complete: list[Begun] = []

    def train(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().train(*args, **kwargs)
        finally:  # an error and Ctrl-C included
            self.account.add(discarded=self.under_way.clear())

    def _choose(self) -> tuple[list[Group], list[Group]]:
        """Samples until a batch of groups is complete; these groups, scored."""
        step = self.state.global_step
        num_begun = self._begin_groups(step)
        if not self.under_way.has_enough(step):
            self._sample(step)
        self._complete = self.under_way.take()
        if self.reward.early:
            self.reward.early.expect([draft.number for group in self._complete for draft in group.drafts])
        groups = self._sample_and_score([group.prompt for group in self._complete], None)
        for group in groups:
            self.order.visit(group.prompt, *group.outcome(self.accuracy))
        self.account.add(trained=len(groups))
        self._log_choice(
            {
                "prompts/sampled": num_begun,
                "sampling/staleness": mean_age(self._complete, step),
                "sampling/continued": sum(draft.is_continued for group in self._complete for draft in group.drafts),
                "sampling/carried_over": len(self.under_way.groups),
            }
        )
        return groups, []

    def _begin_groups(self, step: int) -> int:
        """Begins the groups that are missing, and returns how many; what a resumed run had under way comes first."""
        again, self._again = self._again, []
        # In the order of the data a prompt may be under way twice where one epoch ends and the next begins, as two groups.
        self.order.begin([*self.under_way.prompts, *again])
        prompts = [*again, *self.order.take(self.under_way.num_missing - len(again))]
        prompt_ids, *_ = self._tokenize_prompts([row["prompt"] for row in self._rows(prompts)])
        size = self._group_size
        for i, prompt in enumerate(prompts):
            self.under_way.begin(prompt, prompt_ids[i * size : (i + 1) * size], step)
        return len(prompts)

    def _sample(self, step: int) -> None:
        """Goes on with what is not finished, with the weights of this step, as far as this step needs it."""
        drafts = self.under_way.unfinished()
        if self.stream:
            rows = [(draft, row) for group in self.under_way.groups for draft, row in self._with_rows(group)]
            self.stream.expect({draft.number: row for draft, row in rows if not draft.is_finished})
        self.vllm_generation.continuing = Continuing(
            self.vllm_generation.engine,
            drafts,
            policy=step,
            has_enough=partial(self.under_way.has_enough, step),
            on_finished=self._grade,
        )
        super()._generate_single_turn(
            [draft.prompt_ids + draft.token_ids for draft in drafts], None, {}, self._group_size
        )

    def _with_rows(self, group: Begun) -> list[tuple[Draft, dict[str, Any]]]:
        return list(zip(group.drafts, self._rows([group.prompt]), strict=True))

    def _grade(self, draft: Draft) -> None:
        """Starts grading a finished completion, whichever step will train on it."""
        if self.stream:
            self.stream.hand_on(draft.number, draft.token_ids)

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, multimodal_fields: Any, num_generations: Any, has_tool_images: bool = False
    ) -> tuple[list[list[int]], list[list[float]]]:
        """What TRL takes for sampling: it finds the completions of the groups that are complete."""
        drafts = [draft for group in self._complete for draft in group.drafts]
        assert [draft.prompt_ids for draft in drafts] == prompt_ids
        return [draft.token_ids for draft in drafts], [draft.logprobs for draft in drafts]

    # --- checkpoints ---

    def state_of_prompts(self) -> dict[str, Any]:
        """Where the choice of prompts is. Rollouts under way are not saved: who resumes begins them again, so that there they
        count as discarded."""
        account = replace(self.account)
        account.add(discarded=len(self.under_way.groups))
        return {**super().state_of_prompts(), "account": asdict(account), "under_way": self.under_way.prompts}

    def load_state_of_prompts(self, state: Mapping[str, Any]) -> None:
        super().load_state_of_prompts(state)
        self._again = list(state["under_way"])
