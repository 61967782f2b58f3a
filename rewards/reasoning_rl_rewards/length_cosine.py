"""`length_cosine`: pays for a right answer the more the shorter it was, charges for a wrong one the less the longer it was.

Right and wrong are decided by `exact_answer`; this module only shapes the value by length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reasoning_rl.api import Sample, Score, Verdict
from reasoning_rl_rewards.exact_answer import ExactAnswer


@dataclass(frozen=True)
class LengthCosine:
    """Between two values for right answers and two for wrong ones, along half a cosine from 0 to `max_tokens` tokens.

    The cosine reward of "Demystifying Long Chain-of-Thought Reasoning" (arXiv 2502.03373), held at its end beyond
    `max_tokens`. An answer is right when `exact_answer` with the same `extract` and `column` says so; no answer counts
    as a wrong one. It takes the place of a correctness reward: with another one beside it, right answers are paid twice.

    Attributes:
        max_tokens: length at which the curve ends.
        correct_short: value of a right answer of 0 tokens, more than 0.
        correct_long: value of a right answer of `max_tokens` tokens or more, more than 0.
        wrong_short: value of a wrong answer of 0 tokens, at most 0.
        wrong_long: value of a wrong answer of `max_tokens` tokens or more, at most 0.
        truncated: value of a truncated completion, at most 0, whatever its answer.
        extract: where the answer is read from, as in `exact_answer`.
        column: column of the row with the gold answer.
    """

    max_tokens: int
    correct_short: float = 1.0
    correct_long: float = 0.5
    wrong_short: float = -1.0
    wrong_long: float = -0.5
    truncated: float = -1.0
    extract: Literal["boxed", "last_number", "final_text"] = "boxed"
    column: str = "answer"

    version = 1

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens: found {self.max_tokens}, expected 1 or more")
        for name in ("correct_short", "correct_long"):
            if not (value := getattr(self, name)) > 0 or not math.isfinite(value):
                raise ValueError(f"{name}: found {value}, expected a finite number above 0")
        for name in ("wrong_short", "wrong_long", "truncated"):
            if not (value := getattr(self, name)) <= 0 or not math.isfinite(value):
                raise ValueError(f"{name}: found {value}, expected a finite number of at most 0")

    @property
    def requires(self) -> frozenset[str]:
        return self._judge.requires

    @property
    def tolerates(self) -> frozenset[str]:
        return self._judge.tolerates

    def reference(self, row: Mapping[str, Any]) -> str | None:
        return self._judge.reference(row)

    def near_misses(self, row: Mapping[str, Any]) -> list[str]:
        return self._judge.near_misses(row)

    def __call__(self, sample: Sample, /) -> Score:
        judged = self._judge(sample)
        if judged.value is None:
            return judged
        num_tokens = sample.completion.num_tokens
        detail = {**judged.detail, "num_tokens": num_tokens, "truncated": sample.completion.truncated}
        if sample.completion.truncated:
            return Score(self.truncated, Verdict.WRONG, detail)
        is_correct = judged.verdict is Verdict.CORRECT
        short, long = (self.correct_short, self.correct_long) if is_correct else (self.wrong_short, self.wrong_long)
        share = min(max(num_tokens / self.max_tokens, 0.0), 1.0)
        return Score(long + (short - long) * (1 + math.cos(math.pi * share)) / 2, judged.verdict, detail)

    @property
    def _judge(self) -> ExactAnswer:
        return ExactAnswer(extract=self.extract, column=self.column)
