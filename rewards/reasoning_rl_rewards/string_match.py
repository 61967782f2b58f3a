"""`string_match`: the answer as a text, exactly, up to spelling details, or somewhere in the final text."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reasoning_rl.api import Sample, Score, Verdict
from reasoning_rl_rewards.reading import Place, answers_at, written_at

#: Texts longer than this are not searched: a reward for containing the answer must not pay for a list of all answers.
MAX_SEARCHED_CHARS = 2000

_EDGES = " .,;:!?\"'`“”‘’«»*_$"


@dataclass(frozen=True)
class StringMatch:
    """1 when the answer is the row's text, else 0. Nothing after an end-of-turn marker is read; different answers are none.

    Attributes:
        match: `exact`: character by character, blanks around it aside. `normalized`: capitals, repeated blanks, width and
            ligatures (Unicode NFKC), and quotes or punctuation at either end do not count. `contains`: the normalised gold
            stands somewhere as whole words. It pays for naming several answers, or for "not Paris": use it only where the
            form of the answer cannot be asked for. Texts over 2,000 characters are not searched.
        extract: where the answer is read from. `final_text`: all that follows the thinking. `boxed`: `\\boxed{…}`.
            `answer_tag`: `<answer>…</answer>`.
        column: column of the row with the gold text, or with a list of texts that are equally right.
    """

    match: Literal["normalized", "exact", "contains"] = "normalized"
    extract: Place = "final_text"
    column: str = "answer"

    version = 1

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({self.column})

    @property
    def tolerates(self) -> frozenset[str]:
        """Prose beside a box or a tag is not read; what contains the answer is not asked what else it says."""
        if self.match == "contains":
            all_of_it = {"echo", "every_box", "gold_then_other", "other_then_gold", "user_turn"}
            return frozenset({"hedge", "retraction"} | (all_of_it if self.extract == "final_text" else set()))
        return frozenset() if self.extract == "final_text" else frozenset({"retraction"})

    def reference(self, row: Mapping[str, Any]) -> str | None:
        golds = self._golds(row)
        return written_at(golds[0], self.extract) if golds else None

    def near_misses(self, row: Mapping[str, Any]) -> list[str]:
        """The text with its last letter or digit changed, and the text twice in a row (not for `contains`)."""
        golds = self._golds(row)
        if not golds:
            return []
        gold = golds[0]
        last = next((at for at in reversed(range(len(gold))) if gold[at].isalnum()), None)
        other = [] if last is None else [gold[:last] + ("b" if gold[last] in "aA" else "a") + gold[last + 1 :]]
        others = other if self.match == "contains" else [*other, f"{gold} {gold}"]
        known = set(map(_normalized, golds))
        written = [written_at(text, self.extract) for text in others if _normalized(text) not in known]
        return [text for text in written if text is not None]

    def __call__(self, sample: Sample, /) -> Score:
        golds = self._golds(sample.row)
        if not golds:
            found = sample.row.get(self.column)
            return Score.abstain(Verdict.BAD_REFERENCE, reason=f"column {self.column!r} holds {found!r:.60}, no text")
        answers = list(dict.fromkeys(answers_at(sample.completion, self.extract)))
        if len(answers) != 1:
            reason = "several different answers" if answers else "no answer found"
            return Score.no_answer(reason=reason, extracted=[answer[:200] for answer in answers[:4]], gold=golds[0])
        detail = {"extracted": answers[0][:200], "gold": golds[0]}
        return Score.correct(**detail) if self._is_right(answers[0], golds) else Score.wrong(**detail)

    def _golds(self, row: Mapping[str, Any]) -> list[str]:
        found = row.get(self.column)
        texts = found if isinstance(found, Sequence) and not isinstance(found, str) else [found]
        is_text = [
            isinstance(text, (str, int, float)) and not isinstance(text, bool) and str(text).strip() for text in texts
        ]
        return [str(text).strip() for text in texts] if all(is_text) else []

    def _is_right(self, answer: str, golds: list[str]) -> bool:
        if self.match == "exact":
            return answer in golds
        # Unicode normalisation takes quadratic time on hostile text; it makes no text more than four times shorter.
        longest = MAX_SEARCHED_CHARS if self.match == "contains" else 4 * max(map(len, golds)) + 100
        if len(answer) > longest and len(answer := " ".join(answer.split())) > longest:
            return False
        text = _normalized(answer)
        if self.match == "normalized":
            return text in map(_normalized, golds)
        return any(_contains(text, _normalized(gold)) for gold in golds)


def _normalized(text: str) -> str:
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return text.strip(_EDGES) or text


def _contains(text: str, words: str) -> bool:
    """Whether `words` stand in `text` with no letter or digit next to them."""
    at = text.find(words)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(words) : at + len(words) + 1]
        if not before.isalnum() and not after.isalnum():
            return True
        at = text.find(words, at + 1)
    return False
