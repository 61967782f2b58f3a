"""The plugin interface: everything that a reward sees and returns.

Standard library only, so that a reward can be written, installed and tested without torch. This module knows nothing of
recipes, trainers or the host; rewards import nothing else of `reasoning_rl` (but `reasoning_rl.sandbox`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypedDict, runtime_checkable

#: Entry-point group under which packages register rewards.
REWARD_GROUP = "reasoning_rl.rewards"


class Message(TypedDict):
    """One chat message: `role` is `system`, `user` or `assistant`; `content` is plain text."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ThinkingTags:
    """The texts around the reasoning, as the recipe's `prompt.thinking` says. With `opened_by_template` the chat template
    writes the opening one, and completions start inside the block."""

    open: str = "<think>"
    close: str = "</think>"
    opened_by_template: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote after a prompt, split at the thinking tags.

    `text` is the decoded completion without special tokens; `thinking` is what stands inside the first thinking block
    (`None` when there is no block, the rest of the text when the block was never closed); `final_text` is all that
    follows it. `truncated` is known from the token ids: the last one is no end-of-sequence token. `tags` are those it was
    split at.
    """

    text: str
    thinking: str | None
    final_text: str
    num_tokens: int
    truncated: bool
    tags: ThinkingTags = ThinkingTags()


@dataclass(frozen=True, slots=True)
class Sample:
    """What a reward scores: one completion of one prompt, never a batch.

    `row` holds the columns of the data row by name; `row_id` names the row in the data set.
    """

    prompt: Sequence[Message]
    completion: Completion
    row: Mapping[str, Any]
    row_id: str = ""


class Verdict(StrEnum):
    """Why a score is what it is.

    The model's doing carries a value. `TIMEOUT`, `MEMORY_LIMIT` and `CRASH`: its completion made the grader exceed a
    limit or die, each time, while others are graded. `BAD_REFERENCE`, `GRADER_ERROR` and `SANDBOX_FAILURE` are our own fault: they
    abstain, so the completion moves no weight. `NOT_APPLICABLE` abstains too: this reward has nothing to say on this row.
    """

    CORRECT = "correct"
    WRONG = "wrong"
    PARTIAL = "partial"
    NO_ANSWER = "no_answer"
    TIMEOUT = "timeout"
    MEMORY_LIMIT = "memory_limit"
    CRASH = "crash"
    BAD_REFERENCE = "bad_reference"
    GRADER_ERROR = "grader_error"
    SANDBOX_FAILURE = "sandbox_failure"
    NOT_APPLICABLE = "not_applicable"

    @property
    def abstains(self) -> bool:
        """Whether a score with this verdict has no value."""
        return self in _ABSTAINING

    @property
    def is_our_fault(self) -> bool:
        """Whether the grader or the data failed, not the model."""
        return self in _ABSTAINING and self is not Verdict.NOT_APPLICABLE


_ABSTAINING = frozenset({Verdict.BAD_REFERENCE, Verdict.GRADER_ERROR, Verdict.SANDBOX_FAILURE, Verdict.NOT_APPLICABLE})


@dataclass(frozen=True, slots=True)
class Score:
    """The result of one reward on one completion.

    `value` is finite, or `None` exactly when the verdict abstains. `detail` says what was compared: the extracted
    answer, the gold answer, the failing test; JSON-serialisable, it goes to `rollouts.jsonl`.

    Raises:
        ValueError: the value is not finite, or value and verdict contradict each other.
    """

    value: float | None
    verdict: Verdict
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.value is None) != self.verdict.abstains:
            raise ValueError(f"verdict {self.verdict} and value {self.value!r} contradict each other")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a score must be finite, found {self.value!r}; to abstain, return Score.abstain(...)")

    @classmethod
    def correct(cls, **detail: Any) -> Score:
        """Full marks: 1.0."""
        return cls(1.0, Verdict.CORRECT, detail)

    @classmethod
    def wrong(cls, **detail: Any) -> Score:
        """An answer was given and it is wrong: 0.0."""
        return cls(0.0, Verdict.WRONG, detail)

    @classmethod
    def no_answer(cls, **detail: Any) -> Score:
        """No answer could be read from the completion: 0.0."""
        return cls(0.0, Verdict.NO_ANSWER, detail)

    @classmethod
    def abstain(cls, verdict: Verdict, **detail: Any) -> Score:
        """No value: the grader, its sandbox or the data row failed, or the reward does not apply to the row."""
        return cls(None, verdict, detail)


@runtime_checkable
class Reward(Protocol):
    """Scores one completion. The same sample always gets the same score.

    Implement it as a frozen dataclass whose fields are the options, or as a plain function
    `def brevity(sample, *, max_words: int = 100) -> float` whose keyword-only arguments are the options.

    Optional attributes of the class or function:
        requires: a frozenset of the columns that a row must have.
        version: an integer to raise whenever the meaning of a score changes.
        default_timeout_s: seconds that one sample may take when the recipe sets no `timeout_s`.
        thinking_tags: the `ThinkingTags` that it looks for, if not those of the completion; a recipe with others is refused.

    Optional methods of the class (attributes of the function):
        cache_key(sample) -> Hashable | None: everything that the score depends on, such as `(gold, answer)`. Samples with
            equal keys are graded once in a run; `None` for "do not share this one". It is called in the trainer's
            process for every sample, outside any deadline: cut and compare text, do not parse. Without it a score is
            shared by samples that are equal in prompt, completion, row and row id.
        warm_up(): called once in every grading process before its first sample, outside any deadline, for slow imports.

    A class that knows what a right answer looks like says so in two optional methods, which `reasoning-rl audit` and
    `reasoning_rl.testing.check_reward` hold it to:

    - `reference(row) -> str | None`: text that scores full on this row when it follows the thinking; `None` where the
      row has no usable gold answer.
    - `near_misses(row) -> Sequence[str]`: such texts with a wrong answer, as close to the right one as can be.

    `tolerates`, an optional frozenset, names the attacks of the audit that score by the reward's documented policy,
    such as `other_then_gold` for one that reads the last answer.
    """

    def __call__(self, sample: Sample, /) -> Score: ...
