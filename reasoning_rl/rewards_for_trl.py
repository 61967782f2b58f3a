"""Rewards for people with their own `GRPOTrainer` script: one import, one callable, no recipe.

    from reasoning_rl.rewards_for_trl import reward_func
    trainer = GRPOTrainer(..., reward_funcs=reward_func("exact_answer"))

Imports neither torch nor TRL, and nothing of the trainer in this package, which masks, logs and audits more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from reasoning_rl.api import Message, Sample
from reasoning_rl.errors import DataError, RecipeError
from reasoning_rl.parsing import Reader
from reasoning_rl.plugins import resolve
from reasoning_rl.recipe import RewardUse, Thinking, reward_problems
from reasoning_rl.scoring import RewardSet, ScoredSample, WeightedReward, refuse_broken_grading, verdict_rates

_THINKING = Thinking()


def reward_func(
    rewards: str | Mapping[str, Mapping[str, Any]],
    *,
    options: Mapping[str, Any] | None = None,
    thinking: Thinking = _THINKING,
    eos_token_ids: Collection[int] = (),
    max_abstain_fraction: float = 0.5,
    name: str | None = None,
) -> RewardFunc:
    """A reward function as TRL calls it, for one reward or for several with weights.

    Args:
        rewards: one reward as in a recipe's `use` (a registered name, `module:Attr`, `file.py:Attr`), or the whole
            `rewards` section: `{"correct": {"use": "exact_answer"}, "format": {"use": "think_format", "weight": 0.1}}`.
            Give several here and not to TRL one by one: with several functions TRL counts the `None` of one as 0.
        options: the options of a single reward.
        thinking: tags around the reasoning.
        eos_token_ids: tokens that end a completion; one that ends on another is truncated. Without, none is.
        max_abstain_fraction: stop when more than this share of a call could not be scored through our own fault.
        name: what TRL logs it as; by default the single reward's name, else `total`.

    Raises:
        RewardPluginError: a reward cannot be found or built.
        RecipeError: the mapping is no `rewards` section.
    """
    reader = Reader(thinking, frozenset(eos_token_ids))
    if isinstance(rewards, str):
        label = name or rewards.rpartition(":")[2]
        return RewardFunc(
            RewardSet((WeightedReward(label, resolve(rewards, options), 1.0),)),
            reader,
            max_abstain_fraction,
            label,
        )
    if options is not None:
        raise RecipeError(["reward_func: options go with a single reward; give each of several its own"])
    uses = {key: _use(key, value) for key, value in rewards.items()}
    if not any(use.weight for use in uses.values()):
        raise RecipeError(
            ["reward_func: found no reward with a weight, so there is nothing to learn; give one a weight"]
        )
    if problems := reward_problems(uses):
        raise RecipeError([f"reward_func: {problem}" for problem in problems])
    return RewardFunc(RewardSet.from_uses(uses), reader, max_abstain_fraction, name or "total")


class RewardFunc:
    """What `reward_func` returns. `rewards` scores; `last` holds the samples and scores of the latest call."""

    def __init__(
        self,
        rewards: RewardSet,
        reader: Reader,
        max_abstain_fraction: float,
        name: str,
    ) -> None:
        self.__name__ = name
        self.rewards = rewards
        self.reader = reader
        self.max_abstain_fraction = max_abstain_fraction
        self.last: list[tuple[Sample, ScoredSample]] = []

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Totals in order for texts or conversations; `None`, which TRL leaves out of group and update, where we could not score.

        TRL passes the columns of the data set as keyword arguments, one list each. Without `completion_ids` a token is
        counted per word.

        Raises:
            DataError: a column that a reward requires is not in the data set.
            ScoringError: see `max_abstain_fraction`.
        """
        rows = _rows(columns, len(prompts))
        samples = [
            self._sample(prompt, _text(completion), ids, {"prompt": prompt, **row})
            for prompt, completion, ids, row in zip(
                prompts, completions, completion_ids or [None] * len(prompts), rows, strict=True
            )
        ]
        for item in self.rewards.rewards:
            for sample in samples[:1]:  # columns are the same for all
                if missing := sorted(item.requires - sample.row.keys()):
                    raise DataError(
                        f"reward {item.name!r} requires the column {missing[0]!r}, the data set has "
                        f"{sorted(sample.row)}; rename one, and keep remove_unused_columns=False"
                    )
        scored = self.rewards.score_batch(samples)
        refuse_broken_grading(scored, self.max_abstain_fraction)
        self.last = list(zip(samples, scored, strict=True))
        if log_metric:
            self._log(scored, log_metric)
        return [item.total for item in scored]

    def _sample(
        self, prompt: str | list[Message], text: str, ids: Sequence[int] | None, row: Mapping[str, Any]
    ) -> Sample:
        messages: list[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        return self.reader.read_text(messages, text, row, str(row.get("id", "")), token_ids=ids)

    def _log(self, scored: Sequence[ScoredSample], log_metric: Callable[[str, float], None]) -> None:
        for name, rates in verdict_rates(scored).items():
            if name != self.__name__:  # TRL logs the mean of the whole by itself
                values = [value for item in scored if (value := item.scores[name].value) is not None]
                log_metric(f"rewards/{name}/mean", sum(values) / len(values) if values else 0.0)
            for verdict, rate in rates.items():
                log_metric(f"verdicts/{name}/{verdict}", rate)


def _use(name: str, value: Mapping[str, Any]) -> RewardUse:
    try:
        return RewardUse.model_validate(dict(value))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, (name, *first["loc"])))
        raise RecipeError([f"reward_func: {key}: found {first['input']!r:.60}: {first['msg']}"]) from None
    except (TypeError, ValueError):
        raise RecipeError([f"reward_func: {name}: found {value!r:.60}, expected a mapping with use"]) from None


def _rows(columns: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """One mapping per completion. What TRL passes besides columns is no list, except for its environments."""
    lists = {
        key: value
        for key, value in columns.items()
        if isinstance(value, list) and len(value) == count and key != "environments"
    }
    return [{key: value[index] for key, value in lists.items()} for index in range(count)]


def _text(completion: Any) -> str:
    """The text of the last message, or the completion itself; content in parts is joined."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] if completion else ""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
