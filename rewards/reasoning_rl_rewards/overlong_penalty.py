"""`overlong_penalty`: completions that come close to the length limit lose up to 1. Counts tokens; reads no text."""

from __future__ import annotations

from dataclasses import dataclass

from reasoning_rl.api import Sample, Score, Verdict


@dataclass(frozen=True)
class OverlongPenalty:
    """0 up to `max_tokens - buffer_tokens` tokens, then linear to -1 at `max_tokens`; -1 above, and for any truncated completion.

    The soft overlong punishment of DAPO (arXiv 2503.14476, equation 13). It is at most 0, so it can be no gate.

    Attributes:
        max_tokens: length from which the penalty is full; at most the `max_completion_length` of the run, or it is reached
            by truncated completions only.
        buffer_tokens: how many tokens before that it sets in, 1 to `max_tokens`.
    """

    max_tokens: int
    buffer_tokens: int

    version = 1
    requires = frozenset()
    tolerates = frozenset({"empty"})  # which is not too long

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens: found {self.max_tokens}, expected 1 or more")
        if not 1 <= self.buffer_tokens <= self.max_tokens:
            raise ValueError(f"buffer_tokens: found {self.buffer_tokens}, expected 1 to max_tokens ({self.max_tokens})")

    def __call__(self, sample: Sample, /) -> Score:
        num_tokens, truncated = sample.completion.num_tokens, sample.completion.truncated
        detail = {"num_tokens": num_tokens, "truncated": truncated}
        over = num_tokens - (self.max_tokens - self.buffer_tokens)
        if truncated or over >= self.buffer_tokens:
            return Score(-1.0, Verdict.WRONG, detail)
        if over <= 0:
            return Score(0.0, Verdict.CORRECT, detail)
        return Score(-over / self.buffer_tokens, Verdict.PARTIAL, detail)
