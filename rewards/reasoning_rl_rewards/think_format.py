"""`think_format`: one thinking block that is not empty, then an answer, and nothing after it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from reasoning_rl.api import Sample, Score, ThinkingTags
from reasoning_rl_rewards.reading import boxed, own_turn


@dataclass(frozen=True)
class ThinkFormat:
    """1 when the completion is `<open>thoughts<close>answer`, else 0.

    Strict: the block starts the completion, no tag stands there twice, thoughts and answer are not blank, the completion
    was not truncated and holds no end-of-turn marker. With `boxed`, the answer ends with its only `\\boxed{…}`.

    Attributes:
        open: text that opens the block. Default, here and below: what the recipe says under `prompt.thinking`.
        close: text that closes it.
        boxed: whether the answer must be a box.
        text_before_box: whether other text may stand between the block and the box.
        opened_by_template: whether the chat template writes the opening tag, so that the completion must not.
    """

    open: str | None = None
    close: str | None = None
    boxed: bool = True
    text_before_box: bool = False
    opened_by_template: bool | None = None

    version = 3
    requires = frozenset()

    def __post_init__(self) -> None:
        if "" in (self.open, self.close) or (self.open is not None and self.open == self.close):
            raise ValueError(f"open and close: found {self.open!r} and {self.close!r}, expected two different tags")

    @property
    def thinking_tags(self) -> ThinkingTags | None:
        """Its own, if an option names one."""
        return None if self._own() == {} else replace(ThinkingTags(), **self._own())

    def _own(self) -> dict[str, Any]:
        options = {"open": self.open, "close": self.close, "opened_by_template": self.opened_by_template}
        return {name: value for name, value in options.items() if value is not None}

    def __call__(self, sample: Sample, /) -> Score:
        fault = self._fault(sample)
        return Score.wrong(reason=fault) if fault else Score.correct()

    def _fault(self, sample: Sample) -> str | None:
        text, tags = sample.completion.text, self.thinking_tags or sample.completion.tags
        if sample.completion.truncated:
            return "truncated"
        if text.count(tags.open) != (0 if tags.opened_by_template else 1) or text.count(tags.close) != 1:
            return "not exactly one thinking block"
        if not tags.opened_by_template and not text.lstrip().startswith(tags.open):
            return "text before the thinking block"
        thoughts, _, answer = text.lstrip().removeprefix(tags.open).partition(tags.close)
        if not thoughts.strip():
            return "empty thinking"
        if not answer.strip():
            return "no answer after the thinking"
        if own_turn(text) != text:
            return "an end-of-turn marker"
        if not self.boxed:
            return None
        box = answer.find("\\boxed{")
        if box < 0 or answer.count("\\boxed{") > 1 or not _is_one_box(answer[box:].strip()):
            return "the answer does not end with its only box"
        if not self.text_before_box and answer[:box].strip():
            return "text before the box"
        return None


def _is_one_box(text: str) -> bool:
    """Whether the text is one `\\boxed{…}` with balanced braces and content, from its first to its last character."""
    contents = boxed(text)
    return len(contents) == 1 and text.endswith("}") and text[len("\\boxed{") : -1].strip() == contents[0]
