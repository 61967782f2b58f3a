"""Every built-in reward returns on a megabyte of text made to be slow for it, and never pays for it.

Run in another process, which is killed when one text takes more than 30 s: in quadratic time it would be hours.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from reasoning_rl.api import Completion, Sample
from reasoning_rl.fresh_process import score_in_fresh_process
from reasoning_rl.plugins import registered

SIZE = 1_000_000

TEXTS = {
    "opened boxes": "\\boxed{" * (SIZE // 7),
    "nested boxes": "\\boxed{" * (SIZE // 8) + "}" * (SIZE // 8),
    "boxes": "".join(f"\\boxed{{{i}}}" for i in range(SIZE // 14)),
    "letters in boxes": "\\boxed{A}\\boxed{B}" * (SIZE // 18),
    "one box": "\\boxed{" + "\\text{" * (SIZE // 6),
    "answer lines": "Answer: B or " * (SIZE // 13),
    "answers and blanks": ("answer" + " " * 1000 + "is" + " " * 1000) * (SIZE // 2008),
    "answer and blanks": "answer is" + " " * SIZE + "B",
    "stars": "answer" + "*" * SIZE,
    "opened tags": "<answer>" * (SIZE // 8),
    "closed tags": "<answer></answer>" * (SIZE // 17),
    "end of turn": "<|im_end" * (SIZE // 8),
    "opened fences": "```json\n" * (SIZE // 8),
    "brackets": "[" * SIZE,
    "opened objects": '{"a":' * (SIZE // 5),
    "digits": "9" * SIZE,
    "accents": "e" + "\u0301\u0316" * (SIZE // 2),
    "ligatures": "\ufdfa" * (SIZE // 4),
    "one word": "a " * (SIZE // 2),
    "different words": " ".join(map(str, range(SIZE // 7))),
    "one letter": "a" * SIZE,
    "backslashes": "\\" * SIZE,
    "commands": "\\a" * (SIZE // 2),
    "all of Unicode": "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)])),
    "surrogates": "\ud800" * SIZE,
    "blanks": " " * SIZE,
    "lines": "\n" * SIZE,
}

#: Name -> options and row. What has no right answer is expected to return, not to pay nothing.
REWARDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "choice_answer": ({"choices_column": "o"}, {"answer": "C", "o": ["accent", "b", "c"]}),
    "exact_answer": ({}, {"answer": "42"}),
    "json_schema": ({"schema": {"type": "object"}}, {}),
    "language_consistency": ({"part": "final_text"}, {}),
    "length_cosine": ({"max_tokens": 10}, {"answer": "42"}),
    "overlong_penalty": ({"max_tokens": 10, "buffer_tokens": 5}, {}),
    "reasoning_gym": ({}, {"task": "chain_sum", "answer": "42", "metadata": "{}"}),
    "regex": ({"pattern": "b+c"}, {}),
    "repetition_penalty": ({"ngram_size": 40, "unit": "characters"}, {}),
    "string_match": ({}, {"answer": "Zürich"}),
    "think_format": ({}, {}),
}
OTHER_OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("string_match", {"match": "contains"}),
    ("string_match", {"extract": "answer_tag"}),
    ("string_match", {"extract": "boxed"}),
    ("reasoning_gym", {"extract": "final_text", "partial_credit": True}),
    ("repetition_penalty", {"ngram_size": 20}),
    ("choice_answer", {}),
]
NEEDS = {"json_schema": "jsonschema", "reasoning_gym": "reasoning_gym"}
PAYS_FOR_FORM = {"language_consistency"}


def test_every_reward_of_this_package_is_here() -> None:
    ours = {name for name, entry in registered().items() if entry.value.startswith("reasoning_rl_rewards.")}
    others = {"math_answer", "code_tests"}  # have hostile texts of their own
    assert ours - others == REWARDS.keys()


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, options) for name, (options, _) in REWARDS.items()), *OTHER_OPTIONS],
    ids=lambda value: value if isinstance(value, str) else ",".join(value) or "-",
)
def test_returns_and_pays_nothing(name: str, options: dict[str, Any]) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"needs {NEEDS[name]}")
    row = REWARDS[name][1]
    samples = [Sample([], Completion(text, text, text, len(text), False), row) for text in TEXTS.values()]
    found = score_in_fresh_process(name, options, samples, timeout_s=30.0)
    assert found.stopped is None, f"{found.stopped} on {list(TEXTS)[len(found.scores)]!r}"
    assert len(found.scores) == len(samples)
    for text, score in zip(TEXTS, found.scores, strict=True):
        assert isinstance(score, list), f"raises {score} on {text!r}"
        value, verdict, _ = score
        assert value is not None, f"abstains as {verdict} on {text!r}"
        assert value <= 0 or name in PAYS_FOR_FORM, f"pays {value} for {text!r}"
