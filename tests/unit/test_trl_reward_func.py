"""`reward_func` in TRL's calling convention, without TRL: texts and conversations, columns, weights, abstention."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.api import Verdict
from reasoning_rl.errors import DataError, RecipeError, RewardPluginError, ScoringError
from reasoning_rl.recipe import Thinking
from reasoning_rl.rewards_for_trl import reward_func

RIGHT, WRONG = "<think>40 + 2</think>\\boxed{42}", "<think>?</think>\\boxed{41}"
BOTH = {"correct": {"use": "exact_answer"}, "format": {"use": "think_format", "weight": 0.5}}


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


# What GRPOTrainer 1.16 adds to the columns of the data set.
EXTRAS: dict[str, Any] = {"trainer_state": object(), "log_extra": print, "environments": [1, 2]}


def test_texts() -> None:
    score = reward_func("exact_answer")
    assert score(["q", "q"], [RIGHT, WRONG], answer=["42", "42"], **EXTRAS) == [1.0, 0.0]
    assert score.__name__ == "exact_answer"
    assert score(prompts=[], completions=[], completion_ids=[], answer=[]) == []


def test_conversations() -> None:
    score = reward_func("exact_answer", options={"column": "gold"})
    prompts = [[{"role": "user", "content": "q"}]] * 3
    tool_turns = [*chat("\\boxed{1}"), {"role": "tool", "content": "\\boxed{2}"}, *chat(RIGHT)]
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "\\boxed"}, {"type": "text", "text": "{42}"}]}]
    assert score(prompts, [chat(RIGHT), tool_turns, parts], gold=["42"] * 3) == [1.0, 1.0, 1.0]
    assert score(prompts, [[], chat(""), [{"role": "assistant", "content": None}]], gold=["42"] * 3) == [0.0, 0.0, 0.0]


def test_several_rewards_with_weights() -> None:
    score = reward_func(BOTH)
    completions = [RIGHT, WRONG, "\\boxed{42}", ""]
    assert score(["q"] * 4, completions, answer=["42"] * 4) == [1.5, 0.5, 1.0, 0.0]
    assert score.__name__ == "total"
    assert reward_func(BOTH, name="mine").__name__ == "mine"


def test_a_gold_that_cannot_be_read_abstains() -> None:
    score = reward_func(BOTH)
    assert score(["q", "q"], [RIGHT, RIGHT], answer=["42", None]) == [1.5, None]
    assert [scored.scores["correct"].verdict for _, scored in score.last] == [Verdict.CORRECT, Verdict.BAD_REFERENCE]
    with pytest.raises(ScoringError, match="2 of 2 completions could not be scored"):
        score(["q", "q"], [RIGHT, RIGHT], answer=["", None])
    assert reward_func("exact_answer", max_abstain_fraction=1.0)(["q"], [RIGHT], answer=[None]) == [None]


def test_what_a_reward_sees(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(sample):\n    return 0.5\n")
    score = reward_func(f"{tmp_path}/mine.py:f", eos_token_ids=[7])
    texts = ["<think>a</think>b", "c"]
    result = score(["p", "q"], texts, [[5, 6, 7], [5, 6]], id=[11, 12], length=[1, 2], **EXTRAS)
    assert (result, score.__name__) == ([0.5, 0.5], "f")
    first, second = (sample for sample, _ in score.last)
    assert (first.prompt, first.row_id) == ([{"role": "user", "content": "p"}], "11")
    assert first.row == {"prompt": "p", "id": 11, "length": 1}
    assert (first.completion.thinking, first.completion.final_text) == ("a", "b")
    assert (first.completion.num_tokens, first.completion.truncated) == (3, False)
    assert (second.completion.num_tokens, second.completion.truncated) == (2, True)


def test_without_token_ids_tokens_are_words_and_nothing_is_truncated() -> None:
    score = reward_func("exact_answer", eos_token_ids=[7])
    score(["q"], ["a b \\boxed{42}"], answer=["42"])
    assert (score.last[0][0].completion.num_tokens, score.last[0][0].completion.truncated) == (3, False)


def test_other_tags() -> None:
    score = reward_func("exact_answer", thinking=Thinking(open="[T]", close="[/T]"))
    assert score(["q"] * 2, ["[T]\\boxed{1}[/T]\\boxed{42}", "[T]\\boxed{42}"], answer=["42"] * 2) == [1.0, 0.0]
    opened = reward_func("exact_answer", thinking=Thinking(opened_by_template=True))
    assert opened(["q"] * 2, ["\\boxed{1}</think>\\boxed{42}", "\\boxed{42}"], answer=["42"] * 2) == [1.0, 0.0]


def test_metrics() -> None:
    logged: dict[str, float] = {}
    score = reward_func(BOTH)
    score(["q"] * 2, [RIGHT, WRONG], answer=["42"] * 2, log_metric=logged.__setitem__)
    assert (logged["rewards/correct/mean"], logged["rewards/format/mean"]) == (0.5, 1.0)
    assert (logged["verdicts/correct/wrong"], logged["verdicts/format/wrong"]) == (0.5, 0.0)
    keys = set(logged)
    score(["q"] * 2, [RIGHT, RIGHT], answer=["42", None], log_metric=logged.__setitem__)
    assert set(logged) == keys, "every rank logs the same keys whatever happened"
    alone: dict[str, float] = {}
    reward_func("exact_answer")(["q"], [RIGHT], answer=["42"], log_metric=alone.__setitem__)
    assert "rewards/exact_answer/mean" not in alone, "that key is TRL's own"


@pytest.mark.parametrize(
    ("rewards", "options", "error", "expected"),
    [
        ("exact_anser", None, RewardPluginError, "no reward is registered as 'exact_anser'"),
        ("exact_answer", {"extrct": 1}, RewardPluginError, "unknown option 'extrct'; it takes: extract, column"),
        (BOTH, {"column": "gold"}, RecipeError, "options go with a single reward"),
        ({}, None, RecipeError, "found no reward with a weight"),
        ({"a": {"use": "exact_answer", "weight": 0.0}}, None, RecipeError, "found no reward with a weight"),
        ({"a": {"us": "exact_answer"}}, None, RecipeError, "reward_func: a.use: "),
        ({"a": {"use": "exact_answer", "weight": "1"}}, None, RecipeError, "reward_func: a.weight: found '1'"),
        ({"a": "exact_answer"}, None, RecipeError, "reward_func: a: found 'exact_answer', expected a mapping with use"),
    ],
)
def test_refused(rewards: Any, options: Any, error: type[Exception], expected: str) -> None:
    with pytest.raises(error) as caught:
        reward_func(rewards, options=options)
    assert expected in str(caught.value)


def test_a_column_that_the_data_set_lacks() -> None:
    with pytest.raises(DataError) as caught:
        reward_func(BOTH)(["q"], [RIGHT], solution=["42"])
    assert str(caught.value) == (
        "reward 'correct' requires the column 'answer', the data set has ['prompt', 'solution']; rename one, and keep "
        "remove_unused_columns=False"
    )


def test_no_torch() -> None:
    script = (
        "import sys, reasoning_rl.rewards_for_trl as r; r.reward_func('exact_answer'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"
