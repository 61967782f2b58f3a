"""`regex`: whether a part of the completion matches a regular expression of the recipe's author.

Python's `re` takes exponential time on some patterns, `(a+)+b` for one, and cannot be interrupted from inside: the text is
bounded here, and the deadline of the grading process ends the rest (the completion then scores 0 as `timeout`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from reasoning_rl.api import Sample, Score
from reasoning_rl_rewards.reading import Part, part_of


@dataclass(frozen=True)
class Regex:
    """1 when the pattern is found, else 0; with `forbidden` the other way round. A form, not a right answer.

    Attributes:
        pattern: a regular expression of Python's `re`; flags stand in it, as in `(?is)^yes\\b`. Avoid repeats inside
            repeats: a completion on which the search passes the deadline scores 0, also when it would have matched.
        match: `search`: anywhere. `fullmatch`: all of it, blanks at both ends aside.
        part: which part of the completion is looked at. `final_text` follows the thinking; `text` is everything.
        forbidden: score 1 when the pattern is not found.
        max_chars: a longer part scores 0 without being searched.
    """

    pattern: str
    match: Literal["search", "fullmatch"] = "search"
    part: Part = "final_text"
    forbidden: bool = False
    max_chars: int = 20_000

    version = 1
    requires = frozenset()

    def __post_init__(self) -> None:
        if not self.pattern:
            raise ValueError("pattern: found an empty one, which matches everything; write one")
        if self.max_chars < 1:
            raise ValueError(f"max_chars: found {self.max_chars}, expected 1 or more")
        try:
            _compiled(self.pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(
                f"pattern: {error} in {self.pattern!r:.200}; see the documentation of Python's re"
            ) from None

    @property
    def tolerates(self) -> frozenset[str]:
        """What says nothing says nothing that is forbidden."""
        return frozenset({"empty", "blank_answer"}) if self.forbidden else frozenset()

    def __call__(self, sample: Sample, /) -> Score:
        text = part_of(sample.completion, self.part).strip()
        if len(text) > self.max_chars:
            return Score.wrong(reason=f"{len(text)} characters, more than max_chars = {self.max_chars}")
        if not text and not self.forbidden:
            return Score.no_answer(reason=f"{self.part} is empty")
        pattern = _compiled(self.pattern)
        found = pattern.search(text) if self.match == "search" else pattern.fullmatch(text)
        detail = {"found": found[0][:200] if found else None}
        return Score.correct(**detail) if bool(found) != self.forbidden else Score.wrong(**detail)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
