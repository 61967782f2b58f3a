"""From what a policy wrote to what a reward sees. Linear time; knows nothing of rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reasoning_rl.api import Completion, Message, Sample, ThinkingTags
from reasoning_rl.recipe import Thinking


@dataclass(frozen=True, slots=True)
class Reader:
    """Makes samples of completions, in training, evaluation and everywhere else.

    Attributes:
        thinking: the tags around the reasoning.
        eos_ids: tokens that end a completion; one that ends with another is truncated. Without any, none is.
        decode: token ids to text, special tokens left out; needed for `read` only.
    """

    thinking: Thinking
    eos_ids: frozenset[int] = frozenset()
    decode: Callable[[Sequence[int]], str] | None = None

    def read(self, prompt: Sequence[Message], token_ids: Sequence[int], row: Mapping[str, Any], row_id: str) -> Sample:
        """The sample of a completion whose tokens are known."""
        assert self.decode is not None
        return self.read_text(prompt, self.decode(token_ids), row, row_id, token_ids=token_ids)

    def read_text(
        self,
        prompt: Sequence[Message],
        text: str,
        row: Mapping[str, Any],
        row_id: str = "",
        *,
        token_ids: Sequence[int] | None = None,
        num_tokens: int | None = None,
        truncated: bool = False,
    ) -> Sample:
        """The same where the text is known. Length and truncation follow from `token_ids` if these are known too; else they
        are what is said, or one token per word."""
        if token_ids is not None:
            num_tokens = len(token_ids)
            truncated = bool(self.eos_ids) and (not token_ids or token_ids[-1] not in self.eos_ids)
        if num_tokens is None:
            num_tokens = len(text.split())
        completion = split_completion(text, self.thinking, num_tokens=num_tokens, truncated=truncated)
        return Sample(prompt, completion, row, row_id)


def split_completion(text: str, tags: Thinking, *, num_tokens: int, truncated: bool) -> Completion:
    """Splits at the first thinking block.

    Everything after its closing tag is final text, further blocks included, so that nothing the reader would see is
    hidden from a reward. An unclosed block leaves no final text: the model never stopped thinking.
    """
    said = ThinkingTags(tags.open, tags.close, tags.opened_by_template)
    start = 0 if tags.opened_by_template else text.find(tags.open)
    if start < 0:
        return Completion(text, None, text, num_tokens, truncated, said)
    before = text[:start]
    body = text[start + len(tags.open) :] if text.startswith(tags.open, start) else text[start:]
    thinking, closed, after = body.partition(tags.close)
    return Completion(text, thinking, before + after if closed else "", num_tokens, truncated, said)
