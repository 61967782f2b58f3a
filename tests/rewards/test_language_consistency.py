"""`language_consistency`: letters counted by hand, in and out of the script of the language."""

from __future__ import annotations

from typing import Any

import pytest

from reasoning_rl.api import Verdict
from reasoning_rl.testing import check_reward, make_sample
from reasoning_rl_rewards.language_consistency import LanguageConsistency


@pytest.mark.parametrize(
    ("thinking", "language", "in_script", "letters"),
    [
        ("Let us add.", "en", 8, 8),
        ("Let us 加 add.", "en", 8, 9),
        ("我们先加", "en", 0, 4),
        ("我们先加", "zh", 4, 4),
        ("我们 add 先加", "zh", 4, 7),
        ("人々", "zh", 2, 2),
        ("so ist es schön", "en", 12, 12),  # German passes as English: scripts, not languages
        ("まず足す", "ja", 4, 4),
        ("カレーを食べる", "ja", 7, 7),
        ("まず足す", "zh", 1, 4),
        ("먼저 더하자", "ko", 5, 5),
        ("сначала сложим", "ru", 13, 13),
        ("сначала add", "ru", 7, 10),
        ("نجمع أولا", "ar", 8, 8),
        ("πρώτα", "el", 5, 5),
        ("先算 x + y = \\frac{1}{2}, Δ = b^2 - 4ac", "zh", 2, 4),  # `ac` counts, x, y, Δ, b and \frac do not
        ("先算 12 × 3 = 36 𝑥 ℝ µ", "zh", 2, 2),
        ("ＡＢＣ", "en", 3, 3),
    ],
)
def test_shares(thinking: str, language: str, in_script: int, letters: int) -> None:
    score = LanguageConsistency(language)(make_sample(f"<think>{thinking}</think>5", {}))
    assert score.value == in_script / letters
    assert score.detail == {"share": in_script / letters, "num_letters": letters}
    expected = {0: Verdict.WRONG, letters: Verdict.CORRECT}.get(in_script, Verdict.PARTIAL)
    assert score.verdict is expected


@pytest.mark.parametrize("text", ["", "Add.", "<think></think>Add.", "<think>1 + 2 = 3, x</think>Add."])
def test_thinking_without_letters_is_no_answer(text: str) -> None:
    score = LanguageConsistency()(make_sample(text, {}))
    assert (score.value, score.verdict) == (0, Verdict.NO_ANSWER)


@pytest.mark.parametrize(("part", "value"), [("thinking", 0.0), ("final_text", 1.0), ("text", 9 / 11)])
def test_parts(part: Any, value: float) -> None:
    score = LanguageConsistency("en", part)(make_sample("<think>加加</think>Add", {}))
    assert score.value == (value if part != "text" else 13 / 15), "the tags of the thinking are Latin letters too"


def test_ranges() -> None:
    with pytest.raises(ValueError, match="language: found 'english', expected one of ar, bg, bn, "):
        LanguageConsistency("english")


def test_rules() -> None:
    check_reward("language_consistency", [{}], options={"language": "zh"})
