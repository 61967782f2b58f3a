"""`repetition_penalty`: the share of n-grams that a completion has said before, as a negative value."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from reasoning_rl.api import Sample, Score, Verdict
from reasoning_rl_rewards.reading import Part, part_of

#: Longest pieces of a text that are compared as they are: a megabyte of them takes some 200 MB.
_SLICE_CHARS = 64


@dataclass(frozen=True)
class RepetitionPenalty:
    """`max_penalty` times the share of n-grams that occurred earlier in the same completion: 1 - distinct / all.

    After "Demystifying Long Chain-of-Thought Reasoning" (arXiv 2502.03373), whose penalty goes to each repeated token;
    here the whole completion bears it, as TRL's `get_repetition_penalty_reward` has it too.
    Honest reasoning repeats short n-grams ("so x is", "= 2 +") too: with a small `ngram_size` long completions lose
    something in any case. It is at most 0, so it can be no gate.

    Attributes:
        ngram_size: units per n-gram, 1 to 1000.
        max_penalty: value when everything is repeated, at most 0.
        unit: `words`: between blanks, capitals ignored. `characters`: for scripts that leave no blanks.
        part: which part of the completion is looked at.
    """

    ngram_size: int = 20
    max_penalty: float = -1.0
    unit: Literal["words", "characters"] = "words"
    part: Part = "text"

    version = 1
    requires = frozenset()
    tolerates = frozenset({"empty"})  # which repeats nothing

    def __post_init__(self) -> None:
        if not 1 <= self.ngram_size <= 1000:
            raise ValueError(f"ngram_size: found {self.ngram_size}, expected 1 to 1000")
        if not self.max_penalty <= 0 or not math.isfinite(self.max_penalty):
            raise ValueError(f"max_penalty: found {self.max_penalty}, expected a finite number of at most 0")

    def __call__(self, sample: Sample, /) -> Score:
        text = part_of(sample.completion, self.part).casefold()
        units = text.split() if self.unit == "words" else text
        num_ngrams = len(units) - self.ngram_size + 1
        if num_ngrams < 1:
            return Score(0.0, Verdict.CORRECT, {"repeated": 0.0})
        repeated = 1 - _num_distinct(units, self.ngram_size) / num_ngrams
        # + 0.0 turns -0.0 into 0.0.
        value = self.max_penalty * repeated + 0.0
        return Score(value, Verdict.PARTIAL if repeated else Verdict.CORRECT, {"repeated": repeated})


def _num_distinct(units: str | list[str], size: int) -> int:
    """How many different n-grams there are.

    Short pieces of text are compared as they are. Names of 2k-grams come from pairs of names of k-grams, so that neither
    time nor memory grows with `size` but with its logarithm; the last step lets the two halves overlap.
    """
    length = min(size, _SLICE_CHARS) if isinstance(units, str) else 1
    pieces = _slices(units, length) if isinstance(units, str) else units
    while length < size:
        names = _numbered(pieces)
        shift = min(length, size - length)
        pieces, length = zip(names, names[shift:], strict=False), length + shift
    return len(set(pieces))


def _slices(text: str, length: int) -> Iterator[str]:
    return (text[at : at + length] for at in range(len(text) - length + 1))


def _numbered(items: Iterable[Hashable]) -> list[int]:
    """Every item as the number of its first occurrence among the distinct ones."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(item, len(numbers)) for item in items]
