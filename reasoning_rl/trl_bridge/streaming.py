"""Finished completions of a rollout on their way to grading, while the others are still being sampled.

Owns what this needs to know of a rollout: its rows, and how TRL will read the tokens. Sampling is `engine`, grading
`early_grading`; the scores are asked for by TRL, through the reward function, as ever.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from reasoning_rl.early_grading import EarlyGrading
from reasoning_rl.parsing import Reader

#: Gets how many completions of a rollout are sampled, out of how many, and the tokens per second so far.
OnSampled = Callable[[int, int, float], None]


class RolloutStream:
    """Starts grading each completion of a rollout as it is finished.

    Args:
        early: takes them.
        reader: makes samples of them, and decodes as TRL does.
    """

    def __init__(self, early: EarlyGrading, reader: Reader) -> None:
        self.early, self.reader = early, reader
        self.on_sampled: OnSampled | None = None
        self._rows: Sequence[dict[str, Any]] | Mapping[int, dict[str, Any]] = ()
        self._started_at = 0.0
        self._num_completions = self._num_tokens = 0

    def expect(self, rows: Sequence[dict[str, Any]] | Mapping[int, dict[str, Any]]) -> None:
        """Says to which rows, one per completion and by its position, the completions of the next rollout belong."""
        self._rows = rows

    def start(self) -> None:
        """Sampling begins."""
        self._started_at = time.perf_counter()
        self._num_completions = self._num_tokens = 0

    def hand_on(self, position: int, token_ids: list[int]) -> None:
        """A completion is finished."""
        row = self._rows[position]
        sample = self.reader.read(row["prompt"], token_ids, json.loads(row["row"]), row["row_id"])
        self.early.start(position, sample)
        self._num_completions += 1
        self._num_tokens += len(token_ids)
        if self.on_sampled:
            seconds = time.perf_counter() - self._started_at
            self.on_sampled(self._num_completions, len(self._rows), self._num_tokens / seconds)


def obstacle(can_stream: bool, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Why finished completions cannot be graded before the last one is sampled; `None` when they can.

    Args:
        can_stream: whether the engine's requests can be followed one by one.
        tokenizer: one with a response template has TRL take completions apart by it, with the whole batch at hand.
    """
    if not can_stream:
        return "several processes share the steps of the engine"
    if getattr(tokenizer, "response_template", None) or getattr(tokenizer, "response_schema", None):
        return "the tokenizer takes completions apart by a response template"
    return None
