"""`choice_answer`: the letter of a multiple-choice question, boxed, on an answer line, or alone.

Reads letters and, where the row has them, the texts of the options. Hunts for no letters in prose.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reasoning_rl.api import Sample, Score, Verdict
from reasoning_rl_rewards.reading import boxed, own_turn

# `Answer: `, `**Answer:** `, `The answer is `; every repeat is bounded, so that it takes linear time.
_SAID = re.compile(r"\banswer[*_\s]{0,8}(?:\bis\b|[:=])[*_\s]{0,8}:?", re.IGNORECASE)
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mathsf)\s?\{([^{}]*)\}")
_LABEL = re.compile(r"([(\[]?)([A-Za-z])(?!\w)([)\]]?\s?[.:,;(\-–—]?)")
_MARKUP = " \t\n\r*_$`\"'"
# No choice is written with more.
_MAX_CHARS = 1000


@dataclass(frozen=True)
class ChoiceAnswer:
    """1 when the only letter that the final text gives as its answer is the row's, else 0. Nothing after an end-of-turn
    marker is read.

    An answer is a box (`\\boxed{B}`, `\\boxed{\\text{(B) Paris}}`), what follows `Answer:` or `the answer is` (`**B**`,
    `B) Paris`, `B, since …`), or a final text that is nothing but that. Capitals do not matter for a letter that stands
    alone. Different answers are none. An answer that names a second letter is refused, unless it stands in the text of the
    option: give `choices_column` where options read like "Vitamin C". Guessing one of n letters is right in 1 of n rows.

    Attributes:
        letters: the letters that there are, in order.
        column: column of the row with the gold answer.
        gold: what that column holds: the letter, the position of the option counted from 0 or 1, or its text (needs
            `choices_column`).
        choices_column: column with the list of the options' texts. Answers may then be such a text too.
    """

    letters: str = "ABCDE"
    column: str = "answer"
    gold: Literal["letter", "index_from_0", "index_from_1", "text"] = "letter"
    choices_column: str | None = None

    version = 1

    def __post_init__(self) -> None:
        if len(self.letters) < 2 or len(set(self.letters)) < len(self.letters):
            raise ValueError(f"letters: found {self.letters!r}, expected two or more different letters")
        if set(self.letters) - set(string.ascii_uppercase):
            raise ValueError(f"letters: found {self.letters!r}, expected letters from A to Z")
        if self.gold == "text" and self.choices_column is None:
            raise ValueError(
                "gold: found 'text' without choices_column, expected the column with the options' texts too"
            )

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({self.column} | ({self.choices_column} if self.choices_column else set()))

    @property
    def tolerates(self) -> frozenset[str]:
        """With the options' texts known, prose after an answer is not compared with them."""
        return frozenset({"retraction"}) if self.choices_column else frozenset()

    def reference(self, row: Mapping[str, Any]) -> str | None:
        gold = self._gold(row)
        return None if gold is None else f"\\boxed{{{gold}}}"

    def near_misses(self, row: Mapping[str, Any]) -> list[str]:
        """Every other letter."""
        gold, choices = self._gold(row), self._choices(row)
        letters = self.letters[: len(choices)] if choices else self.letters
        return [] if gold is None else [f"\\boxed{{{letter}}}" for letter in letters if letter != gold]

    def __call__(self, sample: Sample, /) -> Score:
        gold, choices = self._gold(sample.row), self._choices(sample.row)
        if gold is None or choices is None:
            found = {column: sample.row.get(column) for column in sorted(self.requires)}
            return Score.abstain(Verdict.BAD_REFERENCE, reason=f"no gold {self.gold} in {found!r}"[:300])
        answers = self._answers(own_turn(sample.completion.final_text), choices)
        distinct = list(dict.fromkeys(answers))
        if len(distinct) != 1:
            reason = "several different answers" if distinct else "no answer found"
            return Score.no_answer(reason=reason, extracted=distinct[:4], gold=gold)
        detail = {"extracted": distinct[0], "gold": gold}
        return Score.correct(**detail) if distinct[0] == gold else Score.wrong(**detail)

    def _choices(self, row: Mapping[str, Any]) -> list[str] | None:
        """The options' texts, empty when the row need not have them; `None` when they cannot be read."""
        if self.choices_column is None:
            return []
        found = row.get(self.choices_column)
        if not isinstance(found, Sequence) or isinstance(found, str) or not 2 <= len(found) <= len(self.letters):
            return None
        texts = [_plain(str(text)) for text in found]
        return texts if all(texts) and len(set(texts)) == len(texts) else None

    def _gold(self, row: Mapping[str, Any]) -> str | None:
        gold, choices = row.get(self.column), self._choices(row)
        if choices is None or gold is None or isinstance(gold, (bool, list, dict)):
            return None
        letters = self.letters[: len(choices)] if choices else self.letters
        text = str(gold).strip()
        if self.gold == "letter":
            return text.upper() if len(text) == 1 and text.upper() in letters else None
        if self.gold == "text":
            return letters[choices.index(_plain(text))] if _plain(text) in choices else None
        if not re.fullmatch(r"[0-9]{1,2}", text):
            return None
        index = int(text) - (self.gold == "index_from_1")
        return letters[index] if 0 <= index < len(letters) else None

    def _answers(self, text: str, choices: list[str]) -> list[str]:
        """Every answer: its letter, or what was written when that is no choice."""
        boxes = boxed(text)
        answers = [self._letter(box, choices) or box[:40] for box in boxes]
        said = False
        for match in _SAID.finditer(text):
            line = text[match.end() : match.end() + _MAX_CHARS].lstrip(_MARKUP).partition("\n")[0]
            if line.startswith("\\boxed"):
                continue
            letter = self._letter(line, choices)
            label = _LABEL.match(line)
            if letter or (label and label[2] in self.letters):
                said = True
                answers.append(letter or line[:40])
        if not boxes and not said and (letter := self._letter(text, choices)):
            answers.append(letter)
        return answers

    def _letter(self, written: str, choices: list[str]) -> str | None:
        """The letter that `written` stands for: the letter, alone or as the label of a text, or the text of an option."""
        if len(written) > _MAX_CHARS:
            return None
        written = _WRAPPED.sub(r"\1", written).strip(_MARKUP)
        if _plain(written) in choices:
            return self.letters[choices.index(_plain(written))]
        label = _LABEL.match(written)
        if not label or label[2].upper() not in (self.letters[: len(choices)] if choices else self.letters):
            return None
        letter, rest = label[2].upper(), written[label.end() :].strip(_MARKUP + ".)]")
        if not rest:
            return letter
        if not (label[1] or label[3].strip()) or not label[2].isupper():
            return None
        if choices and _plain(rest) in choices:
            return letter if choices[self.letters.index(letter)] == _plain(rest) else None
        return None if re.search(rf"(?<!\w)[{self.letters}](?!\w)", rest) else letter


def _plain(text: str) -> str:
    """An option's text without markup, capitals, repeated blanks or a final full stop."""
    return " ".join(text.strip(_MARKUP).casefold().removesuffix(".").split())
