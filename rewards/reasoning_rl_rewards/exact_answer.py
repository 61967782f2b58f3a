"""`exact_answer`: the last answer of a completion against the gold answer, as text or as a number.

No algebra: `1/2` and `0.5` are equal numbers, `x+1` and `1+x` are different texts. Runs in linear time on any input.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Literal

from reasoning_rl.api import Sample, Score, Verdict

#: Longer texts are compared as text; parsing huge numerals takes quadratic time.
MAX_NUMBER_CHARS = 64

_NUMBER = re.compile(r"[-+−]?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![.\w])\.\d+)(?:/\d+)?")
_WHOLE_NUMBER = re.compile(r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,3})?|[-+]?\d+/\d+")
_BOX = "\\boxed{"


@dataclass(frozen=True)
class ExactAnswer:
    """1 when the answer equals the row's gold answer, else 0.

    Attributes:
        extract: where the answer is read from. `boxed`: the final text holds exactly one distinct `\\boxed{…}`.
            `last_number`: the last number anywhere in the completion, thinking included (lenient: measures whether the
            model knew, not whether it answered as asked). `final_text`: the whole final text, stripped.
        column: column of the row with the gold answer (text or number).
    """

    extract: Literal["boxed", "last_number", "final_text"] = "boxed"
    column: str = "answer"

    version = 1

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({self.column})

    def __call__(self, sample: Sample, /) -> Score:
        gold = sample.row.get(self.column)
        if gold is None or isinstance(gold, (list, dict, bool)) or not str(gold).strip():
            return Score.abstain(Verdict.BAD_REFERENCE, reason=f"column {self.column!r} holds {gold!r}, no answer")
        answers = self._answers(sample)
        distinct = list(dict.fromkeys(map(_canonical, answers)))
        if len(distinct) != 1:
            reason = "several different answers" if distinct else "no answer found"
            return Score.no_answer(reason=reason, extracted=answers[:4], gold=str(gold))
        detail = {"extracted": answers[-1], "gold": str(gold)}
        return Score.correct(**detail) if distinct[0] == _canonical(str(gold)) else Score.wrong(**detail)

    def _answers(self, sample: Sample) -> list[str]:
        if self.extract == "boxed":
            return boxed(sample.completion.final_text)
        if self.extract == "last_number":
            return _NUMBER.findall(sample.completion.text)[-1:]
        text = sample.completion.final_text.strip()
        return [text] if text else []


def boxed(text: str) -> list[str]:
    """The contents of every closed `\\boxed{…}`, braces balanced, in order. Linear in the length of the text."""
    contents = []
    position = text.find(_BOX)
    while position >= 0:
        start = end = position + len(_BOX)
        depth = 1
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        if depth:
            break
        contents.append(text[start : end - 1].strip())
        position = text.find(_BOX, end)
    return [content for content in contents if content]


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
