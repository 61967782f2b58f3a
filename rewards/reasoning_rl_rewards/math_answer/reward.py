r"""`math_answer`: the boxed answer of a completion against the row's gold answer, by mathematics.

Puts together what the modules beside it do: extraction, the gold's own check, comparison, vetoes. Holds no state.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from reasoning_rl.api import Sample, Score, Verdict
from reasoning_rl_rewards.math_answer import engine, vetoes
from reasoning_rl_rewards.math_answer.choice import gold_letter
from reasoning_rl_rewards.math_answer.comparison import Outcome, gold_fault, judge, parsed
from reasoning_rl_rewards.math_answer.extract import Boxes, Extract, Found, boxes, find_answers, join_boxes
from reasoning_rl_rewards.math_answer.policy import Arithmetic, Decimals, Lists, Percent, Policy, Units

#: Text of a detail beyond this many characters is cut.
_MAX_DETAIL_CHARS = 500
#: Longer questions are not searched for the answer.
_MAX_QUESTION_CHARS = 20_000
_NUMERAL = re.compile(r"(?<![_^\d.])(?<![_^]\{)\d+")


@dataclass(frozen=True)
class MathAnswer:
    r"""1 when the answer equals the row's gold answer, else 0. What counts as equal: docs/math-answer.md.

    Attributes:
        column: column of the row with the gold answer, text or number; `\boxed{…}` or `$…$` around it is taken off.
        extract: where the answer is read from. `boxed`: the final text holds exactly one distinct box. `marked`: that, or
            without a box the rest of the line after "answer is" or "Answer:" (all of them the same). `final_text`: all of it.
        boxes: `one`: several different boxes are no answer. `join`: boxes with nothing but commas, "and" or "or" between
            them are one list.
        units: `if_given`: compared where both sides have one. `required`: where the gold has one. `ignored`: never.
        percent: `either`: where one side has a percent sign, 28 % is 28 and 0.28. `strict`: it is 0.28.
        lists: whether the items of a list without brackets may come in `any_order` or must come `in_order`.
        decimals: `gold_rounded`: a gold decimal of four or more significant digits is a rounded value. `exact`: it is not.
        arithmetic: whether `2+3` may stand for 5 (`allowed`) or a gold number asks for a numeral (`refused`).
    """

    column: str = "answer"
    extract: Extract = "boxed"
    boxes: Boxes = "one"
    units: Units = "if_given"
    percent: Percent = "either"
    lists: Lists = "any_order"
    decimals: Decimals = "gold_rounded"
    arithmetic: Arithmetic = "allowed"

    version = 2
    default_timeout_s = 2.5

    def __post_init__(self) -> None:
        for module in ("mpmath", "sympy", "math_verify"):
            if importlib.util.find_spec(module) is None:
                raise ValueError(
                    f"math_answer needs {module}, which is not installed; pip install math-verify latex2sympy2_extended"
                )

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({self.column})

    @property
    def tolerates(self) -> frozenset[str]:
        """Prose beside a box is not read."""
        return frozenset({"retraction"}) if self.extract == "boxed" else frozenset()

    @property
    def policy(self) -> Policy:
        """What counts as equal, for `judge`."""
        return Policy(self.units, self.percent, self.lists, self.decimals, self.arithmetic)

    def __call__(self, sample: Sample, /) -> Score:
        gold = self._gold(sample.row)
        fault = "it is no text and no number" if gold is None else gold_fault(gold, self.policy)
        if gold is None or fault:
            found = str(sample.row.get(self.column))[:_MAX_DETAIL_CHARS]
            return Score.abstain(Verdict.BAD_REFERENCE, reason=f"column {self.column!r} holds {found!r}: {fault}")
        detail: dict[str, Any] = {"gold": _cut(gold)}
        candidates = self._candidates(sample)
        if not candidates.answers:
            return Score.no_answer(reason=candidates.fault, **detail)
        answer = self._answer(candidates)
        if answer is None:
            shown = [_cut(text, 80) for text in candidates.answers[:4]]
            return Score.no_answer(reason="several different answers", extracted=shown, **detail)
        outcome = self._judged(gold, answer, sample)
        detail |= {"extracted": _cut(answer), "path": outcome.path}
        return Score.correct(**detail) if outcome.is_right else Score.wrong(**detail)

    def cache_key(self, sample: Sample) -> Hashable | None:
        """Gold, candidates and question: all that the score depends on, found in linear time."""
        gold = self._gold(sample.row)
        candidates = self._candidates(sample)
        if candidates.fault:
            return (gold, candidates.fault)
        if len(candidates.answers) == 1 and candidates.answers[0] == gold:
            return (gold, gold)
        return (gold, candidates.answers, candidates.between if self.boxes == "join" else (), _question(sample))

    def warm_up(self) -> None:
        """Imports sympy and math-verify and lets them parse once, which takes a second."""
        engine.readable(r"\sum_{k=1}^{3} k")
        judge(r"\sqrt{2}", r"2^{1/2}")

    def reference(self, row: Mapping[str, Any]) -> str | None:
        """The gold answer where it is looked for."""
        gold = self._gold(row)
        return None if gold is None or gold_fault(gold, self.policy) else self._written(gold)

    def near_misses(self, row: Mapping[str, Any]) -> list[str]:
        """Another option letter; a number one too large and of the other sign; else the first numeral one too large."""
        gold = self._gold(row)
        if gold is None:
            return []
        own = parsed(gold)
        letter = gold_letter(own.text)
        if letter:
            return [self._written("B" if letter == "A" else "A")]
        if own.number:
            value = own.number[0]
            return [self._written(str(other)) for other in (value + 1, -value) if other != value]
        numeral = _NUMERAL.search(gold)
        if not numeral or len(numeral[0]) > 40:
            return []
        others = set(re.findall(r"\d+", gold))
        larger = int(numeral[0]) + 1
        while str(larger) in others:
            larger += 1
        return [self._written(f"{gold[: numeral.start()]}{larger}{gold[numeral.end() :]}")]

    def _gold(self, row: Mapping[str, Any]) -> str | None:
        gold = row.get(self.column)
        if isinstance(gold, bool) or not isinstance(gold, (str, int, float)):
            return None
        text = str(gold).strip()
        boxed = boxes(text).answers if "boxed" in text else ()
        return boxed[0] if len(boxed) == 1 else text

    def _written(self, answer: str) -> str:
        return {"boxed": f"\\boxed{{{answer}}}", "marked": f"Answer: {answer}", "final_text": answer}[self.extract]

    def _candidates(self, sample: Sample) -> Found:
        completion = sample.completion
        return find_answers(completion.final_text, completion.thinking is not None, self.extract, completion.tags)

    def _answer(self, found: Found) -> str | None:
        """The one answer; `None` when there are different ones."""
        first, *others = dict.fromkeys(found.answers)
        exact = Policy(decimals="exact")
        if all(judge(first, other, exact).is_right for other in others):
            return found.answers[-1]
        return join_boxes(found) if self.boxes == "join" else None

    def _judged(self, gold: str, answer: str, sample: Sample) -> Outcome:
        outcome = judge(gold, answer, self.policy)
        if outcome.is_right and outcome.path != "exact" and vetoes.is_echo(answer, _question(sample)):
            return Outcome(False, "veto:echo")
        return outcome


def _question(sample: Sample) -> str:
    """The last message of the user."""
    asked = [message["content"] for message in sample.prompt if message["role"] == "user"]
    return asked[-1] if asked and len(asked[-1]) <= _MAX_QUESTION_CHARS else ""


def _cut(text: str, limit: int = _MAX_DETAIL_CHARS) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"
