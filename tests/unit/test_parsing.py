"""Completion text is split at the first thinking block and nothing that a reader sees is lost."""

from __future__ import annotations

import pytest

from reasoning_rl.parsing import Reader, split_completion
from reasoning_rl.recipe import Thinking

DEFAULT = Thinking()
OPENED = Thinking(opened_by_template=True)
BRACKETS = Thinking(open="[T]", close="[/T]")


@pytest.mark.parametrize(
    ("tags", "text", "thinking", "final_text"),
    [
        (DEFAULT, "", None, ""),
        (DEFAULT, "5", None, "5"),
        (DEFAULT, "<think>a</think>5", "a", "5"),
        (DEFAULT, "<think></think>5", "", "5"),
        (DEFAULT, "x<think>a</think>5", "a", "x5"),
        (DEFAULT, "<think>a", "a", ""),
        (DEFAULT, "x<think>a", "a", ""),
        (DEFAULT, "<think>a</think>", "a", ""),
        (DEFAULT, "<think>a</think>5<think>b</think>6", "a", "5<think>b</think>6"),
        (DEFAULT, "<think>a<think>b</think>c</think>", "a<think>b", "c</think>"),
        (DEFAULT, "a</think>5", None, "a</think>5"),
        (DEFAULT, "<thinking>a</thinking>5", None, "<thinking>a</thinking>5"),
        (OPENED, "a</think>5", "a", "5"),
        (OPENED, "a", "a", ""),
        (OPENED, "", "", ""),
        (OPENED, "<think>a</think>5", "a", "5"),
        (OPENED, "a<think>b</think>5", "a<think>b", "5"),
        (BRACKETS, "[T]a[/T]5", "a", "5"),
        (BRACKETS, "<think>a</think>5", None, "<think>a</think>5"),
    ],
)
def test_split(tags: Thinking, text: str, thinking: str | None, final_text: str) -> None:
    completion = split_completion(text, tags, num_tokens=3, truncated=True)
    assert (completion.thinking, completion.final_text) == (thinking, final_text)
    assert (completion.text, completion.num_tokens, completion.truncated) == (text, 3, True)


@pytest.mark.parametrize("text", ["<think>" * 20000, "</think>" * 20000, "<think></think>" * 20000, "<" * 200000])
@pytest.mark.parametrize("tags", [DEFAULT, OPENED], ids=["default", "opened"])
def test_hostile_text(tags: Thinking, text: str) -> None:
    completion = split_completion(text, tags, num_tokens=1, truncated=False)
    assert len(completion.final_text) + len(completion.thinking or "") <= len(text)


@pytest.mark.parametrize(
    ("eos_ids", "token_ids", "truncated"),
    [
        ({7}, [1, 7], False),
        ({7, 8}, [8], False),
        ({7}, [7, 1], True),
        ({7}, [], True),
        (set(), [1], False),
        (set(), [], False),
    ],
)
def test_a_completion_that_ends_with_no_end_of_turn_is_truncated(
    eos_ids: set[int], token_ids: list[int], truncated: bool
) -> None:
    reader = Reader(DEFAULT, frozenset(eos_ids), decode=lambda ids: "<think>a</think>" + "".join(map(str, ids)))
    sample = reader.read([{"role": "user", "content": "q"}], token_ids, {"x": 1}, "train/0/3")
    assert (sample.completion.truncated, sample.completion.num_tokens) == (truncated, len(token_ids))
    assert (sample.completion.thinking, sample.completion.final_text) == ("a", "".join(map(str, token_ids)))
    assert (sample.prompt[0]["content"], sample.row, sample.row_id) == ("q", {"x": 1}, "train/0/3")
    assert reader.read_text(sample.prompt, sample.completion.text, {"x": 1}, "train/0/3", token_ids=token_ids) == sample


def test_a_text_without_tokens_has_the_length_that_is_said_or_one_token_a_word() -> None:
    reader = Reader(DEFAULT, frozenset({7}))
    assert reader.read_text([], "a b c", {}).completion.num_tokens == 3
    assert not reader.read_text([], "a b c", {}).completion.truncated
    said = reader.read_text([], "a b c", {}, num_tokens=9, truncated=True).completion
    assert (said.num_tokens, said.truncated) == (9, True)
