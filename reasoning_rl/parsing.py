"""Completion text to thinking and final text. Linear time; knows nothing of tokens or rewards."""

from __future__ import annotations

from reasoning_rl.api import Completion
from reasoning_rl.recipe import Thinking


def split_completion(text: str, tags: Thinking, *, num_tokens: int, truncated: bool) -> Completion:
    """Splits at the first thinking block.

    Everything after its closing tag is final text, further blocks included, so that nothing the reader would see is
    hidden from a reward. An unclosed block leaves no final text: the model never stopped thinking.
    """
    start = 0 if tags.opened_by_template else text.find(tags.open)
    if start < 0:
        return Completion(text, None, text, num_tokens, truncated)
    before = text[:start]
    body = text[start + len(tags.open) :] if text.startswith(tags.open, start) else text[start:]
    thinking, closed, after = body.partition(tags.close)
    return Completion(text, thinking, before + after if closed else "", num_tokens, truncated)
