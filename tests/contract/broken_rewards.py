"""Rewards that break one rule each, for `test_check_reward`. At the top of a module, as every reward must be."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reasoning_rl.api import Sample, Score, Verdict


@dataclass(frozen=True)
class Sound:
    """Keeps every rule: 1 when the final text is the row's answer."""

    bonus: float = 0.0

    version = 1
    requires = frozenset({"answer"})

    def __call__(self, sample: Sample, /) -> Score:
        gold = sample.row.get("answer")
        if not gold:
            return Score.abstain(Verdict.BAD_REFERENCE, reason="no answer")
        return self.compared(sample, gold)

    def compared(self, sample: Sample, gold: str) -> Score:
        text = sample.completion.final_text
        return Score.correct(extracted=text) if text == gold else Score.wrong(extracted=text)

    def reference(self, row: Mapping[str, Any]) -> str | None:
        return row.get("answer")


class Random(Sound):
    numbers = itertools.count()

    def compared(self, sample: Sample, gold: str) -> Score:
        return Score.wrong(number=next(self.numbers))


class OtherInAnotherProcess(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        return Score.wrong(extracted=os.getpid())


class HashOrder(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        words = {f"word{number}" for number in range(20)}
        score = super().compared(sample, gold)
        return Score(score.value, score.verdict, {"words": list(words)})


class NotFinite(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        return Score(float("nan"), Verdict.PARTIAL)


class Number(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        return 1.0  # type: ignore[return-value]


class AbstainsOnTheModel(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        if sample.completion.thinking is None:
            return Score.abstain(Verdict.GRADER_ERROR, reason="no thinking")
        return super().compared(sample, gold)


class RefusesGold(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        return Score.wrong()


class PaysEmpty(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        return super().compared(sample, gold) if sample.completion.text else Score.correct()


class PaysNearMiss(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        return Score.correct() if sample.completion.final_text in (gold, "43", "44") else Score.wrong()


class PaysHedge(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        return Score.correct() if sample.completion.final_text.split(" or ")[0] == gold else Score.wrong()


class ToleratesHedge(PaysHedge):
    tolerates = frozenset({"hedge"})


class ToleratesNothingKnown(Sound):
    tolerates = frozenset({"hegde"})


class MutatesTheRow(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        sample.row.setdefault("seen", 1)  # type: ignore[attr-defined]
        return super().compared(sample, gold)


class MutatesDeep(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        sample.row["tests"].append(1)
        return super().compared(sample, gold)


class CrashesWithoutTheColumn(Sound):
    def __call__(self, sample: Sample, /) -> Score:
        return self.compared(sample, sample.row["answer"])


class ScoresWithoutTheColumn(Sound):
    def __call__(self, sample: Sample, /) -> Score:
        return self.compared(sample, sample.row.get("answer") or "")


class UndeclaredColumn(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        assert sample.row["tests"] is not None
        return super().compared(sample, gold)


class DetailIsNoJson(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        return Score.wrong(found={1, 2}) if sample.completion.final_text != gold else Score.correct()


class DetailIsNan(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        return Score.wrong(distance=float("nan")) if sample.completion.final_text != gold else Score.correct()


class RaisesOnSurrogates(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        sample.completion.text.encode()
        return super().compared(sample, gold)


class Quadratic(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        if re.search(r"\s+$", sample.completion.final_text):
            return Score.wrong()
        return super().compared(sample, gold)


class Sleeps(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        if len(sample.completion.text) > 500_000:
            time.sleep(60)
        return super().compared(sample, gold)


class RaisesOnLongText(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        if len(sample.completion.text) > 500_000:
            raise OverflowError("too long")
        return super().compared(sample, gold)


class Exits(Sound):
    def compared(self, sample: Sample, gold: str) -> Score:
        if len(sample.completion.text) > 500_000:
            os._exit(3)
        return super().compared(sample, gold)


def _identity(text: str) -> str:
    return text


@dataclass(frozen=True)
class Unpicklable(Sound):
    compare: Callable[[str], str] = field(init=False, repr=False, compare=False, default=_identity)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compare", lambda text: text)


@dataclass
class Thawed:
    requires = frozenset({"answer"})

    def __call__(self, sample: Sample, /) -> Score:
        return Sound()(sample)

    def reference(self, row: Mapping[str, Any]) -> str | None:
        return row.get("answer")


class RequiresText(Sound):
    requires = "answer"  # type: ignore[assignment]


class VersionText(Sound):
    version = "1.0"  # type: ignore[assignment]


class BrokenReference(Sound):
    def reference(self, row: Mapping[str, Any]) -> str | None:
        return row["solution"]


class ReferenceIsNoText(Sound):
    def reference(self, row: Mapping[str, Any]) -> str | None:
        return 42  # type: ignore[return-value]


class NotADataclass:
    def __call__(self, sample: Sample, /) -> Score:
        return Score.correct()


def brevity(sample: Sample, *, max_words: int = 5) -> float:
    """A sound function without gold."""
    return float(0 < len(sample.completion.final_text.split()) <= max_words)


def shout(sample: Sample) -> float | None:
    """A sound function with gold: the answer in capitals, read after a mark."""
    gold = sample.row.get("answer")
    if gold is None:
        return None
    return float(sample.completion.final_text == f"#### {gold}")


shout.requires = frozenset({"answer"})  # type: ignore[attr-defined]


def empty_is_best(sample: Sample) -> float:
    """An unsound function: says nothing, earns all."""
    return float(not sample.completion.text)
