"""`think_format`: one thinking block that is not empty, then an answer, and nothing after it."""

from __future__ import annotations

from dataclasses import dataclass

from reasoning_rl.api import Sample, Score


@dataclass(frozen=True)
class ThinkFormat:
    """1 when the completion is `<open>thoughts<close>answer`, else 0.

    Strict: the block starts the completion, there is one of it, thoughts and answer are not blank, the completion was
    not truncated. With `boxed`, the answer is one `\\boxed{…}` and nothing else.

    Attributes:
        open: text that opens the block.
        close: text that closes it.
        boxed: whether the answer must be a single box.
        opened_by_template: whether the chat template writes the opening tag, so that the completion must not.
    """

    open: str = "<think>"
    close: str = "</think>"
    boxed: bool = True
    opened_by_template: bool = False

    version = 1
    requires = frozenset()

    def __call__(self, sample: Sample, /) -> Score:
        fault = self._fault(sample)
        return Score.wrong(reason=fault) if fault else Score.correct()

    def _fault(self, sample: Sample) -> str | None:
        text = sample.completion.text
        if sample.completion.truncated:
            return "truncated"
        if text.count(self.open) != (0 if self.opened_by_template else 1) or text.count(self.close) != 1:
            return "not exactly one thinking block"
        if not self.opened_by_template and not text.lstrip().startswith(self.open):
            return "text before the thinking block"
        thoughts, _, answer = text.lstrip().removeprefix(self.open).partition(self.close)
        if not thoughts.strip():
            return "empty thinking"
        if not answer.strip():
            return "no answer after the thinking"
        if self.boxed and not _is_one_box(answer.strip()):
            return "the answer is not a single box"
        return None


def _is_one_box(text: str) -> bool:
    """Whether the text is one `\\boxed{…}` with balanced braces from its first to its last character."""
    if not text.startswith("\\boxed{"):
        return False
    depth = 0
    for position in range(len("\\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position == len(text) - 1 and bool(text[len("\\boxed{") : position].strip())
    return False
