"""`language_consistency`: how much of the thinking is written in the script of the target language.

Tells scripts apart, not languages: English, French and Vietnamese are all Latin. Knows no dictionary.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from reasoning_rl.api import Sample, Score, Verdict
from reasoning_rl_rewards.reading import Part, part_of

# Language -> how the Unicode names of its letters begin.
_LATIN, _CYRILLIC, _ARABIC = ("LATIN", "FULLWIDTH LATIN"), ("CYRILLIC",), ("ARABIC",)
_HAN = ("CJK", "IDEOGRAPHIC")
_SCRIPTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("en", "de", "es", "fr", "id", "it", "nl", "pl", "pt", "sv", "tr", "vi"), _LATIN),
    **dict.fromkeys(("bg", "ru", "uk"), _CYRILLIC),
    **dict.fromkeys(("ar", "fa", "ur"), _ARABIC),
    **dict.fromkeys(("hi", "mr", "ne"), ("DEVANAGARI",)),
    "bn": ("BENGALI",),
    "el": ("GREEK",),
    "he": ("HEBREW",),
    "ja": (*_HAN, "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA"),
    "ko": ("HANGUL", *_HAN),
    "ta": ("TAMIL",),
    "te": ("TELUGU",),
    "th": ("THAI",),
    "zh": _HAN,
}
#: Symbols made of letters, which every language uses.
_NEUTRAL = (
    "MATHEMATICAL",
    "DOUBLE-STRUCK",
    "SCRIPT",
    "BLACK-LETTER",
    "MICRO",
    "OHM",
    "KELVIN",
    "ANGSTROM",
    "SUPERSCRIPT",
)
# A LaTeX command, or a Latin or Greek letter on its own: a name in a formula.
_FORMULA = re.compile(r"\\[A-Za-z]+|(?<![^\W\d_])[A-Za-zα-ωΑ-Ω](?![^\W\d_])")


@dataclass(frozen=True)
class LanguageConsistency:
    """The share of letters that belong to the script of `language`: 1 when all do, 0 when none does or there are none.

    After the language consistency reward of DeepSeek-R1 (arXiv 2501.12948), which takes the share of words in the
    target language. This one counts letters by script: it sees Chinese in English thinking, and not French in English
    thinking. LaTeX commands and single Latin or Greek letters are names in formulas and do not count; other English words
    in code or formulas do.

    Attributes:
        language: the target language, a code of two letters such as `en`, `zh`, `ja`, `ru`.
        part: which part of the completion is looked at.
    """

    language: str = "en"
    part: Part = "thinking"

    version = 1
    requires = frozenset()

    def __post_init__(self) -> None:
        if self.language not in _SCRIPTS:
            raise ValueError(f"language: found {self.language!r}, expected one of {', '.join(sorted(_SCRIPTS))}")

    def __call__(self, sample: Sample, /) -> Score:
        characters = Counter(_FORMULA.sub(" ", part_of(sample.completion, self.part)))
        in_script = others = 0
        for character, count in characters.items():
            name = unicodedata.name(character, "") if character.isalpha() else ""
            if not name or name.startswith(_NEUTRAL):
                continue
            if name.startswith(_SCRIPTS[self.language]):
                in_script += count
            else:
                others += count
        num_letters = in_script + others
        if not num_letters:
            return Score.no_answer(reason="no letters", num_letters=0)
        share = in_script / num_letters
        verdict = Verdict.CORRECT if not others else Verdict.PARTIAL if in_script else Verdict.WRONG
        return Score(share, verdict, {"share": share, "num_letters": num_letters})
