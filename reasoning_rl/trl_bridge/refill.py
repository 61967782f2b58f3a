"""Which prompts are sampled and which of their groups make a batch: DAPO's dynamic sampling (arXiv 2503.14476).

Decides and counts; sampling, scoring and the update stay with `trainer` and TRL, which trains on the chosen groups as on
any batch. With every group mixed the batch is the one that TRL would have made.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Protocol

from trl.trainer.utils import RepeatSampler

from reasoning_rl.api import Sample
from reasoning_rl.curriculum import refuse_other_data
from reasoning_rl.errors import DataError
from reasoning_rl.scoring import FULL, ScoredSample

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion, sampled and scored; everything that TRL's step needs of it."""

    prompt_ids: list[int]
    completion_ids: list[int]
    logprobs: list[float]
    completion: Any
    sample: Sample
    scored: ScoredSample
    policy: int = 0  # number of the optimizer step whose weights sampled it; of carried-over ones see `carry.Draft`


@dataclass(frozen=True, slots=True)
class Group:
    """The completions of one prompt; `prompt` is its position in the data set."""

    prompt: int
    rollouts: Sequence[Rollout]

    @property
    def is_mixed(self) -> bool:
        """Whether the totals differ, so that the group has a gradient; those that could not be scored count not."""
        return len({item.scored.total for item in self.rollouts if item.scored.total is not None}) > 1

    def outcome(self, reward: str | None) -> tuple[int, int]:
        """Completions that pass a reward (score 1 or more) and those that it scored; none without a reward."""
        values = [item.scored.scores[reward].value for item in self.rollouts] if reward else []
        scored = [value for value in values if value is not None]
        return sum(value >= FULL for value in scored), len(scored)


class PromptOrder(Protocol):
    """Says which prompts come next. A batch begins with `begin`, which hears what is under way from before, and takes one or
    several times."""

    def begin(self, under_way: Sequence[int] = ()) -> None: ...
    def take(self, count: int) -> list[int]: ...
    def visit(self, prompt: int, passed: int, scored: int) -> None: ...
    def metrics(self) -> dict[str, float]: ...
    def state(self) -> dict[str, Any]: ...
    def load(self, state: Mapping[str, Any]) -> None: ...


class DataOrder:
    """The order of TRL's sampler, epoch after epoch; a batch that takes more than TRL's shifts what follows.

    Args:
        num_prompts: size of the data set.
        batch: prompts of a batch without refill; TRL leaves out what does not fill one at the end of an epoch.
        shuffle: as TRL's `shuffle_dataset`.
        seed: as TRL's.
    """

    def __init__(self, num_prompts: int, batch: int, *, shuffle: bool, seed: int) -> None:
        self.num_prompts, self.batch, self.shuffle, self.seed = num_prompts, batch, shuffle, seed
        self._taken = 0
        self._prompts = self._endless()

    def begin(self, under_way: Sequence[int] = ()) -> None:
        """Nothing to do."""

    def take(self, count: int) -> list[int]:
        """The next prompts."""
        self._taken += count
        return list(islice(self._prompts, count))

    def visit(self, prompt: int, passed: int, scored: int) -> None:
        """Outcomes change nothing here."""

    def metrics(self) -> dict[str, float]:
        """None of its own."""
        return {}

    def state(self) -> dict[str, Any]:
        """How far it is."""
        return {"num_prompts": self.num_prompts, "taken": self._taken}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes to where a state was.

        Raises:
            DataError: it is of another data set.
        """
        refuse_other_data(state, self.num_prompts)
        self._taken = state["taken"]
        self._prompts = islice(self._endless(), self._taken, None)

    def _endless(self) -> Iterator[int]:
        sampler = RepeatSampler(
            range(self.num_prompts), mini_repeat_count=1, batch_size=self.batch, shuffle=self.shuffle, seed=self.seed
        )
        while True:
            yield from sampler


@dataclass(slots=True)
class Account:
    """Prompts since the beginning of the stage: `sampled = trained + dropped + discarded`. Dropped are groups that were not
    chosen; discarded those of batches sampled ahead that were too old when their turn came, and those that were under way when
    training ended. A group counts once it is trained on, dropped or discarded."""

    sampled: int = 0
    trained: int = 0
    dropped: int = 0
    discarded: int = 0

    def add(self, trained: int = 0, dropped: int = 0, discarded: int = 0) -> None:
        """Counts the groups of a batch."""
        self.sampled += trained + dropped + discarded
        self.trained += trained
        self.dropped += dropped
        self.discarded += discarded

    def metrics(self) -> dict[str, float]:
        """The counts."""
        return {f"prompts/total_{name}": value for name, value in asdict(self).items()}


class Batch:
    """Groups that come in round by round, until enough of them are mixed.

    Args:
        size: groups to train on.
        multiple: what the prompts of a round must be a multiple of, so that all processes get as many completions.
    """

    def __init__(self, size: int, multiple: int = 1) -> None:
        self.size, self.multiple = size, multiple
        self.groups: list[Group] = []

    @property
    def num_mixed(self) -> int:
        return sum(group.is_mixed for group in self.groups)

    @property
    def is_full(self) -> bool:
        return self.num_mixed >= self.size

    def num_next(self) -> int:
        """Prompts of the next round: as many as will fill the batch if their groups are mixed as often as those so far, at
        most a batch."""
        if not self.groups:
            return self.size
        missing, mixed = self.size - self.num_mixed, self.num_mixed
        wanted = min(self.size, math.ceil(missing * len(self.groups) / mixed)) if mixed else self.size
        return math.ceil(wanted / self.multiple) * self.multiple

    def split(self) -> tuple[list[Group], list[Group]]:
        """The groups to train on and those to drop, each in the order in which they came. The first mixed ones are trained
        on; where they are too few, the first of the others fill up."""
        mixed = [group for group in self.groups if group.is_mixed]
        others = [group for group in self.groups if not group.is_mixed]
        chosen = mixed[: self.size]
        fillers = others[: self.size - len(chosen)]
        return chosen + fillers, mixed[self.size :] + others[len(fillers) :]


def refuse_too_few(num_prompts: int, batch: int) -> None:
    """Raises:
    DataError: there are fewer prompts than a batch has groups.
    """
    if num_prompts < batch:
        raise DataError(f"a batch needs {batch} prompts, the data set has {num_prompts}; add rows or lower the batch")


def log_cap(step: int, batch: Batch, rounds: int) -> None:
    """Says that the rounds did not suffice."""
    logger.warning(
        "step %d: %d of %d groups are mixed after %d rounds (%d prompts); training on these. If this is frequent, raise "
        "sampling.refill_rounds, or choose prompts that are neither solved nor hopeless (reasoning-rl difficulty)",
        step, batch.num_mixed, batch.size, rounds, len(batch.groups),
    )  # fmt: skip
