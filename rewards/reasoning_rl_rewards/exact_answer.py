"""`exact_answer`: the last answer of a completion against the gold answer, as text or as a number.

No algebra: `1/2` and `0.5` are equal numbers, `x+1` and `1+x` are different texts. Runs in linear time on any input.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Literal

from reasoning_rl.api import Sample, Score, Verdict
from reasoning_rl_rewards.reading import boxed, gold_text, own_turn

#: Longer texts are compared as text; parsing huge numerals takes quadratic time.
MAX_NUMBER_CHARS = 64

_NUMBER = re.compile(r"[-+−]?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![.\w])\.\d+)(?:/\d+)?")
_WHOLE_NUMBER = re.compile(r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,3})?|[-+]?\d+/\d+")


@dataclass(frozen=True)
class ExactAnswer:
    """1 when the answer equals the row's gold answer, else 0. Nothing after an end-of-turn marker is read.

    Attributes:
        extract: where the answer is read from. `boxed`: the final text holds exactly one distinct `\\boxed{…}`.
            `last_number`: the last number anywhere in the completion, thinking included (lenient: measures whether the
            model knew, not whether it answered as asked). `final_text`: the whole final text, stripped.
        column: column of the row with the gold answer (text or number).
    """

    extract: Literal["boxed", "last_number", "final_text"] = "boxed"
    column: str = "answer"

    version = 2

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({self.column})

    @property
    def tolerates(self) -> frozenset[str]:
        """Prose beside a box is not read; `last_number` is lenient by design."""
        return {
            "boxed": frozenset({"retraction"}),
            "last_number": frozenset(
                {"echo", "every_box", "gold_in_thinking", "unclosed_thinking", "other_then_gold", "user_turn"}
            ),
            "final_text": frozenset[str](),
        }[self.extract]

    def reference(self, row: Mapping[str, Any]) -> str | None:
        """The gold answer where it is looked for."""
        gold = self._gold(row)
        return None if gold is None else self._written(gold)

    def near_misses(self, row: Mapping[str, Any]) -> list[str]:
        """A number one too large and one of the other sign; a text with its last letter changed."""
        gold = self._gold(row)
        value = _canonical(gold) if gold is not None else ""
        if isinstance(value, Fraction):
            return [self._written(str(other)) for other in (value + 1, -value) if other != value]
        last = next((index for index in reversed(range(len(value))) if value[index].isalnum()), None)
        if last is None:
            return []
        return [self._written(value[:last] + ("b" if value[last] in "aA" else "a") + value[last + 1 :])]

    def __call__(self, sample: Sample, /) -> Score:
        gold = self._gold(sample.row)
        if gold is None:
            found = sample.row.get(self.column)
            return Score.abstain(Verdict.BAD_REFERENCE, reason=f"column {self.column!r} holds {found!r}, no answer")
        answers = self._answers(sample)
        distinct = list(dict.fromkeys(map(_canonical, answers)))
        if len(distinct) != 1:
            reason = "several different answers" if distinct else "no answer found"
            return Score.no_answer(reason=reason, extracted=answers[:4], gold=gold)
        detail = {"extracted": answers[-1], "gold": gold}
        return Score.correct(**detail) if distinct[0] == _canonical(gold) else Score.wrong(**detail)

    def _gold(self, row: Mapping[str, Any]) -> str | None:
        return gold_text(row, self.column)

    def _written(self, answer: str) -> str:
        return {"boxed": f"\\boxed{{{answer}}}", "last_number": f"The answer is {answer}", "final_text": answer}[
            self.extract
        ]

    def _answers(self, sample: Sample) -> list[str]:
        if self.extract == "boxed":
            return boxed(own_turn(sample.completion.final_text))
        if self.extract == "last_number":
            return _NUMBER.findall(own_turn(sample.completion.text))[-1:]
        text = own_turn(sample.completion.final_text).strip()
        return [text] if text else []


def _canonical(answer: str) -> str | Fraction:
    """A number by value, anything else as text without surrounding blanks, dollar signs or a final full stop."""
    text = answer.strip().removesuffix(".").strip("$ \t\n").removesuffix(".").replace("−", "-")
    if len(text) > MAX_NUMBER_CHARS or not _WHOLE_NUMBER.fullmatch(text):
        return text
    plain = text.replace(",", "")
    try:
        return Fraction(plain) if "/" in plain else Fraction(Decimal(plain))
    except (InvalidOperation, ZeroDivisionError):
        return text
