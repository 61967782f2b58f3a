"""Groups under way: begun, not trained on yet, carried from step to step until all of their completions are finished.

Says when a step has enough of them and which ones it trains on. Sampling is `generation`, scoring and training `carrying`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Steps for which a group may be carried over. In the step after the last of them sampling goes on until it is complete.
MAX_CARRIED = 2


@dataclass(slots=True)
class Draft:
    """A completion that is sampled in one step or over several. `number` is its own; `policies` has, for each token, the number
    of the optimizer step whose weights sampled it."""

    number: int
    prompt_ids: list[int]
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    policies: list[int] = field(default_factory=list)
    is_finished: bool = False

    def add(self, token_ids: Sequence[int], logprobs: Sequence[float], policy: int) -> None:
        """Tokens that were sampled, each with its log-prob under the policy that sampled it."""
        self.token_ids += token_ids
        self.logprobs += logprobs
        self.policies += [policy] * len(token_ids)

    @property
    def is_continued(self) -> bool:
        """Whether it took more than one policy."""
        return len(set(self.policies)) > 1


@dataclass(frozen=True, slots=True)
class Begun:
    """A group under way; `prompt` is its position in the data set, `step` the one in which it was begun."""

    prompt: int
    step: int
    drafts: Sequence[Draft]

    @property
    def is_complete(self) -> bool:
        return all(draft.is_finished for draft in self.drafts)


class UnderWay:
    """The groups under way, in the order in which their prompts were chosen.

    With at most as many extra groups as a step trains on, no group is trained on more than `MAX_CARRIED` steps after it was
    begun: those that have to be complete then are the first of all, and not more than a step takes.

    Args:
        num_trained: groups that a step trains on.
        num_extra: groups kept under way on top of them.
    """

    def __init__(self, num_trained: int, num_extra: int) -> None:
        assert 0 <= num_extra <= num_trained
        self.num_trained, self.num_extra = num_trained, num_extra
        self.groups: list[Begun] = []
        self._numbers = itertools.count()

    @property
    def prompts(self) -> list[int]:
        return [group.prompt for group in self.groups]

    @property
    def num_missing(self) -> int:
        """Groups that are to be begun."""
        return self.num_trained + self.num_extra - len(self.groups)

    def begin(self, prompt: int, prompt_ids: Sequence[list[int]], step: int) -> None:
        """Begins a group; `prompt_ids` are the tokens of its prompt, once for each completion."""
        self.groups.append(Begun(prompt, step, [Draft(next(self._numbers), ids) for ids in prompt_ids]))

    def unfinished(self) -> list[Draft]:
        """The completions that are not finished, those of the oldest groups first."""
        return [draft for group in self.groups for draft in group.drafts if not draft.is_finished]

    def has_enough(self, step: int) -> bool:
        """Whether sampling may stop: a batch is complete, and so is everything that was carried over for `MAX_CARRIED` steps."""
        complete = [group for group in self.groups if group.is_complete]
        late = [group for group in self.groups if step - group.step >= MAX_CARRIED]
        return len(complete) >= self.num_trained and all(group.is_complete for group in late)

    def take(self) -> list[Begun]:
        """The groups to train on: of those that are complete, the ones whose prompts were chosen first. The others stay."""
        taken = [group for group in self.groups if group.is_complete][: self.num_trained]
        assert len(taken) == self.num_trained
        self.groups = [group for group in self.groups if all(group is not other for other in taken)]
        return taken

    def clear(self) -> int:
        """Forgets all groups; returns how many there were."""
        cleared, self.groups = len(self.groups), []
        return cleared


def mean_age(groups: Sequence[Begun], step: int) -> float:
    """Optimizer steps from the policy that sampled a token to that of `step`, mean over the tokens of the groups."""
    ages = [step - policy for group in groups for draft in group.drafts for policy in draft.policies]
    return sum(ages) / len(ages)
